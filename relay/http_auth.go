package relay

import (
	"context"
	"crypto"
	"errors"
	"strings"
	"time"

	"github.com/bidseal/bidseal/internal/callsig"
	"github.com/bidseal/bidseal/protocol"
	"github.com/gin-gonic/gin"
)

// isPhone and isPlatform tell who calls. A call with both credentials is rejected.
func isPhone(c *gin.Context) bool {
	return c.GetHeader(protocol.HeaderPass) != "" && c.GetHeader("Signature-Input") == ""
}

func isPlatform(c *gin.Context) bool {
	return c.GetHeader("Signature-Input") != "" && c.GetHeader(protocol.HeaderPass) == ""
}

// Nonces remembers what authenticates a call once. A backend has to pass
// storetest.Run; every operation may be repeated, and one that returned an error
// may have happened.
type Nonces interface {
	// UseNonce remembers a nonce until the given time and reports whether it was
	// new. The set is shared by all nodes and bounded by forgetting what has
	// expired. Repeated after a failure it may report a nonce as used.
	UseNonce(ctx context.Context, nonce string, until time.Time) (fresh bool, err error)
}

// asPlatform authenticates a platform's call by RFC 9421 (profile: package
// callsig) and reads its body.
func (r *Relay) asPlatform(c *gin.Context, limit int64) (*platformKey, []byte, error) {
	if !isPlatform(c) {
		return nil, nil, protocol.Errorf(protocol.CodeUnauthorized, "the call is not signed by a platform")
	}
	body, err := r.readBody(c, limit)
	if err != nil {
		return nil, nil, err
	}
	ctx := c.Request.Context()
	var p *platformKey
	var signed *callsig.Signed
	err = r.gate.do(ctx, func() error {
		var err error
		signed, err = callsig.Verify(c.Request, body, r.authority, func(ctx context.Context, id string) (crypto.PublicKey, error) {
			if p, err = r.platforms.get(ctx, id); err != nil {
				if unknown(err) {
					err = callsig.ErrKey
				}
				return nil, err
			}
			return p.key, nil
		}, r.cfg.Clock())
		return err
	})
	if err != nil {
		return nil, nil, r.signatureError(ctx, err)
	}
	fresh, err := r.cfg.Nonces.UseNonce(ctx, p.ID+":"+signed.Nonce, signed.Expires)
	switch {
	case err != nil:
		return nil, nil, r.storeError(ctx, err)
	case !fresh:
		return nil, nil, protocol.Errorf(protocol.CodeReplayed, "the nonce was used before")
	case p.Blocked:
		return nil, nil, protocol.Errorf(protocol.CodeForbidden, "the platform is blocked")
	}
	return p, body, nil
}

func (r *Relay) signatureError(ctx context.Context, err error) error {
	for _, known := range []error{callsig.ErrForm, callsig.ErrDigest, callsig.ErrKey, callsig.ErrSignature} {
		if errors.Is(err, known) {
			return protocol.Errorf(protocol.CodeUnauthorized, "%v", known)
		}
	}
	if errors.Is(err, callsig.ErrTime) {
		e := protocol.Errorf(protocol.CodeClockSkew, "%v", callsig.ErrTime)
		e.ServerTime = r.now()
		return e
	}
	return r.storeError(ctx, err)
}

// asPhone authenticates a phone's call by device pass and proof and reads its body.
func (r *Relay) asPhone(c *gin.Context, limit int64) (*phone, []byte, error) {
	passes, proofs := c.Request.Header.Values(protocol.HeaderPass), c.Request.Header.Values(protocol.HeaderProof)
	if !isPhone(c) || len(passes) != 1 || len(proofs) != 1 {
		return nil, nil, protocol.Errorf(protocol.CodeUnauthorized, "the call carries no device pass and proof")
	}
	ctx := c.Request.Context()
	pass, err := r.passes.verify(ctx, r.gate, r.cfg.PassKeys, passes[0], r.cfg.Clock())
	if err != nil {
		return nil, nil, err
	}
	if err := r.admit(ctx, pass.Device); err != nil {
		return nil, nil, err
	}
	body, err := r.readBody(c, limit)
	if err != nil {
		return nil, nil, err
	}
	uri := c.Request.RequestURI
	if !strings.HasPrefix(uri, "/") {
		return nil, nil, protocol.Errorf(protocol.CodeMalformed, "request target is not in origin form")
	}
	call := protocol.Call{Method: c.Request.Method, URL: r.cfg.Origin + uri, Body: body}
	err = r.gate.do(ctx, func() error { return protocol.VerifyProof(pass, proofs[0], call, r.cfg.Clock()) })
	if err != nil {
		return nil, nil, err
	}
	return &phone{device: pass.Device, account: pass.Account, pass: pass}, body, nil
}

// admit refuses denied devices and those that call too often.
func (r *Relay) admit(ctx context.Context, device string) error {
	denied, err := r.denied.get(ctx, device)
	if err != nil {
		return r.storeError(ctx, err)
	}
	if denied {
		return protocol.Errorf(protocol.CodeForbidden, "the device is blocked")
	}
	return r.rates.Allow(device)
}

// challengeID reads the id of the path.
func challengeID(c *gin.Context) (protocol.CID, error) {
	cid, err := protocol.ParseCID(c.Param("cid"))
	if err != nil {
		return cid, notFound()
	}
	return cid, nil
}
