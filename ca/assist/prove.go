package assist

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/protocol"
)

// ProveWithin is how late a success may be proved.
const ProveWithin = 24 * time.Hour

// Prove answers an assistapi.ProveRequest: the attempt was right. All tries up
// to it are forgiven, none after it: a proof that comes late hides nothing that
// happened meanwhile. The first success under a pending epoch makes it the only
// one. The same proof again changes nothing.
//
// Error codes: malformed, unauthorized, clock_skew, forbidden, keystore_gone,
// not_found (no such attempt), wrong_state (it came too late).
func (s *Service) Prove(ctx context.Context, c Call) (*assistapi.ProveAnswer, error) {
	var r assistapi.ProveRequest
	if err := protocol.DecodeJSON(c.Body, &r); err != nil {
		return nil, err
	}
	if err := r.Check(); err != nil {
		return nil, err
	}
	if _, _, err := s.authenticate(ctx, c, r.Device); err != nil {
		return nil, err
	}
	var left int
	if err := s.o.DB.Update(ctx, func(tx *sql.Tx) (err error) {
		if left, err = s.prove(ctx, tx, &r); err != nil {
			return err
		}
		return s.stop(stepWritten)
	}); err != nil {
		return nil, err
	}
	return &assistapi.ProveAnswer{V: assistapi.Version, TriesLeft: left}, s.stop(stepStored)
}

func (s *Service) prove(ctx context.Context, tx Querier, r *assistapi.ProveRequest) (left int, err error) {
	k, err := liveKeystore(ctx, tx, r.Device, text(r.Keystore))
	if err != nil {
		return 0, err
	}
	e, err := liveEpoch(ctx, tx, k, r.Epoch)
	if err != nil {
		return 0, err
	}
	if !ed25519.Verify(e.proofKey, assistapi.ProveMessage(r.Keystore, r.Epoch, r.Attempt), r.Signature) {
		return 0, protocol.Errorf(protocol.CodeUnauthorized, "the success is not proved")
	}
	a, err := readAttempt(ctx, tx, k, text(r.Attempt))
	if errors.Is(err, sql.ErrNoRows) || err == nil && a.epoch != e.number {
		return 0, protocol.Errorf(protocol.CodeNotFound, "there is no such attempt")
	}
	if err != nil {
		return 0, err
	}
	if s.o.Now().Sub(time.Unix(a.at, 0)) > ProveWithin {
		return 0, protocol.Errorf(protocol.CodeWrongState, "a success is proved within %v", ProveWithin)
	}
	if err := s.forgive(ctx, tx, k, e, a.number); err != nil {
		return 0, err
	}
	if e.state == statePending {
		if err := s.confirm(ctx, tx, k, e); err != nil {
			return 0, err
		}
	}
	return k.left(), nil
}

// forgive takes back the tries up to a number.
func (s *Service) forgive(ctx context.Context, tx Querier, k *keystore, e *epoch, number int64) error {
	before := k.locked()
	k.forgiven = max(k.forgiven, number)
	if err := k.store(ctx, tx); err != nil {
		return err
	}
	if before && !k.locked() {
		return s.event(ctx, tx, Unlocked, k, e.number)
	}
	return nil
}

// confirm makes a pending epoch the only one of its keystore.
func (s *Service) confirm(ctx context.Context, tx Querier, k *keystore, e *epoch) error {
	name := Registered
	if _, err := activeEpoch(ctx, tx, k); err == nil {
		name = Changed
	} else if !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if err := dropEpochs(ctx, tx, k, e.number); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE assist_epochs SET state = $1 WHERE device = $2 AND keystore = $3 AND epoch = $4`,
		stateActive, k.device, k.id, e.number); err != nil {
		return fmt.Errorf("confirm epoch: %w", err)
	}
	return s.event(ctx, tx, name, k, e.number)
}
