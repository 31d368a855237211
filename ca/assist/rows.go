package assist

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/protocol"
)

// States of rows.
const (
	stateLive      = "live"
	stateDestroyed = "destroyed"
	statePending   = "pending"
	stateActive    = "active"
	attemptOpen    = "open"
	attemptClosed  = "closed" // came again with another element
)

// keystore is one key file of one device. The device is part of its name:
// whatever another device calls, it never reaches this row.
type keystore struct {
	device, id        string
	state             string
	epoch             int64
	counted, forgiven int64
}

// failures are the tries since the newest one whose success was proved.
func (k *keystore) failures() int64 { return k.counted - k.forgiven }

func (k *keystore) left() int { return int(max(0, assistapi.MaxTries-k.failures())) }

func (k *keystore) locked() bool { return k.failures() >= assistapi.MaxTries }

// gone covers a keystore or epoch that is not there, for whatever reason.
func gone(why string) error { return protocol.Errorf(protocol.CodeKeystoreGone, "%s", why) }

// readKeystore returns sql.ErrNoRows where there is none.
func readKeystore(ctx context.Context, q Querier, device, id string) (*keystore, error) {
	k := keystore{device: device, id: id}
	err := q.QueryRowContext(ctx, `SELECT state, epoch, counted, forgiven FROM assist_keystores WHERE device = $1 AND keystore = $2`, device, id).
		Scan(&k.state, &k.epoch, &k.counted, &k.forgiven)
	if err != nil {
		return nil, fmt.Errorf("read keystore: %w", err)
	}
	return &k, nil
}

// liveKeystore returns one that is neither unknown nor destroyed.
func liveKeystore(ctx context.Context, q Querier, device, id string) (*keystore, error) {
	k, err := readKeystore(ctx, q, device, id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, gone("the keystore is not known")
	}
	if err == nil && k.state != stateLive {
		return nil, gone("the keystore was destroyed")
	}
	return k, err
}

func (k *keystore) store(ctx context.Context, tx Querier) error {
	if _, err := tx.ExecContext(ctx, `UPDATE assist_keystores SET state = $1, epoch = $2, counted = $3, forgiven = $4 WHERE device = $5 AND keystore = $6`,
		k.state, k.epoch, k.counted, k.forgiven, k.device, k.id); err != nil {
		return fmt.Errorf("store keystore: %w", err)
	}
	return nil
}

// epoch is one password of a keystore.
type epoch struct {
	number                     int64
	state, beginID, digest     string
	serverKey, wrapped, share  []byte
	proofKey                   []byte
	createdAt                  int64
	keystoreDevice, keystoreID string
}

// place ties a sealed record of the epoch to it.
func (e *epoch) place(what string) []string {
	return []string{what, e.keystoreDevice, e.keystoreID, strconv.FormatInt(e.number, 10), string(e.serverKey)}
}

const epochColumns = `epoch, state, begin_id, digest, server_key, wrapped, share, proof_key, created_at`

func scanEpoch(k *keystore, row *sql.Row) (*epoch, error) {
	e := epoch{keystoreDevice: k.device, keystoreID: k.id}
	if err := row.Scan(&e.number, &e.state, &e.beginID, &e.digest, &e.serverKey, &e.wrapped, &e.share, &e.proofKey, &e.createdAt); err != nil {
		return nil, fmt.Errorf("read epoch: %w", err)
	}
	return &e, nil
}

// liveEpoch returns an epoch that was not deleted.
func liveEpoch(ctx context.Context, q Querier, k *keystore, number int64) (*epoch, error) {
	e, err := scanEpoch(k, q.QueryRowContext(ctx, `SELECT `+epochColumns+` FROM assist_epochs WHERE device = $1 AND keystore = $2 AND epoch = $3`, //nolint:gosec // a constant list of columns
		k.device, k.id, number))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, gone("the epoch was superseded")
	}
	return e, err
}

// overwritten is what stands for a sealed secret before its row is deleted: as
// long as one, because a database may leave deleted bytes where they were.
func overwritten() []byte { return make([]byte, gcmNonce+secretSize+gcmTag) }

// dropEpochs deletes all epochs of a keystore but one, and their attempts.
func dropEpochs(ctx context.Context, tx Querier, k *keystore, except int64) error {
	if _, err := tx.ExecContext(ctx, `UPDATE assist_epochs SET wrapped = $1, share = $1 WHERE device = $2 AND keystore = $3 AND epoch <> $4`,
		overwritten(), k.device, k.id, except); err != nil {
		return fmt.Errorf("delete epochs: %w", err)
	}
	for _, query := range []string{
		`DELETE FROM assist_epochs WHERE device = $1 AND keystore = $2 AND epoch <> $3`,
		`DELETE FROM assist_attempts WHERE device = $1 AND keystore = $2 AND epoch <> $3`,
	} {
		if _, err := tx.ExecContext(ctx, query, k.device, k.id, except); err != nil {
			return fmt.Errorf("delete epochs: %w", err)
		}
	}
	return nil
}

// attempt is one counted try.
type attempt struct {
	id              string
	epoch, number   int64
	state           string
	blinded, answer []byte
	at              int64
}

func readAttempt(ctx context.Context, q Querier, k *keystore, id string) (*attempt, error) {
	a := attempt{id: id}
	err := q.QueryRowContext(ctx, `SELECT epoch, number, state, blinded, answer, at FROM assist_attempts WHERE device = $1 AND keystore = $2 AND attempt = $3`,
		k.device, k.id, id).Scan(&a.epoch, &a.number, &a.state, &a.blinded, &a.answer, &a.at)
	if err != nil {
		return nil, fmt.Errorf("read attempt: %w", err)
	}
	return &a, nil
}

// attemptKept is how long an attempt is kept: longer than its success may be
// proved, and much longer than a call's proof is valid, so that a forgotten one
// cannot be counted again.
const attemptKept = 48 * time.Hour

func (a *attempt) insert(ctx context.Context, tx Querier, k *keystore) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM assist_attempts WHERE device = $1 AND keystore = $2 AND at < $3`,
		k.device, k.id, a.at-int64(attemptKept/time.Second)); err != nil {
		return fmt.Errorf("forget attempts: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO assist_attempts (device, keystore, attempt, epoch, number, state, blinded, answer, at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`, k.device, k.id, a.id, a.epoch, a.number, a.state, a.blinded, a.answer, a.at); err != nil {
		return fmt.Errorf("store attempt: %w", err)
	}
	return nil
}
