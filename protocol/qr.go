package protocol

import (
	"math/big"
	"net/netip"
	"net/url"
	"strings"
)

// Payload sizes and their fixed decimal lengths: the largest value of n bytes
// has ceil(n * 8 * log10(2)) digits.
const (
	RH16Size       = 16
	staticBytes    = 1 + SecretSize + RH16Size      // 33
	animatedBytes  = staticBytes + 2 + frameMACSize // 43
	staticDigits   = 80                             // 2^264 has 80 digits
	animatedDigits = 104                            // 2^344 has 104 digits
	maxPayloadText = 512                            // bytes of the whole link
	qrPath         = "/q"                           // on the app's origin
	flagsVersion   = 0x10                           // high nibble 1
	flagAnimated   = 0x01                           // bit 0
)

// Payload is the content of a QR code.
type Payload struct {
	Secret []byte // s, 16 bytes
	RH16   []byte // first 16 bytes of the commitment rh
	Frame  *Frame // nil on a static code
}

// Encode writes the link "https://APP/q#" + digits that the QR carries.
// origin is the app's origin without a trailing slash.
func (p Payload) Encode(origin string) (string, error) {
	if len(p.Secret) != SecretSize || len(p.RH16) != RH16Size {
		return "", Errorf(CodePayloadInvalid, "payload is incomplete")
	}
	flags, digits := byte(flagsVersion), staticDigits
	raw := concat([]byte{flags}, p.Secret, p.RH16)
	if p.Frame != nil {
		raw[0] |= flagAnimated
		digits = animatedDigits
		raw = append(raw, p.Frame.Bytes()...)
	}
	text := new(big.Int).SetBytes(raw).String()
	clear(raw)
	return origin + qrPath + "#" + strings.Repeat("0", digits-len(text)) + text, nil
}

// IsOrigin reports whether text is scheme://host[:port] of http or https, as
// configurations and registrations name web origins.
func IsOrigin(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && text == u.Scheme+"://"+u.Host
}

// CheckAppOrigin accepts https origins and loopback http ones, without path,
// query, fragment, user or trailing slash.
func CheckAppOrigin(origin string) error {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(origin, "?#") {
		return Errorf(CodeForeignCode, "app origin %q: want scheme://host[:port]", clip(origin))
	}
	switch {
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	}
	return Errorf(CodeForeignCode, "app origin %q: want https, or http on loopback", clip(origin))
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// ParsePayload reads a scanned text. origins are the app origins that the
// phone is configured with; every other text is CodeForeignCode.
func ParsePayload(text string, origins []string) (*Payload, error) {
	if len(text) > maxPayloadText {
		return nil, Errorf(CodeForeignCode, "text of %d bytes", len(text))
	}
	link, digits, found := strings.Cut(text, "#")
	if !found {
		return nil, Errorf(CodeForeignCode, "no fragment")
	}
	known := false
	for _, origin := range origins {
		known = known || link == origin+qrPath
	}
	if !known {
		return nil, Errorf(CodeForeignCode, "the link is not of a configured app origin")
	}
	return parseDigits(digits)
}

func parseDigits(digits string) (*Payload, error) {
	size := 0
	switch len(digits) {
	case staticDigits:
		size = staticBytes
	case animatedDigits:
		size = animatedBytes
	default:
		return nil, Errorf(CodePayloadInvalid, "%d digits, want %d or %d", len(digits), staticDigits, animatedDigits)
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return nil, Errorf(CodePayloadInvalid, "not a decimal number")
		}
	}
	n, _ := new(big.Int).SetString(digits, 10)
	if n.BitLen() > size*8 {
		return nil, Errorf(CodePayloadInvalid, "the number is out of range")
	}
	raw := n.FillBytes(make([]byte, size))
	flags := raw[0]
	if flags&^flagAnimated != flagsVersion {
		return nil, Errorf(CodePayloadInvalid, "flags %#02x are not understood", flags)
	}
	if (flags&flagAnimated != 0) != (size == animatedBytes) {
		return nil, Errorf(CodePayloadInvalid, "the flag contradicts the length")
	}
	p := &Payload{Secret: raw[1:17], RH16: raw[17:33]}
	if size == animatedBytes {
		f, err := ParseFrame(raw[33:])
		if err != nil {
			return nil, err
		}
		p.Frame = f
	}
	return p, nil
}
