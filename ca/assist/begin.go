package assist

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/protocol"
)

// Bounds of what one device can have stored.
const (
	maxKeystores = 32 // of a device
	maxPending   = 4  // epochs of a keystore
)

// Begin answers an assistapi.BeginRequest: a new epoch, pending until a success
// under it is proved; the active one goes on meanwhile. Where there is an active
// one, its proof key authorises: who does not know the password cannot have it
// replaced. The same begin with the same content gives the same epoch.
//
// Error codes: malformed, unauthorized, clock_skew, forbidden, keystore_gone,
// conflict.
func (s *Service) Begin(ctx context.Context, c Call) (*assistapi.BeginAnswer, error) {
	var r assistapi.BeginRequest
	if err := protocol.DecodeJSON(c.Body, &r); err != nil {
		return nil, err
	}
	if err := r.Check(); err != nil {
		return nil, err
	}
	if _, _, err := s.authenticate(ctx, c, r.Device); err != nil {
		return nil, err
	}
	var e *epoch
	if err := s.o.DB.Update(ctx, func(tx *sql.Tx) (err error) {
		if e, err = s.begin(ctx, tx, &r); err != nil {
			return err
		}
		return s.stop(stepWritten)
	}); err != nil {
		return nil, err
	}
	share, err := s.sealShare(e, r.Keystore, r.Ephemeral)
	if err != nil {
		return nil, err
	}
	return &assistapi.BeginAnswer{V: assistapi.Version, Epoch: e.number, Suite: assistapi.Suite, ServerKey: e.serverKey, Share: share}, s.stop(stepStored)
}

// sealShare seals the epoch's share to a phone's ephemeral key.
func (s *Service) sealShare(e *epoch, keystore, ephemeral []byte) ([]byte, error) {
	share, err := s.seal.open(e.share, e.place("share")...)
	if err != nil {
		return nil, fmt.Errorf("reset share: %w", err)
	}
	defer clear(share)
	return assistapi.SealShare(share, keystore, e.number, ephemeral)
}

func (s *Service) begin(ctx context.Context, tx Querier, r *assistapi.BeginRequest) (*epoch, error) {
	k, err := s.openKeystore(ctx, tx, r)
	if err != nil {
		return nil, err
	}
	digest := hex.EncodeToString(protocol.H(assistapi.BeginMessage(r)))
	known, err := scanEpoch(k, tx.QueryRowContext(ctx, `SELECT `+epochColumns+` FROM assist_epochs WHERE device = $1 AND keystore = $2 AND begin_id = $3`, //nolint:gosec // a constant list of columns
		k.device, k.id, text(r.Begin)))
	switch {
	case err == nil && known.digest == digest:
		return known, nil
	case err == nil:
		return nil, protocol.Errorf(protocol.CodeConflict, "the begin came with other content before")
	case !errors.Is(err, sql.ErrNoRows):
		return nil, err
	}
	active, err := activeEpoch(ctx, tx, k)
	switch {
	case err == nil && !ed25519.Verify(active.proofKey, assistapi.BeginMessage(r), r.Authorisation):
		return nil, protocol.Errorf(protocol.CodeUnauthorized, "the active epoch does not authorise a new one")
	case err != nil && !errors.Is(err, sql.ErrNoRows):
		return nil, err
	}
	if err := dropOldestPending(ctx, tx, k); err != nil {
		return nil, err
	}
	k.epoch = max(k.epoch, r.Above) + 1
	if err := k.store(ctx, tx); err != nil {
		return nil, err
	}
	return s.newEpoch(ctx, tx, k, r, digest)
}

// openKeystore finds the keystore or makes its row.
func (s *Service) openKeystore(ctx context.Context, tx Querier, r *assistapi.BeginRequest) (*keystore, error) {
	k, err := readKeystore(ctx, tx, r.Device, text(r.Keystore))
	switch {
	case err == nil && k.state != stateLive:
		return nil, gone("the keystore was destroyed")
	case err == nil || !errors.Is(err, sql.ErrNoRows):
		return k, err
	}
	var destroyed, have int
	if err := tx.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM assist_destroyed WHERE device = $1), (SELECT count(*) FROM assist_keystores WHERE device = $1)`,
		r.Device).Scan(&destroyed, &have); err != nil {
		return nil, fmt.Errorf("read keystores: %w", err)
	}
	switch {
	case destroyed > 0:
		return nil, gone("the keys of this device were destroyed")
	case have >= maxKeystores:
		return nil, protocol.Errorf(protocol.CodeForbidden, "a device has at most %d keystores", maxKeystores)
	}
	k = &keystore{device: r.Device, id: text(r.Keystore), state: stateLive}
	if _, err := tx.ExecContext(ctx, `INSERT INTO assist_keystores (device, keystore, state, epoch, counted, forgiven, created_at) VALUES ($1, $2, $3, 0, 0, 0, $4)`,
		k.device, k.id, k.state, s.o.Now().Unix()); err != nil {
		return nil, fmt.Errorf("store keystore: %w", err)
	}
	return k, nil
}

func activeEpoch(ctx context.Context, q Querier, k *keystore) (*epoch, error) {
	return scanEpoch(k, q.QueryRowContext(ctx, `SELECT `+epochColumns+` FROM assist_epochs WHERE device = $1 AND keystore = $2 AND state = $3`, //nolint:gosec // a constant list of columns
		k.device, k.id, stateActive))
}

// dropOldestPending makes room. A phone confirms what it wrote before it begins
// anew, so that the oldest of several pending epochs belongs to no file.
func dropOldestPending(ctx context.Context, tx Querier, k *keystore) error {
	var n int
	var oldest sql.NullInt64
	if err := tx.QueryRowContext(ctx, `SELECT count(*), min(epoch) FROM assist_epochs WHERE device = $1 AND keystore = $2 AND state = $3`,
		k.device, k.id, statePending).Scan(&n, &oldest); err != nil {
		return fmt.Errorf("read pending epochs: %w", err)
	}
	if n < maxPending {
		return nil
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM assist_epochs WHERE device = $1 AND keystore = $2 AND epoch = $3`, k.device, k.id, oldest.Int64); err != nil {
		return fmt.Errorf("drop pending epoch: %w", err)
	}
	return nil
}

// newEpoch draws the secrets of an epoch and stores them.
func (s *Service) newEpoch(ctx context.Context, tx Querier, k *keystore, r *assistapi.BeginRequest, digest string) (*epoch, error) {
	private, public, err := assistapi.NewKey()
	if err != nil {
		return nil, err
	}
	defer clear(private)
	share, err := protocol.Random(assistapi.ShareSize)
	if err != nil {
		return nil, err
	}
	defer clear(share)
	e := &epoch{number: k.epoch, state: statePending, beginID: text(r.Begin), digest: digest, serverKey: public, proofKey: r.ProofKey,
		createdAt: s.o.Now().Unix(), keystoreDevice: k.device, keystoreID: k.id}
	if e.wrapped, err = s.seal.seal(private, e.place("key")...); err != nil {
		return nil, err
	}
	if e.share, err = s.seal.seal(share, e.place("share")...); err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO assist_epochs (device, keystore, epoch, state, begin_id, digest, server_key, wrapped, share, proof_key, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		k.device, k.id, e.number, e.state, e.beginID, e.digest, e.serverKey, e.wrapped, e.share, e.proofKey, e.createdAt); err != nil {
		return nil, fmt.Errorf("store epoch: %w", err)
	}
	return e, nil
}
