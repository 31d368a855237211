package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/protocol"
)

// maxKeyRecoveries bounds the answer to a holder.
const maxKeyRecoveries = 1000

// HolderRecoveries returns to a phone, authenticated by its pass and a proof over
// GET, every recovery of a key of its holder's lineages: by a reissue, or by two
// operators.
//
// Errors: unauthorized, expired, clock_skew, forbidden.
func (r *Registry) HolderRecoveries(ctx context.Context, c life.SignedCall) (*caapi.KeyRecoveries, error) {
	verified, err := protocol.VerifyPass(r.life.PassKey(), c.Pass, r.now())
	if err != nil {
		return nil, err
	}
	if err := protocol.VerifyProof(verified, c.Proof, protocol.Call{Method: http.MethodGet, URL: r.publicURL + c.Path}, r.now()); err != nil {
		return nil, err
	}
	device, err := life.ReadDevice(ctx, r.db.Reader(), verified.Device)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, protocol.Errorf(protocol.CodeUnauthorized, "the device is not known")
	}
	if err != nil {
		return nil, err
	}
	rows, err := r.db.Reader().QueryContext(ctx, `SELECT id, lineage, reason, recipient, created_at FROM ca_releases
		WHERE lineage IN (SELECT lineage FROM ca_issuances WHERE account = $1 AND lineage <> '') ORDER BY created_at DESC, id LIMIT $2`,
		device.Account, maxKeyRecoveries)
	if err != nil {
		return nil, fmt.Errorf("read recoveries: %w", err)
	}
	defer rows.Close()
	list := &caapi.KeyRecoveries{V: caapi.Version, Recoveries: []caapi.KeyRecovery{}}
	for rows.Next() {
		var one caapi.KeyRecovery
		if err := rows.Scan(&one.ID, &one.Lineage, &one.Reason, &one.To, &one.At); err != nil {
			return nil, fmt.Errorf("read recoveries: %w", err)
		}
		list.Recoveries = append(list.Recoveries, one)
	}
	return list, rows.Err()
}
