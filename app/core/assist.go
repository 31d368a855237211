package core

import (
	"context"
	"crypto/hkdf"
	"fmt"

	"github.com/bidseal/bidseal/app/core/keys"
	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm3"
)

// assistance is what the phone gives its provider of keys for the password
// server.
type assistance struct{ c *Core }

var _ keys.Assist = assistance{}

// Device implements keys.Assist.
func (a assistance) Device() string { return a.c.device.id }

// SignTry implements keys.Assist.
func (a assistance) SignTry(r *assistapi.EvaluateRequest) error { return r.Sign(a.c.device.key) }

// Secret implements keys.Assist: HKDF-SM3 of the storage key.
func (a assistance) Secret(ctx context.Context, use string) ([]byte, error) {
	storageKey, err := readStorageKey(ctx, a.c.opt.Files)
	if err != nil {
		return nil, err
	}
	defer clear(storageKey)
	secret, err := hkdf.Key(sm3.New, storageKey, nil, "bidseal/device 1 "+use, assistapi.ShareSize)
	if err != nil {
		return nil, fmt.Errorf("device secret: %w", err)
	}
	return secret, nil
}

// Ready implements keys.Assist.
func (a assistance) Ready(ctx context.Context) bool {
	_, err := a.c.assistURL(ctx)
	return err == nil
}

// Call implements keys.Assist.
func (a assistance) Call(ctx context.Context, path string, body []byte) ([]byte, error) {
	base, err := a.c.assistURL(ctx)
	if err != nil {
		return nil, err
	}
	raw, refused := a.c.proven(ctx, Call{Method: "POST", URL: base + path, Body: body}, "")
	if refused != nil {
		return nil, refused
	}
	return raw, nil
}

// Failed implements keys.Assist.
func (a assistance) Failed(what string, err error) {
	a.c.opt.Log.Warn("the password server was not reached; it is done at the next unlocking", "what", what, "error", err.Error())
}

// assistURL is where the password server is, as the authority says when it is
// asked first.
func (c *Core) assistURL(ctx context.Context) (string, error) {
	cfg, _, err := c.enrolled()
	if err != nil {
		return "", err
	}
	if cfg.Assist != "" {
		return cfg.Assist, nil
	}
	raw, refused := c.once(ctx, Call{Method: "GET", URL: cfg.CA + caapi.PathInfo}, nil)
	if refused != nil {
		return "", refused
	}
	var info caapi.Info
	if err := decode(raw, &info); err != nil {
		return "", err
	}
	if info.Assist == "" {
		return "", protocol.Errorf(protocol.CodeNotFound, "the authority has no password server")
	}
	if err := checkServer(info.Assist); err != nil {
		return "", err
	}
	next := *cfg
	next.Assist = info.Assist
	if err := writeJSON(ctx, c.opt.Files, settingsFile, &next); err != nil {
		return "", err
	}
	return next.Assist, c.apply(&next)
}

// assistKeys puts the keys under the password server's help, where there is one
// and it can be reached; otherwise the next unlocking does.
func (c *Core) assistKeys(ctx context.Context, password []byte) {
	if assisted, ok := c.opt.Keys.(keys.Assisted); ok {
		if err := assisted.Upgrade(ctx, password); err != nil {
			assistance{c}.Failed("put the keys under the password server", err)
		}
	}
}

// ChangePassword makes next the certificate password. Whatever interrupts it,
// either the old or the new one opens the keys.
func (c *Core) ChangePassword(ctx context.Context, password, next []byte) error {
	return result(c.opt.Keys.ChangePassword(ctx, password, next))
}

// ResetPassword makes next the certificate password without the old one: the
// token states that the person was checked, and is valid for this device only.
func (c *Core) ResetPassword(ctx context.Context, token string, next []byte) error {
	return result(c.opt.Keys.ResetPassword(ctx, token, next))
}
