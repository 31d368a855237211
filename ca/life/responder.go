package life

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
	"github.com/bidseal/bidseal/ca/status"
	"github.com/emmansun/gmsm/smx509"
)

// responderRenewal is how long before its end the responder's certificate is
// replaced.
const responderRenewal = 30 * 24 * time.Hour

// responders are the OCSP responder's certificates by issuing authority.
type responders struct {
	mu    sync.Mutex
	certs map[string]*smx509.Certificate
}

// OCSP answers a request in DER; see Status.OCSP.
func (l *Life) OCSP(ctx context.Context, der []byte) (*status.OCSPAnswer, error) {
	return l.status.OCSP(ctx, der, l.responderCertificate)
}

// responderCertificate returns the responder's certificate under an issuing
// authority and replaces it in time. The responder's key stays, and is the same
// for all issuing authorities.
func (l *Life) responderCertificate(ctx context.Context, issuer *status.Issuer) (*smx509.Certificate, error) {
	l.responders.mu.Lock()
	defer l.responders.mu.Unlock()
	if cert := l.responders.certs[issuer.Name]; cert != nil && l.now().Before(cert.NotAfter.Add(-responderRenewal)) {
		return cert, nil
	}
	cert, err := status.Newest(ctx, l.db.Reader(), issuance.OCSP, issuer.Name)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	due := cert == nil || !l.now().Before(cert.NotAfter.Add(-responderRenewal)) && cert.NotAfter.Before(issuer.Certificate().NotAfter)
	if due {
		fresh, err := l.renewResponder(ctx, issuer)
		if err != nil && (cert == nil || !l.now().Before(cert.NotAfter)) {
			return nil, err
		}
		if err != nil { // the old one still answers, and the next question tries again
			l.log.LogAttrs(ctx, slog.LevelError, "renew the responder's certificate", slog.Time("ends", cert.NotAfter), slog.Any("error", err))
			return cert, nil
		}
		cert = fresh
	}
	public, ok := l.status.ResponderKey().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(cert.PublicKey) {
		return nil, errors.New("the OCSP key does not belong to the responder's certificate")
	}
	if l.responders.certs == nil {
		l.responders.certs = make(map[string]*smx509.Certificate)
	}
	l.responders.certs[issuer.Name] = cert
	return cert, nil
}

func (l *Life) renewResponder(ctx context.Context, issuer *status.Issuer) (*smx509.Certificate, error) {
	request := ServiceRequest(issuance.OCSP, l.now(), issuer.Certificate())
	request.Subject = l.ocspSubject
	request.PublicKey = l.status.ResponderKey()
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
	return cert, l.db.Update(ctx, func(tx *sql.Tx) error {
		return l.status.Store(ctx, tx, status.Certificate{Profile: issuance.OCSP, Issuer: issuer.Name, Cert: cert})
	})
}

// serviceYears are the lives of certificates of the authority's own services. A
// timestamp authority's is longer than that of any answer it is asked for again.
func serviceYears(profile issuance.Name) int {
	if profile == issuance.Timestamp {
		return 5
	}
	return 1
}

// ServiceRequest is a certificate for an OCSP responder or a timestamp authority,
// within its issuer's life.
func ServiceRequest(profile issuance.Name, now time.Time, issuer *smx509.Certificate) issuance.Request {
	start := now.UTC().Truncate(time.Second).Add(-leafBackdate)
	end := start.AddDate(serviceYears(profile), 0, 0).Add(-time.Second)
	if end.After(issuer.NotAfter) {
		end = issuer.NotAfter
	}
	return issuance.Request{Profile: profile, NotBefore: start, NotAfter: end}
}
