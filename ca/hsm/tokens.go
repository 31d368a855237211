//go:build pkcs11 && cgo

package hsm

import (
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"github.com/ThalesGroup/crypto11"
	"github.com/bidseal/bidseal/ca/issuance"
)

// Tokens makes and opens keys in the tokens of PKCS#11 modules. Sessions stay
// open until Close or the end of the process. It is safe for concurrent use.
type Tokens struct {
	mu   sync.Mutex
	open map[[2]string]*crypto11.Context // by module and token
	raw  map[[2]string]*rawToken
}

// NewTokens makes one that has nothing open.
func NewTokens() *Tokens {
	return &Tokens{open: make(map[[2]string]*crypto11.Context), raw: make(map[[2]string]*rawToken)}
}

// ErrKeyExists: there is a key under that label already. Whether anybody relies
// on it is for people to find out.
var ErrKeyExists = errors.New("the token has a key of this label")

// ErrNoKey: no key pair has that label.
var ErrNoKey = errors.New("the token has no key pair of this label")

func (t *Tokens) context(u keyURI) (*crypto11.Context, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	name := [2]string{u.module, u.token}
	if c := t.open[name]; c != nil {
		return c, nil
	}
	pin, err := u.pin()
	if err != nil {
		return nil, err
	}
	c, err := crypto11.Configure(&crypto11.Config{Path: u.module, TokenLabel: u.token, Pin: pin})
	if err != nil {
		return nil, fmt.Errorf("token %q: %w", u.token, err)
	}
	t.open[name] = c
	return c, nil
}

// Generate makes an ECDSA or RSA key pair under a URI's label. SM2 key pairs are
// made with the vendor's tool: Generate finds the one of the label.
func (t *Tokens) Generate(ctx context.Context, uri string, family issuance.Family) (crypto.Signer, error) {
	if family == issuance.SM2 {
		return t.Open(ctx, uri)
	}
	u, err := parseURI(uri)
	if err != nil {
		return nil, err
	}
	c, err := t.context(u)
	if err != nil {
		return nil, err
	}
	label := []byte(u.object)
	switch _, _, err := t.rawKey(u); {
	case err == nil:
		return nil, fmt.Errorf("token %q, label %q: %w", u.token, u.object, ErrKeyExists)
	case !errors.Is(err, ErrNoKey):
		return nil, fmt.Errorf("token %q, label %q: %w", u.token, u.object, err)
	}
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return nil, fmt.Errorf("key id: %w", err)
	}
	switch family {
	case issuance.ECDSAP256:
		return c.GenerateECDSAKeyPairWithLabel(id, label, elliptic.P256())
	case issuance.RSA3072:
		return c.GenerateRSAKeyPairWithLabel(id, label, 3072)
	}
	return nil, fmt.Errorf("no keys of family %q", family)
}

// Open finds the key pair of a URI.
func (t *Tokens) Open(_ context.Context, uri string) (crypto.Signer, error) {
	u, err := parseURI(uri)
	if err != nil {
		return nil, err
	}
	c, err := t.context(u)
	if err != nil {
		return nil, err
	}
	// crypto11 knows no SM2: what it cannot read is looked at more closely
	keys, err := c.FindKeyPairs(nil, []byte(u.object))
	switch {
	case err == nil && len(keys) == 1:
		return keys[0], nil
	case err == nil && len(keys) > 1:
		return nil, fmt.Errorf("token %q has %d keys of label %q", u.token, len(keys), u.object)
	}
	signer, rawErr := t.openSM2(u)
	if rawErr != nil {
		return nil, fmt.Errorf("token %q, label %q: %w", u.token, u.object, errors.Join(rawErr, err))
	}
	return signer, nil
}

// Close ends all sessions. Keys that were opened are of no more use.
func (t *Tokens) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs error
	for name, r := range t.raw {
		errs = errors.Join(errs, r.close())
		delete(t.raw, name)
	}
	for name, c := range t.open {
		errs = errors.Join(errs, c.Close())
		delete(t.open, name)
	}
	return errs
}
