package life

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/ca/listing"
	"github.com/bidseal/bidseal/ca/transparency"
	"github.com/bidseal/bidseal/protocol"
)

// Reasons for which a private key leaves the key management centre. The first two
// are routine: the key goes to its holder in answer to the holder's own request.
// Every other one stands in the public listing.
const (
	releaseIssue    = "issue"
	releaseRenew    = "renew"
	releaseChange   = "change"
	releaseReissue  = "reissue"
	releaseRecovery = "recovery"
)

// releaseContent is the entry of a release. Leaf and Release are those of one that
// is a recovery.
type releaseContent struct {
	Record  string        `json:"record"`
	Lineage string        `json:"lineage"`
	Reason  string        `json:"reason"`
	To      string        `json:"to"`
	Release string        `json:"release,omitempty"`
	Leaf    *listing.Leaf `json:"leaf,omitempty"`
}

// auditRelease is the key management centre's auditor: what leaves is written down
// in the transaction in which it leaves.
func (l *Life) auditRelease(ctx context.Context, tx kmc.Querier, r kmc.Release) error {
	content := releaseContent{Record: r.ID, Lineage: r.Lineage, Reason: r.Reason, To: r.To}
	switch r.Reason {
	case releaseIssue, releaseRenew, releaseChange:
	default:
		if err := l.listRelease(ctx, tx, r, &content); err != nil {
			return err
		}
	}
	return l.audit.Append(ctx, tx, audit.ActorAuthority, audit.EventKeyReleased, content)
}

// listRelease makes a recovery visible to the public and to the holder.
func (l *Life) listRelease(ctx context.Context, tx kmc.Querier, r kmc.Release, content *releaseContent) error {
	id, err := protocol.Random(16)
	if err != nil {
		return err
	}
	content.Release = hex.EncodeToString(id)
	now := l.now().Unix()
	if _, err := tx.ExecContext(ctx, `INSERT INTO ca_releases (id, record, lineage, reason, recipient, created_at) VALUES ($1, $2, $3, $4, $5, $6)`,
		content.Release, r.ID, r.Lineage, r.Reason, r.To, now); err != nil {
		return fmt.Errorf("store release: %w", err)
	}
	holder, err := transparency.Holder(r.Lineage)
	if err != nil {
		return err
	}
	var spki []byte
	if err := tx.QueryRowContext(ctx, `SELECT spki FROM kmc_keys WHERE id = $1`, r.ID).Scan(&spki); err != nil {
		return fmt.Errorf("read key record: %w", err)
	}
	content.Leaf, err = listing.Append(ctx, tx, content.Release, transparency.Leaf{
		Kind: transparency.LeafRecovery, At: now, Holder: holder, Release: content.Release, Reason: r.Reason, To: r.To,
		Key: hex.EncodeToString(protocol.H(spki)),
	})
	return err
}
