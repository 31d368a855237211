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
	certs   map[string]*smx509.Certificate // by issuing authority
	answers map[string]OCSPAnswer          // by digest of the request
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
	request, issuer, refusal := a.readOCSP(der)
	if refusal != trust.Successful {
		return &OCSPAnswer{DER: trust.OCSPError(refusal)}, nil
	}
	status, _, err := a.status(ctx, issuer.name, trust.SerialHex(request.Serial))
	if err != nil {
		return nil, err
	}
	name := string(protocol.H(der)) // not the question, which may be long
	if request.Nonce == nil {
		if answer, ok := a.ocsp.recall(name, status, a.now(), time.Duration(a.config.OCSPLifetime)/2); ok {
			return &answer, nil
		}
	}
	answer, err := a.answer(ctx, issuer, request, status)
	if err != nil {
		return nil, err
	}
	if answer.Cacheable {
		a.ocsp.keep(name, *answer)
	}
	return answer, nil
}

// readOCSP reads a question, or answers with the status that refuses it.
func (a *Authority) readOCSP(der []byte) (request *trust.OCSPRequest, issuer *issuing, refusal int) {
	request, err := trust.ParseOCSPRequest(der)
	if err != nil {
		return nil, nil, trust.MalformedRequest
	}
	if issuer = a.issuers.about(request); issuer == nil {
		return nil, nil, trust.Unauthorized
	}
	return request, issuer, trust.Successful
}

func (a *Authority) answer(ctx context.Context, issuer *issuing, request *trust.OCSPRequest, status trust.Status) (*OCSPAnswer, error) {
	cert, err := a.responderCertificate(ctx, issuer)
	if err != nil {
		return nil, err
	}
	known := status
	status.ProducedAt = a.now().UTC().Truncate(time.Second)
	status.ThisUpdate = status.ProducedAt
	status.NextUpdate = status.ProducedAt.Add(time.Duration(a.config.OCSPLifetime))
	der, err := trust.Responder{Issuer: issuer.Certificate(), Certificate: cert, Key: a.ocsp.key}.Sign(rand.Reader, request, status)
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

// responderCertificate answers the responder's certificate under an issuing
// authority and replaces it in time. The responder's key stays, and is the same
// for all issuing authorities.
func (a *Authority) responderCertificate(ctx context.Context, issuer *issuing) (*smx509.Certificate, error) {
	a.ocsp.mu.Lock()
	defer a.ocsp.mu.Unlock()
	if cert := a.ocsp.certs[issuer.name]; cert != nil && a.now().Before(cert.NotAfter.Add(-responderRenewal)) {
		return cert, nil
	}
	cert, err := a.newestOf(ctx, issuance.OCSP, issuer.name)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	due := cert == nil || !a.now().Before(cert.NotAfter.Add(-responderRenewal)) && cert.NotAfter.Before(issuer.Certificate().NotAfter)
	if due {
		fresh, err := a.renewResponder(ctx, issuer)
		if err != nil && (cert == nil || !a.now().Before(cert.NotAfter)) {
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
	if a.ocsp.certs == nil {
		a.ocsp.certs = make(map[string]*smx509.Certificate)
	}
	a.ocsp.certs[issuer.name] = cert
	return cert, nil
}

func (a *Authority) renewResponder(ctx context.Context, issuer *issuing) (*smx509.Certificate, error) {
	request := responderRequest(a.now(), issuer.Certificate())
	request.Subject = a.config.subject(keyOCSP)
	request.PublicKey = a.ocsp.key.Public()
	var err error
	if request.Serial, err = issuance.NewSerial(rand.Reader); err != nil {
		return nil, err
	}
	linted, err := issuer.Prepare(request)
	if err != nil {
		return nil, fmt.Errorf("responder's certificate: %w", err)
	}
	cert, err := issuer.Issue(linted)
	if err != nil {
		return nil, fmt.Errorf("responder's certificate: %w", err)
	}
	return cert, a.db.Update(ctx, func(tx *sql.Tx) error {
		return storeCertificate(ctx, tx, &a.audit, certificateRow{profile: issuance.OCSP, issuer: issuer.name, cert: cert})
	})
}
