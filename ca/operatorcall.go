package ca

import (
	"context"
	"crypto"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/bidseal/bidseal/internal/relaysig"
	"github.com/bidseal/bidseal/protocol"
)

// OperatorCall is an operator's call that was found good: who, and what was
// signed.
type OperatorCall struct {
	ID, Name, Serial string
	Role             Role
	Body             []byte
	base, signature  []byte
}

// actor of the audit log.
func (c *OperatorCall) actor() string { return "operator:" + c.ID }

// actorKey is under what a context carries the actor of an operator's call.
type actorKey struct{}

// as makes everything that is done with the context the operator's doing.
func (c *OperatorCall) as(ctx context.Context) context.Context {
	return context.WithValue(ctx, actorKey{}, c.actor())
}

// actorOf replaces the local actor by the operator on whose call something
// happens.
func actorOf(ctx context.Context, actor string) string {
	if by, ok := ctx.Value(actorKey{}).(string); ok && strings.HasPrefix(actor, "local") {
		return by
	}
	return actor
}

// VerifyOperator judges an operator's call (internal/relaysig, VerifySM2): the
// signature, the certificate's chain up to this authority's root and its status,
// the time, that the call was not seen before, and the role. A call that is refused
// for its role is an entry of the audit log. body is what was read of the request.
//
// Errors: unauthorized, clock_skew, replayed, forbidden.
func (a *Authority) VerifyOperator(ctx context.Context, req *http.Request, body []byte, roles ...Role) (*OperatorCall, error) {
	base, err := url.Parse(a.publicURL)
	if err != nil {
		return nil, fmt.Errorf("base URL: %w", err)
	}
	authority, err := relaysig.Authority(a.publicURL)
	if err != nil {
		return nil, err
	}
	seen := req.Clone(ctx)
	seen.URL.Path = strings.TrimSuffix(base.Path, "/") + req.URL.Path
	var found *operatorRow
	signed, err := relaysig.VerifySM2(seen, body, authority, func(ctx context.Context, serial string) (crypto.PublicKey, error) {
		o, key, err := a.operatorKey(ctx, a.db.Reader(), serial)
		found = o
		return key, err
	}, a.now())
	if err != nil {
		return nil, a.operatorRefusal(err)
	}
	call := &OperatorCall{ID: found.id, Name: found.name, Serial: found.serial, Role: found.role, Body: body, base: signed.Base, signature: signed.Signature}
	if err := a.useNonce(ctx, call.ID, signed.Nonce, signed.Expires.Unix()); err != nil {
		return nil, err
	}
	if !slices.Contains(roles, call.Role) {
		return nil, errors.Join(a.noteRefusal(call.as(ctx), call, req), protocol.Errorf(protocol.CodeForbidden, "not a matter of the role %s", call.Role))
	}
	return call, nil
}

// operatorRefusal is what the caller of a refused call is told. Which of the
// serial numbers are operators' is nobody's business.
func (a *Authority) operatorRefusal(err error) error {
	switch {
	case errors.Is(err, relaysig.ErrTime):
		return &protocol.Error{Code: protocol.CodeClockSkew, ServerTime: a.now().UnixMilli()}
	case errors.Is(err, relaysig.ErrForm), errors.Is(err, relaysig.ErrDigest), errors.Is(err, relaysig.ErrKey), errors.Is(err, relaysig.ErrSignature):
		return protocol.Errorf(protocol.CodeUnauthorized, "%v", err)
	}
	switch protocol.CodeOf(err) {
	case protocol.CodeNotFound, protocol.CodeForbidden:
		return protocol.Errorf(protocol.CodeUnauthorized, "no operator signs with this certificate now")
	}
	return err
}

// useNonce stores a nonce until its call has expired anyway. It is durable before
// anything is done for the call, in every process on the database.
func (a *Authority) useNonce(ctx context.Context, operator, nonce string, expires int64) error {
	return a.db.Update(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM ca_nonces WHERE expires_at < $1`, a.now().Unix()); err != nil {
			return fmt.Errorf("forget nonces: %w", err)
		}
		result, err := tx.ExecContext(ctx, `INSERT INTO ca_nonces (operator, nonce, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, operator, nonce, expires)
		if err != nil {
			return fmt.Errorf("store nonce: %w", err)
		}
		if n, err := result.RowsAffected(); err != nil || n != 1 {
			return errors.Join(err, protocol.Errorf(protocol.CodeReplayed, "this call was made before"))
		}
		return nil
	})
}

// noteRefusal keeps that an operator tried what the role does not allow.
func (a *Authority) noteRefusal(ctx context.Context, call *OperatorCall, req *http.Request) error {
	return a.db.Update(ctx, func(tx *sql.Tx) error {
		return a.audit.append(ctx, tx, call.actor(), eventOperatorRefused, map[string]string{
			"operator": call.ID, "role": string(call.Role), "method": req.Method, "path": req.URL.Path,
		})
	})
}
