package status

import (
	"context"
	"crypto"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
	"golang.org/x/sync/singleflight"
)

// responder holds the OCSP key and recent answers.
type responder struct {
	key crypto.Signer

	flights singleflight.Group

	mu      sync.Mutex
	answers map[string]OCSPAnswer // by digest of the CertID
}

// maxOCSPAnswers bounds the cache; a full one is emptied.
const maxOCSPAnswers = 4096

// OCSPAnswer is a signed answer.
type OCSPAnswer struct {
	DER []byte
	// ProducedAt and NextUpdate are zero for an error status.
	ProducedAt, NextUpdate time.Time
	// Cacheable says that the answer is to one question and holds no nonce.
	Cacheable bool

	status trust.Status
}

// Certified returns the responder's certificate under an issuing authority.
type Certified func(ctx context.Context, issuer *Issuer) (*smx509.Certificate, error)

// ResponderKey is the public half of the key that signs OCSP answers.
func (s *Status) ResponderKey() crypto.PublicKey { return s.ocsp.key.Public() }

// OCSP answers a request in DER, which may ask about several certificates. Every
// status is read from the database for every question, so that a revocation by
// another process counts at once; only the signature is reused, for half the
// answer's life, and never where a nonce has to be repeated. A serial number that
// this authority did not issue is unknown, never good; so is a certificate of an
// issuer other than the first that the request names. A request that names none
// of ours is unauthorized (RFC 5019 2.2.3).
func (s *Status) OCSP(ctx context.Context, der []byte, certified Certified) (*OCSPAnswer, error) {
	request, err := trust.ParseOCSPRequest(der)
	if err != nil {
		return &OCSPAnswer{DER: trust.OCSPError(trust.MalformedRequest)}, nil //nolint:nilerr // the answer says so
	}
	issuer := s.issuers.about(request)
	if issuer == nil {
		return &OCSPAnswer{DER: trust.OCSPError(trust.Unauthorized)}, nil
	}
	statuses := make([]trust.Status, len(request.Questions))
	for i, question := range request.Questions {
		statuses[i] = trust.Status{State: trust.Unknown}
		if !question.About(issuer.Certificate()) {
			continue
		}
		if statuses[i], _, err = s.stateOf(ctx, issuer.Name, trust.SerialHex(question.Serial)); err != nil {
			return nil, err
		}
	}
	if request.Nonce != nil || len(request.Questions) > 1 {
		return s.answer(ctx, issuer, certified, request, statuses)
	}
	return s.cached(ctx, issuer, certified, request, statuses[0])
}

// cached answers a single question without nonce. However many ask at once, one
// answer is signed.
func (s *Status) cached(ctx context.Context, issuer *Issuer, certified Certified, request *trust.OCSPRequest, status trust.Status) (*OCSPAnswer, error) {
	id, err := request.Questions[0].ID()
	if err != nil {
		return nil, err
	}
	name := string(protocol.H(id))
	if answer, ok := s.ocsp.recall(name, status, s.now(), s.ocspLife/2); ok {
		return &answer, nil
	}
	// a status that differs is another flight, so that no caller gets an outdated status
	flight := fmt.Sprintf("%s/%d/%d/%d", name, status.State, status.Reason, status.RevokedAt.Unix())
	shared, err, _ := s.ocsp.flights.Do(flight, func() (any, error) {
		answer, err := s.answer(context.WithoutCancel(ctx), issuer, certified, request, []trust.Status{status})
		if err == nil {
			answer.Cacheable = true
			s.ocsp.keep(name, *answer)
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
func (s *Status) answer(ctx context.Context, issuer *Issuer, certified Certified, request *trust.OCSPRequest, statuses []trust.Status) (*OCSPAnswer, error) {
	cert, err := certified(ctx, issuer)
	if err != nil {
		return nil, err
	}
	known := statuses[0]
	produced := s.now().UTC().Truncate(time.Second)
	next := produced.Add(s.ocspLife)
	dated := make([]trust.Status, len(statuses))
	for i, status := range statuses {
		status.ProducedAt, status.ThisUpdate, status.NextUpdate = produced, produced, next
		dated[i] = status
	}
	der, err := trust.Responder{Issuer: issuer.Certificate(), Certificate: cert, Key: s.ocsp.key}.Sign(rand.Reader, request, dated...)
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
