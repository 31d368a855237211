//go:build pkcs11 && cgo

package hsm

import (
	"crypto"
	"encoding/asn1"
	"errors"
	"fmt"
	"sync"

	"github.com/emmansun/gmsm/sm2"
	"github.com/miekg/pkcs11"
)

// rawToken is a session of its own beside crypto11's, for mechanisms that it does
// not know. Calls on one session follow one another.
type rawToken struct {
	mu      sync.Mutex
	module  *pkcs11.Ctx
	session pkcs11.SessionHandle
}

// rawKey is a private key in a token that signs digests.
type rawKey struct {
	token     *rawToken
	handle    pkcs11.ObjectHandle
	mechanism uint
}

// openRaw opens a session. The login and the module's state are the process's:
// crypto11's context is opened before, and both may find them done.
func (t *Tokens) openRaw(u keyURI) (*rawToken, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	name := [2]string{u.module, u.token}
	if r := t.raw[name]; r != nil {
		return r, nil
	}
	module := pkcs11.New(u.module)
	if module == nil {
		return nil, fmt.Errorf("module %s cannot be loaded", u.module)
	}
	if err := module.Initialize(); err != nil && !errors.Is(err, pkcs11.Error(pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED)) {
		return nil, fmt.Errorf("initialise module: %w", err)
	}
	slots, err := module.GetSlotList(true)
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	for _, slot := range slots {
		info, err := module.GetTokenInfo(slot)
		if err != nil || info.Label != u.token {
			continue
		}
		session, err := module.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION)
		if err != nil {
			return nil, fmt.Errorf("open session: %w", err)
		}
		pin, err := u.pin()
		if err != nil {
			return nil, err
		}
		if err := module.Login(session, pkcs11.CKU_USER, pin); err != nil && !errors.Is(err, pkcs11.Error(pkcs11.CKR_USER_ALREADY_LOGGED_IN)) {
			return nil, fmt.Errorf("log in: %w", err)
		}
		t.raw[name] = &rawToken{module: module, session: session}
		return t.raw[name], nil
	}
	return nil, fmt.Errorf("no token %q", u.token)
}

func (r *rawToken) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.module.CloseSession(r.session)
}

// find returns the one object of a class and label.
func (r *rawToken) find(class uint, label string) (pkcs11.ObjectHandle, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	template := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, class), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label)}
	if err := r.module.FindObjectsInit(r.session, template); err != nil {
		return 0, fmt.Errorf("find key: %w", err)
	}
	found, _, err := r.module.FindObjects(r.session, 2)
	if err = errors.Join(err, r.module.FindObjectsFinal(r.session)); err != nil {
		return 0, fmt.Errorf("find key: %w", err)
	}
	switch len(found) {
	case 0:
		return 0, ErrNoKey
	case 1:
		return found[0], nil
	}
	return 0, fmt.Errorf("several keys of label %q", label)
}

// point reads CKA_EC_POINT of a public key: an OCTET STRING, or bare with some
// vendors, of 04 | X | Y.
func (r *rawToken) point(label string) ([]byte, error) {
	public, err := r.find(pkcs11.CKO_PUBLIC_KEY, label)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	values, err := r.module.GetAttributeValue(r.session, public, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_EC_POINT, nil)})
	if err != nil || len(values) != 1 {
		return nil, fmt.Errorf("public key: %w", errors.Join(err, ErrNoKey))
	}
	raw := values[0].Value
	var inner []byte
	if rest, err := asn1.Unmarshal(raw, &inner); err == nil && len(rest) == 0 {
		raw = inner
	}
	if len(raw) != 1+2*coordinateSize || raw[0] != 4 {
		return nil, fmt.Errorf("public key: a point of %d bytes", len(raw))
	}
	return raw, nil
}

// rawKey opens the private key of a URI.
func (t *Tokens) rawKey(u keyURI) (*rawToken, *rawKey, error) {
	r, err := t.openRaw(u)
	if err != nil {
		return nil, nil, err
	}
	handle, err := r.find(pkcs11.CKO_PRIVATE_KEY, u.object)
	if err != nil {
		return nil, nil, err
	}
	return r, &rawKey{token: r, handle: handle, mechanism: u.mechanism}, nil
}

func (t *Tokens) openSM2(u keyURI) (crypto.Signer, error) {
	r, key, err := t.rawKey(u)
	if err != nil {
		return nil, err
	}
	point, err := r.point(u.object)
	if err != nil {
		return nil, err
	}
	public, err := sm2.NewPublicKey(point) // refuses points off the curve
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	return NewSM2(public, key)
}

// SignDigest implements DigestSigner.
func (k *rawKey) SignDigest(digest []byte) ([]byte, error) {
	k.token.mu.Lock()
	defer k.token.mu.Unlock()
	if err := k.token.module.SignInit(k.token.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(k.mechanism, nil)}, k.handle); err != nil {
		return nil, fmt.Errorf("mechanism %#x: %w", k.mechanism, err)
	}
	return k.token.module.Sign(k.token.session, digest)
}
