package registry

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/protocol"
)

const (
	// platformApplicationLife is how long a platform's application waits for an operator; then it
	// is removed, and its keys may apply anew.
	platformApplicationLife = 30 * 24 * time.Hour
	// maxPendingOfCaller bounds what one caller can make the authority keep.
	maxPendingOfCaller = 20
	// maxRemoved bounds the work of one removal.
	maxRemoved = 100
)

// Caller returns the key under which the calls of an address are counted: the
// address, or the 64-bit prefix of IPv6. It is empty for loopback and private
// addresses, which may be a proxy that all callers share.
func Caller(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return ""
	}
	ip = ip.Unmap().WithZone("")
	switch {
	case ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast():
		return ""
	case ip.Is6():
		return netip.PrefixFrom(ip, 64).Masked().String()
	}
	return ip.String()
}

// expired reports whether an application has waited too long.
func (r *Registry) expired(p *platformApplication) bool {
	return p.state == caapi.PlatformPending && p.platformID == "" && p.createdAt <= r.now().Add(-platformApplicationLife).Unix()
}

// removeExpired removes applications that waited too long.
func (r *Registry) removeExpired(ctx context.Context, tx *sql.Tx) error {
	ids, err := expiredPlatformApplications(ctx, tx, r.now().Add(-platformApplicationLife).Unix())
	if err != nil || len(ids) == 0 {
		return err
	}
	for _, id := range ids {
		if _, err := tx.ExecContext(ctx, `DELETE FROM ca_platforms WHERE id = $1`, id); err != nil {
			return fmt.Errorf("remove application: %w", err)
		}
	}
	return r.audit.Append(ctx, tx, audit.ActorAuthority, audit.EventPlatformExpired, map[string]any{"application": ids})
}

func expiredPlatformApplications(ctx context.Context, tx *sql.Tx, before int64) ([]string, error) {
	rows, err := tx.QueryContext(ctx, `SELECT id FROM ca_platforms WHERE state = 'pending' AND platform_id = '' AND created_at <= $1 ORDER BY created_at, id LIMIT $2`, before, maxRemoved)
	if err != nil {
		return nil, fmt.Errorf("read applications: %w", err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("read applications: %w", err)
		}
		all = append(all, id)
	}
	return all, rows.Err()
}

// roomFor rejects an application if one caller, or all together, have too many
// pending.
func roomFor(ctx context.Context, tx kmc.Querier, caller string) error {
	var all, own int
	if err := tx.QueryRowContext(ctx, `SELECT count(*), COALESCE(SUM(CASE WHEN caller = $1 THEN 1 ELSE 0 END), 0) FROM ca_platforms WHERE state = 'pending'`,
		caller).Scan(&all, &own); err != nil {
		return fmt.Errorf("count platforms: %w", err)
	}
	switch {
	case all >= maxPendingPlatforms:
		return protocol.Errorf(protocol.CodeOverloaded, "too many applications wait for approval")
	case caller != "" && own >= maxPendingOfCaller:
		return protocol.Errorf(protocol.CodeRateLimited, "%d applications of yours wait for approval", own)
	}
	return nil
}

// certifiedPlatform is the newest registration of a platform with its
// certificate.
type certifiedPlatform struct {
	*platformApplication
	serial string
}

// keyDigest names the request key.
func (p *platformApplication) keyDigest() string { return hex.EncodeToString(protocol.H(p.spki)) }

// newestPlatform returns nil if there is no platform of that id.
func (r *Registry) newestPlatform(ctx context.Context, q kmc.Querier, platformID string) (*certifiedPlatform, error) {
	p, err := scanPlatformApplication(q.QueryRowContext(ctx, `SELECT `+platformColumns+` FROM ca_platforms WHERE platform_id = $1 AND state = 'issued'
		ORDER BY created_at DESC, id LIMIT 1`, platformID).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read platform: %w", err)
	}
	row, err := life.ReadIssuance(ctx, q, platformIssuance(p.id))
	if err != nil || row == nil {
		return nil, fmt.Errorf("certificate of platform request %s: %w", p.id, errors.Join(err, sql.ErrNoRows))
	}
	return &certifiedPlatform{p, row.SignSerial}, nil
}

// inForce says whether a platform's certificate can be renewed.
func (r *Registry) inForce(ctx context.Context, q kmc.Querier, p *certifiedPlatform) error {
	var state string
	var notAfter int64
	if err := q.QueryRowContext(ctx, `SELECT state, not_after FROM ca_certificates WHERE serial = $1`, p.serial).Scan(&state, &notAfter); err != nil {
		return fmt.Errorf("read certificate %s: %w", p.serial, err)
	}
	if state != status.StateGood || r.now().Unix() >= notAfter {
		return protocol.Errorf(protocol.CodeForbidden, "the platform's certificate has ended or is revoked: apply as a new platform")
	}
	return nil
}

// checkPlatformRenewal: the key of the present certificate signs for its
// successor, and nothing that phones show changes. An operator still
// approves it. It returns the SM3 of the key that signed, "" for a new platform.
func (r *Registry) checkPlatformRenewal(ctx context.Context, q kmc.Querier, request *caapi.PlatformRequest) (string, error) {
	if request.Renews == "" {
		return "", nil
	}
	old, err := r.newestPlatform(ctx, q, request.Renews)
	if err != nil {
		return "", err
	}
	refused := protocol.Errorf(protocol.CodeForbidden, "not signed by the key of that platform's present certificate")
	if old == nil {
		return "", refused
	}
	public, err := protocol.ParseKey(old.spki)
	if err != nil {
		return "", err
	}
	if !protocol.Verify(public, request.SuccessionMessage(), request.Succession) {
		return "", refused
	}
	if request.Name != old.name || request.Organisation != old.organisation || request.CreditCode != old.creditCode {
		return "", protocol.Errorf(protocol.CodeForbidden, "a renewal keeps name, organisation and credit code")
	}
	return old.keyDigest(), r.inForce(ctx, q, old)
}

// platformIDFor is the id that an approval gives: that of the platform which is
// renewed, the operator's choice, or a drawn one. A new one must be free.
func (r *Registry) platformIDFor(ctx context.Context, tx *sql.Tx, p *platformApplication, wanted string) (string, error) {
	if p.renews != "" {
		if wanted != "" && wanted != p.renews {
			return "", protocol.Errorf(protocol.CodeConflict, "the application renews platform %s", p.renews)
		}
		old, err := r.newestPlatform(ctx, tx, p.renews)
		if err != nil || old == nil {
			return "", fmt.Errorf("platform %s: %w", p.renews, errors.Join(err, sql.ErrNoRows))
		}
		if p.renewsKey != old.keyDigest() {
			return "", protocol.Errorf(protocol.CodeForbidden, "the platform was renewed since: the key that signed the application is its present one no longer")
		}
		return p.renews, r.inForce(ctx, tx, old)
	}
	if wanted == "" {
		return drawPlatformID()
	}
	var taken int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM ca_platforms WHERE platform_id = $1`, wanted).Scan(&taken); err != nil {
		return "", fmt.Errorf("read platforms: %w", err)
	}
	if taken != 0 {
		return "", protocol.Errorf(protocol.CodeConflict, "platform id %s is taken", wanted)
	}
	return wanted, nil
}

// same reports whether an application has the content of a known one.
func (p *platformApplication) same(r *caapi.PlatformRequest) bool {
	return p.name == r.Name && p.organisation == r.Organisation && p.creditCode == r.CreditCode && p.contact == r.Contact && p.renews == r.Renews &&
		slices.Equal(p.origins, r.Origins)
}
