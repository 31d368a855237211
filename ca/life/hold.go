package life

import (
	"context"
	"database/sql"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
)

// Hold names certificates that are put on hold or resumed: one by its serial
// number, or all of a lineage.
type Hold struct{ Serial, Lineage string }

// Hold suspends certificates (certificateHold, RFC 5280 5.3.1): from now on they
// count as revoked, until Resume or for good. It returns the serial numbers
// that it changed; what is on hold or revoked stays as it is. Open codes of the
// lineage are void and an issuance under way is refused.
func (l *Life) Hold(ctx context.Context, actor audit.Actor, h Hold) ([]string, error) {
	return l.stopCertificates(ctx, actor, Revocation{Serial: h.Serial, Lineage: h.Lineage, Reason: trust.CertificateHold})
}

// Resume ends a hold. The certificate is good again and leaves the lists;
// removeFromCRL is used in delta lists only (RFC 5280 5.3.1), which this authority
// does not sign. A revoked certificate is never resumed: cert_revoked, and nothing
// changes where a lineage holds none that is on hold.
func (l *Life) Resume(ctx context.Context, actor audit.Actor, h Hold) ([]string, error) {
	var resumed []string
	err := l.db.Update(ctx, func(tx *sql.Tx) error {
		resumed = nil
		found, _, err := l.named(ctx, tx, h.Serial, h.Lineage)
		if err != nil {
			return err
		}
		final := 0
		for _, r := range found {
			if r.State == status.StateRevoked && !r.Held() {
				final++
			}
			if !r.Held() {
				continue
			}
			if err := l.status.Resume(ctx, tx, actor, r); err != nil {
				return err
			}
			resumed = append(resumed, r.Serial)
		}
		if len(resumed) == 0 && final > 0 {
			return protocol.Errorf(protocol.CodeCertRevoked, "the certificate is revoked and cannot be resumed")
		}
		return nil
	})
	return resumed, err
}
