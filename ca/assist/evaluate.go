package assist

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/protocol"
)

// Steps at which tests stop an operation.
const (
	stepCounted   = "counted"
	stepEvaluated = "evaluated"
	stepWritten   = "written" // all of it, not committed
	stepStored    = "stored"  // committed, not answered
)

// Evaluate answers an assistapi.EvaluateRequest: one try of a password. In one
// transaction it counts the try, evaluates, and stores the answer; nothing
// leaves before that is durable. The same attempt again gets the stored answer
// and counts once.
//
// Error codes: malformed, unauthorized, clock_skew, forbidden, keystore_gone,
// conflict (the attempt came with another element before; it is closed),
// password_locked, rate_limited.
func (s *Service) Evaluate(ctx context.Context, c Call) (*assistapi.EvaluateAnswer, error) {
	var r assistapi.EvaluateRequest
	if err := protocol.DecodeJSON(c.Body, &r); err != nil {
		return nil, err
	}
	if err := r.Check(); err != nil {
		return nil, err
	}
	_, public, err := s.authenticate(ctx, c, r.Device)
	if err != nil {
		return nil, err
	}
	if !protocol.Verify(public, assistapi.EvaluateMessage(r.Keystore, r.Epoch, r.Attempt, r.Blinded), r.Signature) {
		return nil, protocol.Errorf(protocol.CodeUnauthorized, "the try is not signed by the device")
	}
	var answer *assistapi.EvaluateAnswer
	var closed bool
	if err := s.o.DB.Update(ctx, func(tx *sql.Tx) (err error) {
		if answer, closed, err = s.evaluate(ctx, tx, &r); err != nil {
			return err
		}
		return s.stop(stepWritten)
	}); err != nil {
		return nil, err
	}
	if closed {
		return nil, protocol.Errorf(protocol.CodeConflict, "the attempt came with another element before; it is closed")
	}
	return answer, s.stop(stepStored)
}

// evaluate is the transaction. closed is a refusal whose trace is to be kept.
func (s *Service) evaluate(ctx context.Context, tx Querier, r *assistapi.EvaluateRequest) (answer *assistapi.EvaluateAnswer, closed bool, err error) {
	k, err := liveKeystore(ctx, tx, r.Device, text(r.Keystore))
	if err != nil {
		return nil, false, err
	}
	e, err := liveEpoch(ctx, tx, k, r.Epoch)
	if err != nil {
		return nil, false, err
	}
	known, err := readAttempt(ctx, tx, k, text(r.Attempt))
	if err == nil {
		return s.again(ctx, tx, k, e, known, r.Blinded)
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return nil, false, err
	}
	if k.locked() {
		return nil, false, protocol.Errorf(protocol.CodePasswordLocked, "locked after %d tries without a success", assistapi.MaxTries)
	}
	if err := s.rate(ctx, tx, k); err != nil {
		return nil, false, err
	}
	answer, err = s.countAndEvaluate(ctx, tx, k, e, r)
	return answer, false, err
}

// countAndEvaluate is a new try.
func (s *Service) countAndEvaluate(ctx context.Context, tx Querier, k *keystore, e *epoch, r *assistapi.EvaluateRequest) (*assistapi.EvaluateAnswer, error) {
	k.counted++
	if err := k.store(ctx, tx); err != nil {
		return nil, err
	}
	if err := s.stop(stepCounted); err != nil {
		return nil, err
	}
	private, err := s.seal.open(e.wrapped, e.place("key")...)
	if err != nil {
		return nil, fmt.Errorf("evaluation key: %w", err)
	}
	defer clear(private)
	evaluated, proof, err := assistapi.Evaluate(private, r.Blinded)
	if err != nil {
		return nil, err
	}
	if err := s.stop(stepEvaluated); err != nil {
		return nil, err
	}
	a := attempt{id: text(r.Attempt), epoch: e.number, number: k.counted, state: attemptOpen, at: s.o.Now().Unix()}
	a.blinded = s.seal.digest(r.Blinded, e.place(a.id)...)
	if a.answer, err = s.seal.seal(append(append([]byte(nil), evaluated...), proof...), e.place(a.id)...); err != nil {
		return nil, err
	}
	if err := a.insert(ctx, tx, k); err != nil {
		return nil, err
	}
	if k.locked() {
		if err := s.event(ctx, tx, Locked, k, e.number); err != nil {
			return nil, err
		}
	}
	return &assistapi.EvaluateAnswer{V: assistapi.Version, Evaluated: evaluated, Proof: proof, TriesLeft: k.left()}, nil
}

// again answers an attempt that was counted before, also while the keystore is
// locked: its answer may have been lost. Another element under its id closes the
// attempt. Were it only rejected, anyone with the seed of a phone's open attempt
// could ask without end whether a password gives the stored element.
func (s *Service) again(ctx context.Context, tx Querier, k *keystore, e *epoch, a *attempt, blinded []byte) (*assistapi.EvaluateAnswer, bool, error) {
	if a.state != attemptOpen {
		return nil, true, nil
	}
	if a.epoch != e.number || !protocol.Equal(a.blinded, s.seal.digest(blinded, e.place(a.id)...)) {
		if _, err := tx.ExecContext(ctx, `UPDATE assist_attempts SET state = $1, answer = $2 WHERE device = $3 AND keystore = $4 AND attempt = $5`,
			attemptClosed, []byte{}, k.device, k.id, a.id); err != nil {
			return nil, false, fmt.Errorf("close attempt: %w", err)
		}
		return nil, true, nil
	}
	plain, err := s.seal.open(a.answer, e.place(a.id)...)
	if err != nil {
		return nil, false, fmt.Errorf("stored answer: %w", err)
	}
	if len(plain) != assistapi.ElementSize+assistapi.ProofSize {
		return nil, false, fmt.Errorf("stored answer: %w", ErrSealed)
	}
	return &assistapi.EvaluateAnswer{V: assistapi.Version, Evaluated: plain[:assistapi.ElementSize], Proof: plain[assistapi.ElementSize:], TriesLeft: k.left()}, false, nil
}

// rate bounds how often a keystore is evaluated, whether its passwords are right
// or wrong: otherwise each success would give ten more tries to a person who shares
// the device with its owner.
func (s *Service) rate(ctx context.Context, tx Querier, k *keystore) error {
	now := s.o.Now()
	for _, bound := range []struct {
		window time.Duration
		most   int
	}{{time.Hour, s.o.Limits.Hour}, {24 * time.Hour, s.o.Limits.Day}} {
		var n int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM assist_attempts WHERE device = $1 AND keystore = $2 AND at > $3`,
			k.device, k.id, now.Add(-bound.window).Unix()).Scan(&n); err != nil {
			return fmt.Errorf("rate of tries: %w", err)
		}
		if n >= bound.most {
			refused := protocol.Errorf(protocol.CodeRateLimited, "%d tries in %v", n, bound.window)
			refused.RetryAfter = 300
			return refused
		}
	}
	return nil
}
