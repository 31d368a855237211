package assist

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/ca/realname"
	"github.com/bidseal/bidseal/protocol"
)

// repeatWithin is how long the request that used a token may come again.
const repeatWithin = 24 * time.Hour

// Reset answers an assistapi.ResetRequest: it releases the share of an epoch
// against a real-name token for this account and device, once, sealed to the
// ephemeral key of the request. The tries are forgiven: the right person was
// seen. The old epoch lives until a new one is confirmed. The same request again
// gets the share again, sealed to the same key.
//
// Error codes: malformed, unauthorized, clock_skew, forbidden, keystore_gone,
// real_name_token_invalid.
func (s *Service) Reset(ctx context.Context, c Call) (*assistapi.ResetAnswer, error) {
	var r assistapi.ResetRequest
	if err := protocol.DecodeJSON(c.Body, &r); err != nil {
		return nil, err
	}
	if err := r.Check(); err != nil {
		return nil, err
	}
	device, _, err := s.authenticate(ctx, c, r.Device)
	if err != nil {
		return nil, err
	}
	token, err := realname.Verify(s.o.RealName, r.Token, realname.Want{
		Purpose: realname.PasswordReset, Account: device.Account, Device: r.Device, Expired: true,
	}, s.o.Now())
	if err != nil {
		return nil, err
	}
	var e *epoch
	if err := s.o.DB.Update(ctx, func(tx *sql.Tx) (err error) {
		if e, err = s.release(ctx, tx, &r, token); err != nil {
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
	return &assistapi.ResetAnswer{V: assistapi.Version, Share: share}, s.stop(stepStored)
}

func resetDigest(r *assistapi.ResetRequest) string {
	return hex.EncodeToString(protocol.H([]byte("bidseal/assist 1 reset\x00"), protocol.H([]byte(r.Device)), protocol.H(r.Keystore),
		protocol.H(fmt.Append(nil, r.Epoch)), protocol.H([]byte(r.Token)), protocol.H(r.Ephemeral)))
}

// release uses the token in the transaction that forgives the tries.
func (s *Service) release(ctx context.Context, tx Querier, r *assistapi.ResetRequest, token *realname.Token) (*epoch, error) {
	k, err := liveKeystore(ctx, tx, r.Device, text(r.Keystore))
	if err != nil {
		return nil, err
	}
	e, err := liveEpoch(ctx, tx, k, r.Epoch)
	if err != nil {
		return nil, err
	}
	fresh, err := s.useToken(ctx, tx, token, resetDigest(r))
	if err != nil || !fresh {
		return e, err
	}
	if err := samePerson(ctx, tx, token); err != nil {
		return nil, err
	}
	if err := s.forgive(ctx, tx, k, e, k.counted); err != nil {
		return nil, err
	}
	return e, s.event(ctx, tx, Reset, k, e.number)
}

// useToken is false for the request that used the token before.
func (s *Service) useToken(ctx context.Context, tx Querier, token *realname.Token, digest string) (fresh bool, err error) {
	now := s.o.Now()
	var used string
	var at int64
	err = tx.QueryRowContext(ctx, `SELECT digest, used_at FROM assist_tokens WHERE nonce = $1`, text(token.Nonce)).Scan(&used, &at)
	switch {
	case err == nil && used == digest && now.Sub(time.Unix(at, 0)) <= repeatWithin:
		return false, nil
	case err == nil:
		return false, protocol.Errorf(protocol.CodeRealNameToken, "it was used")
	case !errors.Is(err, sql.ErrNoRows):
		return false, fmt.Errorf("read token: %w", err)
	case now.Unix() >= token.Expires:
		return false, protocol.Errorf(protocol.CodeRealNameToken, "it has expired")
	}
	// A nonce is forgotten when its token has long expired.
	if _, err := tx.ExecContext(ctx, `DELETE FROM assist_tokens WHERE used_at < $1`, now.Add(-2*repeatWithin).Unix()); err != nil {
		return false, fmt.Errorf("forget tokens: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO assist_tokens (nonce, digest, used_at) VALUES ($1, $2, $3)`, text(token.Nonce), digest, now.Unix()); err != nil {
		return false, fmt.Errorf("use token: %w", err)
	}
	return true, nil
}

// samePerson holds an account's later checks to the person of the first.
func samePerson(ctx context.Context, tx Querier, token *realname.Token) error {
	var person []byte
	err := tx.QueryRowContext(ctx, `SELECT person FROM assist_persons WHERE account = $1`, token.Account).Scan(&person)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		if _, err := tx.ExecContext(ctx, `INSERT INTO assist_persons (account, person) VALUES ($1, $2)`, token.Account, []byte(token.Person)); err != nil {
			return fmt.Errorf("remember person: %w", err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("read person: %w", err)
	case !protocol.Equal(person, token.Person):
		return protocol.Errorf(protocol.CodeRealNameToken, "it is of another person than before")
	}
	return nil
}
