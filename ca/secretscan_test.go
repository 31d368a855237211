package ca_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/emmansun/gmsm/sm2"
)

// exposure is everything that a run wrote or said, and every secret that it knew.
type exposure struct {
	places  map[string][]byte
	secrets map[string][]byte
	// sent are the secrets that a phone tells the authority, so that they stand in what the phone sends.
	sent map[string]bool
}

// requestsPlace is what phones sent; it may hold the secrets that they tell.
const requestsPlace = "HTTP requests"

func newExposure() *exposure {
	return &exposure{places: map[string][]byte{}, secrets: map[string][]byte{}, sent: map[string]bool{}}
}

// spellings are the forms in which a secret could stand in bytes or text: itself and reversed, hexadecimal, decimal,
// lists of numbers as Go and JSON print them, base64 at each of its three shifts (without the characters that depend on
// what stands beside it), and the machine words of which a stack trace shows arguments. A key in DER or PEM holds one of them.
func spellings(secret []byte) map[string][]byte {
	reversed := slices.Clone(secret)
	slices.Reverse(reversed)
	numbers := strings.Trim(fmt.Sprint(secret), "[]")
	all := map[string][]byte{
		"bytes": secret, "reversed bytes": reversed, "hexadecimal": []byte(hex.EncodeToString(secret)),
		"upper-case hexadecimal": []byte(strings.ToUpper(hex.EncodeToString(secret))),
		"list of numbers":        []byte(numbers), "JSON list of numbers": []byte(strings.ReplaceAll(numbers, " ", ",")),
	}
	if len(secret) >= 16 {
		all["decimal"] = []byte(new(big.Int).SetBytes(secret).String())
		for at := 0; at+8 <= len(secret); at += 8 {
			all[fmt.Sprintf("machine word %d", at/8)] = fmt.Appendf(nil, "0x%x", binary.BigEndian.Uint64(secret[at:]))
			all[fmt.Sprintf("swapped machine word %d", at/8)] = fmt.Appendf(nil, "0x%x", binary.LittleEndian.Uint64(secret[at:]))
		}
	}
	for shift := range 3 {
		padded := append(make([]byte, shift), secret...)
		for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			text := encoding.EncodeToString(padded)
			all[fmt.Sprintf("%s shifted by %d", name, shift)] = []byte(text[4 : len(text)-4])
		}
	}
	return all
}

// unbroken is content without line breaks, raw or as JSON and slog escape them, so that a secret that was wrapped is found.
func unbroken(content []byte) []byte {
	for _, breaking := range []string{"\r", "\n", `\r`, `\n`} {
		content = bytes.ReplaceAll(content, []byte(breaking), nil)
	}
	return content
}

// find lists the secrets that stand somewhere, with their place and spelling.
func (x *exposure) find() []string {
	var found []string
	for where, content := range x.places {
		joined := unbroken(content)
		for what, secret := range x.secrets {
			if where == requestsPlace && x.sent[what] {
				continue
			}
			for form, needle := range spellings(secret) {
				if bytes.Contains(content, needle) || bytes.Contains(joined, needle) {
					found = append(found, fmt.Sprintf("%s stands in %s as %s", what, where, form))
				}
			}
		}
	}
	return found
}

// keepKey notes a private key.
func (x *exposure) keepKey(t testing.TB, name string, key crypto.Signer) {
	t.Helper()
	switch k := key.(type) {
	case *sm2.PrivateKey:
		x.secrets[name] = scalar(k)
	case *ecdsa.PrivateKey:
		raw, err := k.Bytes()
		must(t, err)
		x.secrets[name] = raw
	case *rsa.PrivateKey:
		x.secrets[name] = k.D.Bytes()
		x.secrets[name+", prime"] = k.Primes[0].Bytes()
	default:
		t.Fatalf("%s: key of type %T", name, key)
	}
}

// TestTheSearchFinds: in each kind of place and each spelling a planted secret is found, alone, between other bytes and
// across a line break. Without this the search of a run says nothing.
func TestTheSearchFinds(t *testing.T) {
	secret := make([]byte, 32)
	for i := range secret {
		secret[i] = byte(7*i + 129)
	}
	for form, needle := range spellings(secret) {
		surroundings := [][]byte{needle, append([]byte(`{"a":"`), append(slices.Clone(needle), `","b":1}`...)...)}
		if !strings.HasSuffix(form, "bytes") { // text gets wrapped, bytes do not
			for _, breaking := range []string{"\n", "\r\n", `\n`} {
				half := len(needle) / 2
				surroundings = append(surroundings, slices.Concat(needle[:half], []byte(breaking), needle[half:]))
			}
		}
		for _, surrounded := range surroundings {
			x := newExposure()
			x.secrets["planted"] = secret
			x.places["somewhere"] = surrounded
			if len(x.find()) == 0 {
				t.Errorf("%s is not found in %q", form, surrounded)
			}
		}
	}
	x := newExposure()
	x.secrets["planted"] = secret
	other := slices.Clone(secret)
	other[31] ^= 1
	x.places["somewhere"] = []byte(hex.EncodeToString(other))
	if found := x.find(); len(found) != 0 {
		t.Errorf("found what is not there: %v", found)
	}
}
