package registry

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

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/internal/callsig"
	"github.com/bidseal/bidseal/protocol"
)

// OperatorCall is an operator's verified call: the caller and what was signed.
type OperatorCall struct {
	ID, Name, Serial string
	Role             Role
	Body             []byte
	base, signature  []byte
}

// Actor attributes audit entries to this operator.
func (c *OperatorCall) Actor() audit.Actor { return audit.ByOperator(c.ID) }

// VerifyOperator judges an operator's call (internal/callsig, VerifySM2): the
// signature, the certificate's chain up to this authority's root and its status,
// the time, that the call was not seen before, and the role. A call that is rejected
// because of its role is recorded in the audit log. body is the request's body.
//
// Errors: unauthorized, clock_skew, replayed, forbidden.
func (r *Registry) VerifyOperator(ctx context.Context, req *http.Request, body []byte, roles ...Role) (*OperatorCall, error) {
	base, err := url.Parse(r.publicURL)
	if err != nil {
		return nil, fmt.Errorf("base URL: %w", err)
	}
	authority, err := callsig.Authority(r.publicURL)
	if err != nil {
		return nil, err
	}
	seen := req.Clone(ctx)
	seen.URL.Path = strings.TrimSuffix(base.Path, "/") + req.URL.Path
	var found *operatorRow
	signed, err := callsig.VerifySM2(seen, body, authority, func(ctx context.Context, serial string) (crypto.PublicKey, error) {
		o, key, err := r.operatorKey(ctx, r.db.Reader(), serial)
		found = o
		return key, err
	}, r.now())
	if err != nil {
		return nil, r.operatorRefusal(err)
	}
	call := &OperatorCall{ID: found.id, Name: found.name, Serial: found.serial, Role: found.role, Body: body, base: signed.Base, signature: signed.Signature}
	if err := r.useNonce(ctx, call.ID, signed.Nonce, signed.Expires.Unix()); err != nil {
		return nil, err
	}
	if !slices.Contains(roles, call.Role) {
		return nil, errors.Join(r.noteRefusal(ctx, call, req), protocol.Errorf(protocol.CodeForbidden, "not a matter of the role %s", call.Role))
	}
	return call, nil
}

// operatorRefusal is the error that the caller of a rejected call gets. It does not
// reveal which serial numbers belong to operators.
func (r *Registry) operatorRefusal(err error) error {
	switch {
	case errors.Is(err, callsig.ErrTime):
		return &protocol.Error{Code: protocol.CodeClockSkew, ServerTime: r.now().UnixMilli()}
	case errors.Is(err, callsig.ErrForm), errors.Is(err, callsig.ErrDigest), errors.Is(err, callsig.ErrKey), errors.Is(err, callsig.ErrSignature):
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
func (r *Registry) useNonce(ctx context.Context, operator, nonce string, expires int64) error {
	return r.db.Update(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM ca_nonces WHERE expires_at < $1`, r.now().Unix()); err != nil {
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

// noteRefusal records in the audit log that an operator tried what the role does
// not allow.
func (r *Registry) noteRefusal(ctx context.Context, call *OperatorCall, req *http.Request) error {
	return r.db.Update(ctx, func(tx *sql.Tx) error {
		return r.audit.Append(ctx, tx, call.Actor(), audit.EventOperatorRefused, map[string]string{
			"operator": call.ID, "role": string(call.Role), "method": req.Method, "path": req.URL.Path,
		})
	})
}
