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

// Sign answers a request with one status for each of its questions, in their
// order. State, ThisUpdate, NextUpdate and ProducedAt are set (whole seconds are
// written; ProducedAt is the first status's), and RevokedAt and Reason where the
// certificate is revoked. Questions about other issuers can be answered by
// Unknown alone. The nonce of the request is repeated.
func (o Responder) Sign(random io.Reader, request *OCSPRequest, statuses ...Status) ([]byte, error) {
	if len(statuses) == 0 || len(statuses) != len(request.Questions) {
		return nil, fmt.Errorf("%d OCSP answers to %d questions: %w", len(statuses), len(request.Questions), ErrMalformed)
	}
	data := responseData{
		Responder:  asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 1, IsCompound: true, Bytes: o.Certificate.RawSubject},
		ProducedAt: statuses[0].ProducedAt.UTC().Truncate(time.Second),
	}
	for i, question := range request.Questions {
		if statuses[i].State != Unknown && !question.About(o.Issuer) {
			return nil, fmt.Errorf("OCSP question for another issuer: %w", ErrStatusMismatch)
		}
		single, err := question.answer(statuses[i])
		if err != nil {
			return nil, err
		}
		data.Responses = append(data.Responses, single)
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

func (q OCSPQuestion) answer(status Status) (singleResponse, error) {
	single := singleResponse{
		Cert:       q.id,
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
		return single, fmt.Errorf("OCSP answer with %v: %w", status.State, ErrMalformed)
	}
	return single, nil
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
