package trust

import (
	"crypto"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"io"
	"time"

	"github.com/emmansun/gmsm/smx509"
)

// Responder is what signs answers for one issuer.
type Responder struct {
	// Issuer of the certificates that are asked for.
	Issuer *smx509.Certificate
	// Certificate of the responder: the issuer's own, or that of a delegate,
	// which is then put into every answer.
	Certificate *smx509.Certificate
	// Key of the responder.
	Key crypto.Signer
}

// Sign answers a question with a status whose State, ThisUpdate, NextUpdate and
// ProducedAt are set (whole seconds are written), and RevokedAt and Reason where
// the certificate is revoked. The nonce of the question is repeated.
func (o Responder) Sign(random io.Reader, request *OCSPRequest, status Status) ([]byte, error) {
	if !request.About(o.Issuer) {
		return nil, fmt.Errorf("OCSP question for another issuer: %w", ErrStatusMismatch)
	}
	single := singleResponse{
		Cert:       request.id,
		ThisUpdate: status.ThisUpdate.UTC().Truncate(time.Second),
		NextUpdate: status.NextUpdate.UTC().Truncate(time.Second),
	}
	switch status.State {
	case Good:
		single.Good = true
	case Revoked:
		single.Revoked = revokedInfo{At: status.RevokedAt.UTC().Truncate(time.Second), Reason: asn1.Enumerated(status.Reason)}
	case Unknown:
		single.Unknown = true
	default:
		return nil, fmt.Errorf("OCSP answer with %v: %w", status.State, ErrMalformed)
	}
	data := responseData{
		Responder:  asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 1, IsCompound: true, Bytes: o.Certificate.RawSubject},
		ProducedAt: status.ProducedAt.UTC().Truncate(time.Second),
		Responses:  []singleResponse{single},
	}
	if request.Nonce != nil {
		ext, err := nonceExtension(request.Nonce)
		if err != nil {
			return nil, err
		}
		data.Extensions = []pkix.Extension{ext}
	}
	return o.seal(random, data)
}

func (o Responder) seal(random io.Reader, data responseData) ([]byte, error) {
	tbs, err := asn1.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("OCSP answer: %w", err)
	}
	id, signature, err := SignASN1(random, o.Key, tbs)
	if err != nil {
		return nil, fmt.Errorf("OCSP answer: %w", err)
	}
	data.Raw = tbs
	basic := basicResponse{TBS: data, Algorithm: id, Signature: asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}}
	if !o.Certificate.Equal(o.Issuer) {
		basic.Certificates = []asn1.RawValue{{FullBytes: o.Certificate.Raw}}
	}
	inner, err := asn1.Marshal(basic)
	if err != nil {
		return nil, fmt.Errorf("OCSP answer: %w", err)
	}
	der, err := asn1.Marshal(ocspResponse{Status: Successful, Bytes: responseBytes{Type: oidOCSPBasic(), Response: inner}})
	if err != nil {
		return nil, fmt.Errorf("OCSP answer: %w", err)
	}
	return der, nil
}

// OCSPError is the unsigned answer with an error status (RFC 6960 2.3), such as
// MalformedRequest or Unauthorized.
func OCSPError(status int) []byte {
	return []byte{0x30, 0x03, 0x0A, 0x01, byte(status)}
}
