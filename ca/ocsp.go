package ca

import (
	"context"
	"crypto"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/trust"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/smx509"
)

// responder holds the OCSP key, its certificate, and recent answers.
type responder struct {
	key crypto.Signer

	mu      sync.Mutex
	cert    *smx509.Certificate
	answers map[string]OCSPAnswer // by digest of the request
}

// maxOCSPAnswers bounds the cache; a full one is emptied.
const maxOCSPAnswers = 4096

// responderRenewal is how long before its end the responder's certificate is
// replaced.
const responderRenewal = 30 * 24 * time.Hour

// OCSPAnswer is a signed answer.
type OCSPAnswer struct {
	DER []byte
	// ProducedAt and NextUpdate are zero for an error status.
	ProducedAt, NextUpdate time.Time
	// Cacheable says that the answer holds no nonce.
	Cacheable bool

	status trust.Status
}

// OCSP answers a question in DER. The status is read from the database for
// every question, so that a revocation by another process counts at once; only
// the signature is reused, for half the answer's life. A serial number that this
// authority did not issue is unknown, never good.
func (a *Authority) OCSP(ctx context.Context, der []byte) (*OCSPAnswer, error) {
	request, refusal := a.readOCSP(der)
	if refusal != trust.Successful {
		return &OCSPAnswer{DER: trust.OCSPError(refusal)}, nil
	}
	status, _, err := a.status(ctx, trust.SerialHex(request.Serial))
	if err != nil {
		return nil, err
	}
	name := string(protocol.H(der)) // not the question, which may be long
	if request.Nonce == nil {
		if answer, ok := a.ocsp.recall(name, status, a.now(), time.Duration(a.config.OCSPLifetime)/2); ok {
			return &answer, nil
		}
	}
	answer, err := a.answer(ctx, request, status)
	if err != nil {
		return nil, err
	}
	if answer.Cacheable {
		a.ocsp.keep(name, *answer)
	}
	return answer, nil
}

// readOCSP reads a question, or answers with the status that refuses it.
func (a *Authority) readOCSP(der []byte) (request *trust.OCSPRequest, refusal int) {
	request, err := trust.ParseOCSPRequest(der)
	switch {
	case err != nil:
		return nil, trust.MalformedRequest
	case !request.About(a.Issuing()):
		return nil, trust.Unauthorized
	}
	return request, trust.Successful
}

func (a *Authority) answer(ctx context.Context, request *trust.OCSPRequest, status trust.Status) (*OCSPAnswer, error) {
	cert, err := a.responderCertificate(ctx)
	if err != nil {
		return nil, err
	}
	known := status
	status.ProducedAt = a.now().UTC().Truncate(time.Second)
	status.ThisUpdate = status.ProducedAt
	status.NextUpdate = status.ProducedAt.Add(time.Duration(a.config.OCSPLifetime))
	der, err := trust.Responder{Issuer: a.Issuing(), Certificate: cert, Key: a.ocsp.key}.Sign(rand.Reader, request, status)
	if err != nil {
		return nil, err
	}
	return &OCSPAnswer{
		DER: der, ProducedAt: status.ProducedAt, NextUpdate: status.NextUpdate, Cacheable: request.Nonce == nil, status: known,
	}, nil
}

// recall finds an answer that says the same and is young enough.
func (r *responder) recall(name string, status trust.Status, now time.Time, maxAge time.Duration) (OCSPAnswer, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	answer, ok := r.answers[name]
	if !ok || answer.status != status || now.Before(answer.ProducedAt) || now.Sub(answer.ProducedAt) > maxAge {
		return OCSPAnswer{}, false
	}
	return answer, true
}

func (r *responder) keep(name string, answer OCSPAnswer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answers == nil || len(r.answers) >= maxOCSPAnswers {
		r.answers = make(map[string]OCSPAnswer)
	}
	r.answers[name] = answer
}

// responderCertificate answers the responder's certificate and replaces it in
// time. The responder's key stays.
func (a *Authority) responderCertificate(ctx context.Context) (*smx509.Certificate, error) {
	a.ocsp.mu.Lock()
	defer a.ocsp.mu.Unlock()
	if a.ocsp.cert != nil && a.now().Before(a.ocsp.cert.NotAfter.Add(-responderRenewal)) {
		return a.ocsp.cert, nil
	}
	cert, err := a.newest(ctx, issuance.OCSP)
	if err != nil {
		return nil, err
	}
	if !a.now().Before(cert.NotAfter.Add(-responderRenewal)) && cert.NotAfter.Before(a.Issuing().NotAfter) {
		fresh, err := a.renewResponder(ctx, cert)
		if err != nil && !a.now().Before(cert.NotAfter) {
			return nil, err
		}
		if err != nil { // the old one still answers, and the next question tries again
			a.log.LogAttrs(ctx, slog.LevelError, "renew the responder's certificate", slog.Time("ends", cert.NotAfter), slog.Any("error", err))
			return cert, nil
		}
		cert = fresh
	}
	public, ok := a.ocsp.key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(cert.PublicKey) {
		return nil, errors.New("the OCSP key does not belong to the responder's certificate")
	}
	a.ocsp.cert = cert
	return cert, nil
}

func (a *Authority) renewResponder(ctx context.Context, old *smx509.Certificate) (*smx509.Certificate, error) {
	request := responderRequest(a.now(), a.Issuing())
	request.Subject = issuance.Subject{Country: a.config.Country, Organisation: a.config.Organisation, CommonName: old.Subject.CommonName}
	request.PublicKey = a.ocsp.key.Public()
	var err error
	if request.Serial, err = issuance.NewSerial(rand.Reader); err != nil {
		return nil, err
	}
	linted, err := a.issuer.Prepare(request)
	if err != nil {
		return nil, fmt.Errorf("responder's certificate: %w", err)
	}
	cert, err := a.issuer.Issue(linted)
	if err != nil {
		return nil, fmt.Errorf("responder's certificate: %w", err)
	}
	return cert, a.db.Update(ctx, func(tx *sql.Tx) error {
		return storeCertificate(ctx, tx, &a.audit, certificateRow{profile: issuance.OCSP, issuer: issuingName, cert: cert})
	})
}
