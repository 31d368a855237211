package timestamp

import (
	"crypto/rand"
	"crypto/subtle"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"

	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm3"
)

// Imprint is a digest with the algorithm that made it.
type Imprint struct {
	Algorithm asn1.ObjectIdentifier
	Digest    []byte
}

// SM3 is the imprint of a message's SM3 digest (32 bytes).
func SM3(digest []byte) Imprint { return Imprint{Algorithm: oidSM3(), Digest: digest} }

// SHA256 is the imprint of a message's SHA-256 digest (32 bytes).
func SHA256(digest []byte) Imprint { return Imprint{Algorithm: oidSHA(1), Digest: digest} }

// SumSM3 is the imprint of a message by SM3.
func SumSM3(message []byte) Imprint {
	d := sm3.Sum(message)
	return SM3(d[:])
}

// Equal compares in constant time.
func (i Imprint) Equal(other Imprint) bool {
	return i.Algorithm.Equal(other.Algorithm) && subtle.ConstantTimeCompare(i.Digest, other.Digest) == 1
}

func (i Imprint) der() messageImprint {
	return messageImprint{Algorithm: pkix.AlgorithmIdentifier{Algorithm: i.Algorithm}, Digest: i.Digest}
}

// Request is a question for a timestamp (RFC 3161 2.4.1).
type Request struct {
	Imprint Imprint
	// Policy that the asker wants; empty for any.
	Policy asn1.ObjectIdentifier
	// Nonce to be repeated in the token, nil for none.
	Nonce *big.Int
	// CertReq asks for the authority's certificates in the token.
	CertReq bool
}

// nonceBytes is the length of nonces that NewRequest draws.
const nonceBytes = 16

// NewRequest asks for a token with certificates over an imprint; the nonce goes
// into Options.Nonce at verification.
func NewRequest(imprint Imprint) (nonce *big.Int, der []byte, err error) {
	raw := make([]byte, nonceBytes)
	if _, err := rand.Read(raw); err != nil {
		return nil, nil, fmt.Errorf("nonce: %w", err)
	}
	raw[0] |= 0x40 // one length, and not zero
	raw[0] &= 0x7F
	nonce = new(big.Int).SetBytes(raw)
	der, err = (&Request{Imprint: imprint, Nonce: nonce, CertReq: true}).Marshal()
	return nonce, der, err
}

// Marshal writes the request in DER.
func (r *Request) Marshal() ([]byte, error) {
	der, err := asn1.Marshal(timeStampReq{Version: 1, Imprint: r.Imprint.der(), Policy: r.Policy, Nonce: r.Nonce, CertReq: r.CertReq})
	if err != nil {
		return nil, fmt.Errorf("timestamp request: %w", err)
	}
	return der, nil
}

// ParseRequest reads a question as an authority does. Every refusal is a
// *Rejection with the failure that RFC 3161 2.4.2 gives for it.
func ParseRequest(der []byte) (*Request, error) {
	if len(der) > MaxRequest {
		return nil, reject(BadDataFormat, "request of %d bytes", len(der))
	}
	var r timeStampReq
	if err := exactly(der, &r); err != nil {
		return nil, reject(BadDataFormat, "no timestamp request: %v", err)
	}
	if len(r.Extensions) != 0 {
		return nil, reject(UnacceptedExtension, "extension %v is not supported", r.Extensions[0].Id)
	}
	if err := same(der, r); err != nil {
		return nil, reject(BadDataFormat, "%v", err)
	}
	if r.Version != 1 {
		return nil, reject(BadRequest, "version %d", r.Version)
	}
	d, err := digestOf(r.Imprint.Algorithm)
	if err != nil {
		return nil, reject(BadAlg, "%v", err)
	}
	if len(r.Imprint.Digest) != d.size {
		return nil, reject(BadDataFormat, "imprint of %d bytes, the algorithm gives %d", len(r.Imprint.Digest), d.size)
	}
	if r.Nonce != nil && r.Nonce.BitLen() > maxNonceBits {
		return nil, reject(BadDataFormat, "nonce of %d bits", r.Nonce.BitLen())
	}
	return &Request{
		Imprint: Imprint{Algorithm: r.Imprint.Algorithm.Algorithm, Digest: r.Imprint.Digest},
		Policy:  r.Policy, Nonce: r.Nonce, CertReq: r.CertReq,
	}, nil
}

// Failure is a bit of PKIFailureInfo (RFC 3161 2.4.2).
type Failure int

// Failures that a timestamp authority gives.
const (
	BadAlg              Failure = 0
	BadRequest          Failure = 2
	BadDataFormat       Failure = 5
	TimeNotAvailable    Failure = 14
	UnacceptedPolicy    Failure = 15
	UnacceptedExtension Failure = 16
	AddInfoNotAvailable Failure = 17
	SystemFailure       Failure = 25
)

// String is the failure's name in RFC 3161.
func (f Failure) String() string {
	switch f {
	case BadAlg:
		return "badAlg"
	case BadRequest:
		return "badRequest"
	case BadDataFormat:
		return "badDataFormat"
	case TimeNotAvailable:
		return "timeNotAvailable"
	case UnacceptedPolicy:
		return "unacceptedPolicy"
	case UnacceptedExtension:
		return "unacceptedExtension"
	case AddInfoNotAvailable:
		return "addInfoNotAvailable"
	case SystemFailure:
		return "systemFailure"
	}
	return fmt.Sprintf("failure %d", int(f))
}

// Rejection is an answer without a token.
type Rejection struct {
	Failure Failure
	Text    string
}

// Error renders "timestamp refused: NAME: text".
func (r *Rejection) Error() string {
	return fmt.Sprintf("timestamp refused: %v: %s", r.Failure, r.Text)
}

func reject(f Failure, format string, args ...any) *Rejection {
	return &Rejection{Failure: f, Text: fmt.Sprintf(format, args...)}
}

// Values of PKIStatus (RFC 3161 2.4.2): 0 and 1 come with a token.
const (
	statusGranted         = 0
	statusGrantedWithMods = 1
	statusRejection       = 2
)

// Response writes the refusal as a TimeStampResp.
func (r *Rejection) Response() ([]byte, error) {
	bits := make([]byte, int(r.Failure)/8+1)
	bits[r.Failure/8] = 0x80 >> (r.Failure % 8)
	der, err := asn1.Marshal(timeStampResp{Status: statusInfo{
		Status: statusRejection, Text: []asn1.RawValue{{Tag: asn1.TagUTF8String, Bytes: []byte(r.Text)}}, Failure: asn1.BitString{Bytes: bits, BitLength: int(r.Failure) + 1},
	}})
	if err != nil {
		return nil, fmt.Errorf("timestamp response: %w", err)
	}
	return der, nil
}

// GrantedResponse puts a token into a TimeStampResp.
func GrantedResponse(token []byte) ([]byte, error) {
	der, err := asn1.Marshal(timeStampResp{Status: statusInfo{Status: statusGranted}, Token: asn1.RawValue{FullBytes: token}})
	if err != nil {
		return nil, fmt.Errorf("timestamp response: %w", err)
	}
	return der, nil
}

// ReadResponse takes the token out of a TimeStampResp without judging it. A
// refusal is a *Rejection; other errors wrap trust.ErrMalformed.
func ReadResponse(der []byte) (token []byte, err error) {
	if len(der) > MaxResponse {
		return nil, fmt.Errorf("timestamp response of %d bytes: %w", len(der), trust.ErrMalformed)
	}
	var r timeStampResp
	if err := exactly(der, &r); err != nil {
		return nil, fmt.Errorf("timestamp response: %w", err)
	}
	switch r.Status.Status {
	case statusGranted, statusGrantedWithMods:
		if len(r.Token.FullBytes) == 0 {
			return nil, fmt.Errorf("timestamp response without a token: %w", trust.ErrMalformed)
		}
		return slices.Clone(r.Token.FullBytes), nil
	}
	refused := &Rejection{Failure: SystemFailure}
	for bit := range r.Status.Failure.BitLength {
		if r.Status.Failure.At(bit) == 1 {
			refused.Failure = Failure(bit)
			break
		}
	}
	for _, text := range r.Status.Text {
		refused.Text += string(text.Bytes[:min(len(text.Bytes), maxText-len(refused.Text))])
	}
	return nil, refused
}

// maxText bounds a stranger's text in our messages, in bytes.
const maxText = 256
