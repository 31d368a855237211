package trust

import (
	"bytes"
	"crypto/sha1" // RFC 6960 names certificates and keys by SHA-1; nothing is signed over it
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/emmansun/gmsm/sm3"
	"github.com/emmansun/gmsm/smx509"
)

// ASN.1 of RFC 6960 4.1 and 4.2, used by both directions.
type (
	certID struct {
		HashAlgorithm pkix.AlgorithmIdentifier
		NameHash      []byte
		KeyHash       []byte
		Serial        *big.Int
	}
	ocspRequest struct {
		TBS       tbsRequest
		Signature asn1.RawValue `asn1:"explicit,tag:0,optional"`
	}
	tbsRequest struct {
		Version       int           `asn1:"explicit,tag:0,default:0,optional"`
		RequestorName asn1.RawValue `asn1:"explicit,tag:1,optional"`
		Requests      []singleRequest
		Extensions    []pkix.Extension `asn1:"explicit,tag:2,optional"`
	}
	singleRequest struct {
		Cert       certID
		Extensions []pkix.Extension `asn1:"explicit,tag:0,optional"`
	}
	ocspResponse struct {
		Status asn1.Enumerated
		Bytes  responseBytes `asn1:"explicit,tag:0,optional"`
	}
	responseBytes struct {
		Type     asn1.ObjectIdentifier
		Response []byte
	}
	basicResponse struct {
		TBS          responseData
		Algorithm    pkix.AlgorithmIdentifier
		Signature    asn1.BitString
		Certificates []asn1.RawValue `asn1:"explicit,tag:0,optional"`
	}
	responseData struct {
		Raw        asn1.RawContent
		Version    int `asn1:"explicit,tag:0,default:0,optional"`
		Responder  asn1.RawValue
		ProducedAt time.Time `asn1:"generalized"`
		Responses  []singleResponse
		Extensions []pkix.Extension `asn1:"explicit,tag:1,optional"`
	}
	singleResponse struct {
		Cert       certID
		Good       asn1.Flag        `asn1:"tag:0,optional"`
		Revoked    revokedInfo      `asn1:"tag:1,optional"`
		Unknown    asn1.Flag        `asn1:"tag:2,optional"`
		ThisUpdate time.Time        `asn1:"generalized"`
		NextUpdate time.Time        `asn1:"generalized,explicit,tag:0,optional"`
		Extensions []pkix.Extension `asn1:"explicit,tag:1,optional"`
	}
	revokedInfo struct {
		At     time.Time       `asn1:"generalized"`
		Reason asn1.Enumerated `asn1:"explicit,tag:0,optional"`
	}
)

// maxNonce is the longest nonce that is taken, in bytes (RFC 9654 2.1 lets a
// client send up to 128).
const maxNonce = 128

// ocspHash is one way of naming an issuer in a CertID.
type ocspHash struct {
	id  asn1.ObjectIdentifier
	sum func([]byte) []byte
}

// ocspHashes are the accepted ones; the first is what NewOCSPRequest uses,
// because every responder knows it.
func ocspHashes() []ocspHash {
	return []ocspHash{
		{asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}, func(b []byte) []byte { d := sha1.Sum(b); return d[:] }},
		{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}, func(b []byte) []byte { d := sha256.Sum256(b); return d[:] }},
		{asn1.ObjectIdentifier{1, 2, 156, 10197, 1, 401}, func(b []byte) []byte { d := sm3.Sum(b); return d[:] }}, // GM/T 0006
	}
}

// subjectKeyBits are the bytes of the subjectPublicKey BIT STRING, without tag,
// length and unused bits: what RFC 6960 hashes as the issuer's key.
func subjectKeyBits(cert *smx509.Certificate) ([]byte, error) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(cert.RawSubjectPublicKeyInfo, &info); err != nil {
		return nil, fmt.Errorf("subject public key: %w: %w", ErrMalformed, err)
	}
	return info.Key.RightAlign(), nil
}

func newCertID(serial *big.Int, issuer *smx509.Certificate, hash ocspHash) (certID, error) {
	key, err := subjectKeyBits(issuer)
	if err != nil {
		return certID{}, err
	}
	return certID{
		HashAlgorithm: pkix.AlgorithmIdentifier{Algorithm: hash.id, Parameters: asn1.NullRawValue},
		NameHash:      hash.sum(issuer.RawSubject),
		KeyHash:       hash.sum(key),
		Serial:        serial,
	}, nil
}

// matches reports whether the id names this issuer.
func (c certID) matches(issuer *smx509.Certificate) bool {
	for _, hash := range ocspHashes() {
		if !hash.id.Equal(c.HashAlgorithm.Algorithm) {
			continue
		}
		own, err := newCertID(c.Serial, issuer, hash)
		return err == nil && bytes.Equal(own.NameHash, c.NameHash) && bytes.Equal(own.KeyHash, c.KeyHash)
	}
	return false
}

// NewOCSPRequest asks for the status of certificates of one issuer, mostly one.
// The nonce (RFC 9654) may be nil; 32 random bytes are recommended.
func NewOCSPRequest(cert, issuer *smx509.Certificate, nonce []byte, more ...*smx509.Certificate) ([]byte, error) {
	var request ocspRequest
	for _, c := range append([]*smx509.Certificate{cert}, more...) {
		id, err := newCertID(c.SerialNumber, issuer, ocspHashes()[0])
		if err != nil {
			return nil, err
		}
		request.TBS.Requests = append(request.TBS.Requests, singleRequest{Cert: id})
	}
	if nonce != nil {
		ext, err := nonceExtension(nonce)
		if err != nil {
			return nil, err
		}
		request.TBS.Extensions = []pkix.Extension{ext}
	}
	der, err := asn1.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("OCSP request: %w", err)
	}
	return der, nil
}

func nonceExtension(nonce []byte) (pkix.Extension, error) {
	if len(nonce) == 0 || len(nonce) > maxNonce {
		return pkix.Extension{}, fmt.Errorf("nonce of %d bytes: %w", len(nonce), ErrMalformed)
	}
	value, err := asn1.Marshal(nonce)
	if err != nil {
		return pkix.Extension{}, fmt.Errorf("nonce: %w", err)
	}
	return pkix.Extension{Id: oidOCSPNonce(), Value: value}, nil
}

// readNonce returns the nonce among the extensions, nil if there is none. Other
// critical extensions are refused.
func readNonce(extensions []pkix.Extension) ([]byte, error) {
	var nonce []byte
	for _, ext := range extensions {
		if !ext.Id.Equal(oidOCSPNonce()) {
			if ext.Critical {
				return nil, fmt.Errorf("extension %v: %w", ext.Id, ErrCritical)
			}
			continue
		}
		if nonce != nil {
			return nil, fmt.Errorf("two nonces: %w", ErrMalformed)
		}
		if rest, err := asn1.Unmarshal(ext.Value, &nonce); err != nil || len(rest) != 0 || len(nonce) == 0 || len(nonce) > maxNonce {
			return nil, fmt.Errorf("nonce: %w", ErrMalformed)
		}
	}
	return nonce, nil
}

// MaxOCSPQuestions is how many certificates one request may ask about.
const MaxOCSPQuestions = 16

// OCSPRequest is what a responder reads.
type OCSPRequest struct {
	// Questions in their order, at least one.
	Questions []OCSPQuestion
	// Nonce to be repeated in the answer, nil if the request has none.
	Nonce []byte
}

// OCSPQuestion asks about one certificate.
type OCSPQuestion struct {
	// Serial of the certificate in question.
	Serial *big.Int
	id     certID
}

// About reports whether the question concerns a certificate of this issuer.
func (q OCSPQuestion) About(issuer *smx509.Certificate) bool { return q.id.matches(issuer) }

// ID is the question's CertID in DER: what its answer depends on and repeats.
func (q OCSPQuestion) ID() ([]byte, error) {
	der, err := asn1.Marshal(q.id)
	if err != nil {
		return nil, fmt.Errorf("OCSP question: %w", err)
	}
	return der, nil
}

// About reports whether some question concerns a certificate of this issuer.
func (r *OCSPRequest) About(issuer *smx509.Certificate) bool {
	return slices.ContainsFunc(r.Questions, func(q OCSPQuestion) bool { return q.About(issuer) })
}

// ParseOCSPRequest reads a request (RFC 6960 4.1) with 1 to MaxOCSPQuestions
// questions; a signature on it is not looked at. The error wraps ErrMalformed or
// ErrCritical.
func ParseOCSPRequest(der []byte) (*OCSPRequest, error) {
	if len(der) > MaxOCSPSize {
		return nil, fmt.Errorf("OCSP request of %d bytes: %w", len(der), ErrMalformed)
	}
	var request ocspRequest
	rest, err := asn1.Unmarshal(der, &request)
	if err != nil {
		return nil, fmt.Errorf("OCSP request: %w: %w", ErrMalformed, err)
	}
	if n := len(request.TBS.Requests); len(rest) != 0 || request.TBS.Version != 0 || n == 0 || n > MaxOCSPQuestions {
		return nil, fmt.Errorf("OCSP request of version %d with %d questions: %w", request.TBS.Version+1, n, ErrMalformed)
	}
	parsed := new(OCSPRequest)
	for _, single := range request.TBS.Requests {
		if err := single.check(); err != nil {
			return nil, err
		}
		parsed.Questions = append(parsed.Questions, OCSPQuestion{Serial: single.Cert.Serial, id: single.Cert})
	}
	parsed.Nonce, err = readNonce(request.TBS.Extensions)
	return parsed, err
}

func (single *singleRequest) check() error {
	if single.Cert.Serial == nil || single.Cert.Serial.Sign() <= 0 || single.Cert.Serial.BitLen() > 160 {
		return fmt.Errorf("OCSP request: serial number: %w", ErrMalformed)
	}
	// The answer repeats the CertID. A digest is at most 64 bytes; SHA-1, SHA-256
	// and SM3 have no parameters but NULL (RFC 5754 2, GM/T 0006).
	if len(single.Cert.NameHash) > 64 || len(single.Cert.KeyHash) > 64 {
		return fmt.Errorf("OCSP request: digests: %w", ErrMalformed)
	}
	if p := single.Cert.HashAlgorithm.Parameters.FullBytes; len(p) != 0 && !bytes.Equal(p, asn1.NullBytes) {
		return fmt.Errorf("OCSP request: parameters of a digest: %w", ErrMalformed)
	}
	for _, ext := range single.Extensions {
		if ext.Critical {
			return fmt.Errorf("extension %v: %w", ext.Id, ErrCritical)
		}
	}
	return nil
}
