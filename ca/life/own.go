package life

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/status"
	"github.com/emmansun/gmsm/smx509"
)

// OwnCertificate is one of the authority itself or of its services.
type OwnCertificate struct {
	Profile issuance.Name
	// Authority that it belongs to, or that issued it to a service: "root", "issuing-1".
	Authority string
	NotAfter  time.Time
}

// OwnCertificates are those that the authority cannot do without: the root's, those
// of its issuing authorities, and the newest of the OCSP responder under each of
// them and of the timestamp authority. An earlier issuing authority that has ended
// is left out. Nothing is renewed by asking. With an error it returns those that
// are known without the database.
func (l *Life) OwnCertificates(ctx context.Context) ([]OwnCertificate, error) {
	own := []OwnCertificate{{issuance.Root, status.RootName, l.status.Root().NotAfter}}
	var needed []*status.Issuer
	for _, issuer := range l.status.Issuers() {
		if end := issuer.Certificate().NotAfter; issuer == l.status.Current() || l.now().Before(end) {
			needed = append(needed, issuer)
			own = append(own, OwnCertificate{issuance.Issuing, issuer.Name, end})
		}
	}
	for _, issuer := range needed {
		cert, err := status.Newest(ctx, l.db.Reader(), issuance.OCSP, issuer.Name)
		switch {
		case err == nil:
			own = append(own, OwnCertificate{issuance.OCSP, issuer.Name, cert.NotAfter})
		case !errors.Is(err, sql.ErrNoRows): // without one it is issued with the first answer
			return own, err
		}
	}
	if l.stamps.key == nil {
		return own, nil
	}
	cert, issuer, err := l.newestTimestampCertificate(ctx)
	if err != nil || cert == nil {
		return own, err
	}
	return append(own, OwnCertificate{issuance.Timestamp, issuer.Name, cert.NotAfter}), nil
}

// newestTimestampCertificate is that of any issuing authority's which ends last;
// nil if there is none.
func (l *Life) newestTimestampCertificate(ctx context.Context) (newest *smx509.Certificate, by *status.Issuer, err error) {
	for _, issuer := range l.status.Issuers() {
		cert, err := status.Newest(ctx, l.db.Reader(), issuance.Timestamp, issuer.Name)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if newest == nil || cert.NotAfter.After(newest.NotAfter) {
			newest, by = cert, issuer
		}
	}
	return newest, by, nil
}
