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
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
	"golang.org/x/sync/singleflight"
)

// responder holds the OCSP key, its certificate, and recent answers.
type responder struct {
	key crypto.Signer

	flights singleflight.Group

	mu      sync.Mutex
	certs   map[string]*smx509.Certificate // by issuing authority
	answers map[string]OCSPAnswer          // by digest of the CertID
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
	// Cacheable says that the answer is to one question and holds no nonce.
	Cacheable bool

	status trust.Status
}

// OCSP answers a request in DER, which may ask about several certificates. Every
// status is read from the database for every question, so that a revocation by
// another process counts at once; only the signature is reused, for half the
// answer's life, and never where a nonce has to be repeated. A serial number that
// this authority did not issue is unknown, never good; so is a certificate of an
// issuer other than the first that the request names. A request that names none
// of ours is unauthorized (RFC 5019 2.2.3).
func (a *Authority) OCSP(ctx context.Context, der []byte) (*OCSPAnswer, error) {
	request, err := trust.ParseOCSPRequest(der)
	if err != nil {
		return &OCSPAnswer{DER: trust.OCSPError(trust.MalformedRequest)}, nil //nolint:nilerr // the answer says so
	}
	issuer := a.issuers.about(request)
	if issuer == nil {
		return &OCSPAnswer{DER: trust.OCSPError(trust.Unauthorized)}, nil
	}
	statuses := make([]trust.Status, len(request.Questions))
	for i, question := range request.Questions {
		statuses[i] = trust.Status{State: trust.Unknown}
		if !question.About(issuer.Certificate()) {
			continue
		}
		if statuses[i], _, err = a.status(ctx, issuer.name, trust.SerialHex(question.Serial)); err != nil {
			return nil, err
		}
	}
	if request.Nonce != nil || len(request.Questions) > 1 {
		return a.answer(ctx, issuer, request, statuses)
	}
	return a.cached(ctx, issuer, request, statuses[0])
}

// cached answers a single question without nonce. However many ask at once, one
// answer is signed.
func (a *Authority) cached(ctx context.Context, issuer *issuing, request *trust.OCSPRequest, status trust.Status) (*OCSPAnswer, error) {
	id, err := request.Questions[0].ID()
	if err != nil {
		return nil, err
	}
	name := string(protocol.H(id))
	if answer, ok := a.ocsp.recall(name, status, a.now(), time.Duration(a.config.OCSPLifetime)/2); ok {
		return &answer, nil
	}
	// a status that differs is another flight: nobody gets what was true before
	flight := fmt.Sprintf("%s/%d/%d/%d", name, status.State, status.Reason, status.RevokedAt.Unix())
	shared, err, _ := a.ocsp.flights.Do(flight, func() (any, error) {
		answer, err := a.answer(context.WithoutCancel(ctx), issuer, request, []trust.Status{status})
		if err == nil {
			answer.Cacheable = true
			a.ocsp.keep(name, *answer)
		}
		return answer, err
	})
	if err != nil {
		return nil, err
	}
	answer := *shared.(*OCSPAnswer) //nolint:forcetypeassert // the function above gives nothing else
	return &answer, nil
}

// answer signs.
func (a *Authority) answer(ctx context.Context, issuer *issuing, request *trust.OCSPRequest, statuses []trust.Status) (*OCSPAnswer, error) {
	cert, err := a.responderCertificate(ctx, issuer)
	if err != nil {
		return nil, err
	}
	known := statuses[0]
	produced := a.now().UTC().Truncate(time.Second)
	next := produced.Add(time.Duration(a.config.OCSPLifetime))
	dated := make([]trust.Status, len(statuses))
	for i, status := range statuses {
		status.ProducedAt, status.ThisUpdate, status.NextUpdate = produced, produced, next
		dated[i] = status
	}
	der, err := trust.Responder{Issuer: issuer.Certificate(), Certificate: cert, Key: a.ocsp.key}.Sign(rand.Reader, request, dated...)
	if err != nil {
		return nil, err
	}
	return &OCSPAnswer{DER: der, ProducedAt: produced, NextUpdate: next, status: known}, nil
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
	request := serviceRequest(issuance.OCSP, a.now(), issuer.Certificate())
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
