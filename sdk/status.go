package bidseal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

const (
	// signerStatusAge is how long an answer about a signer may be used again.
	signerStatusAge = 5 * time.Minute
	// ownStatusAge is when the answer about the platform's own certificate is
	// refreshed, maxOwnStatusAge the oldest that phones take.
	ownStatusAge    = time.Hour
	maxOwnStatusAge = 24 * time.Hour
	// statusSkew is how far the authority's clock may differ from ours.
	statusSkew = time.Minute
	// maxCachedStatus bounds the cache, in answers.
	maxCachedStatus = 4096

	statusCall = 5 * time.Second
)

// HTTPStatus asks OCSP responders by HTTP POST (RFC 6960, appendix A).
type HTTPStatus struct {
	// URL is asked for every certificate; empty asks the responder that the
	// certificate itself names.
	URL  string
	HTTP *http.Client
}

// OCSP implements StatusSource.
func (s HTTPStatus) OCSP(ctx context.Context, cert, issuer *smx509.Certificate) ([]byte, error) {
	url := s.URL
	if url == "" {
		if len(cert.OCSPServer) == 0 {
			return nil, errors.New("certificate names no OCSP responder")
		}
		url = cert.OCSPServer[0]
	}
	question, err := trust.NewOCSPRequest(cert, issuer, nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, statusCall)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(question))
	if err != nil {
		return nil, fmt.Errorf("ask for certificate status: %w", err)
	}
	req.Header.Set("Content-Type", "application/ocsp-request")
	resp, err := s.HTTP.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask for certificate status: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask for certificate status: the responder answered %s", resp.Status)
	}
	der, err := io.ReadAll(io.LimitReader(resp.Body, trust.MaxOCSPSize+1))
	if err != nil {
		return nil, fmt.Errorf("ask for certificate status: %w", err)
	}
	return der, nil
}

// statusCache keeps answers that were judged, by certificate digest.
type statusCache struct {
	source StatusSource
	clock  func() time.Time

	asking  sync.Mutex // held while the platform's own status is asked for
	failed  time.Time  // when that failed last
	failure error

	mu      sync.Mutex
	answers map[[trust.DigestSize]byte]statusAnswer
}

type statusAnswer struct {
	der     []byte
	status  *trust.Status
	fetched time.Time
}

func newStatusCache(source StatusSource, clock func() time.Time) *statusCache {
	return &statusCache{source: source, clock: clock, answers: make(map[[trust.DigestSize]byte]statusAnswer)}
}

// ask returns an answer about cert that was fetched at most maxAge ago, from the
// cache or from the authority. A revoked certificate is an answer.
func (c *statusCache) ask(ctx context.Context, cert, issuer *smx509.Certificate, maxAge time.Duration) (statusAnswer, error) {
	key := trust.Digest(cert)
	if a, found := c.cached(key, maxAge); found {
		return a, nil
	}
	der, err := c.source.OCSP(ctx, cert, issuer)
	if err != nil {
		return statusAnswer{}, err
	}
	status, err := trust.VerifyOCSP(der, cert, issuer, trust.OCSPOptions{
		Now: c.clock(), MaxAge: maxOwnStatusAge, Skew: statusSkew})
	if err != nil {
		return statusAnswer{}, err
	}
	a := statusAnswer{der, status, c.clock()}
	c.keep(key, a)
	return a, nil
}

func (c *statusCache) cached(key [trust.DigestSize]byte, maxAge time.Duration) (statusAnswer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, found := c.answers[key]
	if !found || c.clock().Sub(a.fetched) > maxAge {
		return statusAnswer{}, false
	}
	return a, true
}

func (c *statusCache) keep(key [trust.DigestSize]byte, a statusAnswer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.answers) >= maxCachedStatus {
		for old := range c.answers { // any of them: the next question fetches it again
			delete(c.answers, old)
			break
		}
	}
	c.answers[key] = a
}

// own is the answer about the platform's certificate that goes into boxR.
// Where the authority cannot be reached, one of the last 24 hours serves.
func (c *statusCache) own(ctx context.Context, v *trust.Verified) ([]byte, error) {
	a, err := c.askOwn(ctx, v)
	if err != nil {
		old, found := c.cached(trust.Digest(v.Leaf()), maxOwnStatusAge)
		if !found {
			return nil, fmt.Errorf("status of the platform's certificate: %w: %w",
				protocol.Errorf(protocol.CodeStatusStale, "no response within the last %s", maxOwnStatusAge), err)
		}
		a = old
	}
	if a.status.State == trust.Revoked {
		return nil, protocol.Errorf(protocol.CodePlatformRevoked, "%v", a.status.Err())
	}
	if err := a.status.Err(); err != nil {
		return nil, fmt.Errorf("status of the platform's certificate: %w: %w", protocol.Errorf(protocol.CodeStatusStale, "not good"), err)
	}
	return a.der, nil
}

// askOwn asks one question, however many challenges are made meanwhile, and
// leaves an authority alone for a while that cannot be reached.
func (c *statusCache) askOwn(ctx context.Context, v *trust.Verified) (statusAnswer, error) {
	c.asking.Lock()
	defer c.asking.Unlock()
	if c.failure != nil && c.clock().Sub(c.failed) < statusCall {
		return statusAnswer{}, c.failure
	}
	a, err := c.ask(ctx, v.Leaf(), v.Issuer(), ownStatusAge)
	if ctx.Err() == nil {
		c.failed, c.failure = c.clock(), err
	}
	return a, err
}

// signer judges a signer's certificate: by asking itself first, else by the
// phone's staple where it was produced after notBefore. It returns the answer
// the verdict rests on. Errors: CodeCertRevoked, CodeRevocationUnknown.
func (c *statusCache) signer(ctx context.Context, v *trust.Verified, staple []byte, notBefore time.Time) ([]byte, error) {
	a, err := c.ask(ctx, v.Leaf(), v.Issuer(), signerStatusAge)
	if err == nil && a.status.ProducedAt.Before(notBefore.Add(-signerStatusAge-statusSkew)) {
		err = errors.New("the authority's answer was produced long before the request") // no verifier of the evidence would take it
	}
	if err != nil {
		status, stapleErr := trust.VerifyOCSP(staple, v.Leaf(), v.Issuer(), trust.OCSPOptions{
			Now: c.clock(), ProducedAfter: notBefore, Skew: statusSkew})
		if stapleErr != nil {
			return nil, protocol.Errorf(protocol.CodeRevocationUnknown, "own question: %v; the phone's answer: %v", err, stapleErr)
		}
		a = statusAnswer{der: staple, status: status}
	}
	switch a.status.State {
	case trust.Good:
		return a.der, nil
	case trust.Revoked:
		return nil, protocol.Errorf(protocol.CodeCertRevoked, "%v", a.status.Err())
	}
	return nil, protocol.Errorf(protocol.CodeRevocationUnknown, "the authority does not know the certificate")
}
