package keystore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"

	"github.com/bidseal/bidseal/app/core/internal/wrap"
	"github.com/bidseal/bidseal/app/core/keys"
	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
)

const resetFile = "reset.json"

// openReset is a reset that was asked for: a repetition uses the same key, because
// the token is valid for one request.
type openReset struct {
	V     int            `json:"v"`
	ID    protocol.Bytes `json:"id"` // of the keystore
	Epoch int64          `json:"epoch"`
	Token protocol.Bytes `json:"token"` // digest
	Key   protocol.Bytes `json:"key"`   // the ephemeral key, sealed under a secret of the device
	protocol.Kept
}

func (o *openReset) aad() []byte {
	return append(append([]byte("bidseal/keystore reset\x00"), o.ID...), o.Token...)
}

// ResetPassword implements keys.Provider.
func (s *Store) ResetPassword(ctx context.Context, token string, next []byte) error {
	if err := CheckPassword(next); err != nil {
		return err
	}
	helper := s.helper()
	if helper == nil {
		return offline("this program has no way to the password server")
	}
	d, release, err := s.lockedFile(ctx)
	if err != nil {
		return err
	}
	defer release()
	slot, err := d.resettable()
	if err != nil {
		return err
	}
	if slot == nil {
		return protocol.Errorf(protocol.CodeResetUnavailable, "the key file has no slot for it")
	}
	dataKey, err := s.openReset(ctx, helper, d, slot, token)
	if err != nil {
		return err
	}
	u := &unlocked{doc: d, dataKey: dataKey}
	defer u.wipe()
	if err := s.confirmReset(ctx, helper, u); err != nil {
		return err
	}
	if err := s.reseal(ctx, helper, u, next); err != nil {
		return err
	}
	if err := s.files.Remove(ctx, resetFile); err != nil {
		return fmt.Errorf("end of the reset: %w", err)
	}
	return nil
}

// confirmReset proves to the server, by the data key and a try of its own, that
// the present epoch was opened. The password that was forgotten may be one that
// the server never heard confirmed.
func (s *Store) confirmReset(ctx context.Context, helper keys.Assist, u *unlocked) error {
	slot, err := u.doc.assisted()
	if err != nil || slot == nil {
		return err
	}
	t := try{helper: helper, keystore: u.doc.ID, epoch: slot.Epoch, serverKey: slot.ServerKey}
	e, err := s.evaluate(ctx, &t, slot.Salt) // any input will do: the answer is not used
	if err != nil {
		return err
	}
	clear(e.value)
	if err := s.noteRight(ctx, &t, e.attempt, u.dataKey); err != nil {
		return err
	}
	return s.confirmed(ctx, helper, u.doc.ID)
}

// openReset gets the share and opens the slot.
func (s *Store) openReset(ctx context.Context, helper keys.Assist, d *document, slot *resetSlot, token string) ([]byte, error) {
	secret, err := helper.Secret(ctx, useReset)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	ephemeral, err := s.resetKey(ctx, d, token, secret[:wrap.KeySize])
	if err != nil {
		return nil, err
	}
	defer wipeKey(ephemeral)
	point, err := assistapi.Point(&ephemeral.PublicKey)
	if err != nil {
		return nil, err
	}
	var answer assistapi.ResetAnswer
	if err := call(ctx, helper, assistapi.PathReset, assistapi.ResetRequest{V: assistapi.Version, Device: helper.Device(), Keystore: d.ID,
		Epoch: slot.Epoch, Token: token, Ephemeral: point}, &answer); err != nil {
		return nil, err
	}
	share, err := assistapi.OpenShare(ephemeral, answer.Share, d.ID, slot.Epoch)
	if err != nil {
		return nil, err
	}
	defer clear(share)
	key, err := slot.key(d.ID, secret, share)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	dataKey, ok := openWith(key, slot.Wrapped, slot.aad(d.ID))
	if !ok {
		return nil, protocol.Errorf(protocol.CodeResetUnavailable, "share and device do not open the reset slot")
	}
	return dataKey, nil
}

// resetKey finds the ephemeral key of an earlier attempt with this token, or
// stores a new one.
func (s *Store) resetKey(ctx context.Context, d *document, token string, under []byte) (*sm2.PrivateKey, error) {
	want := openReset{V: Version, ID: d.ID, Epoch: d.Epoch, Token: protocol.H([]byte(token))}
	raw, err := s.files.Read(ctx, resetFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("earlier reset: %w", err)
	}
	var kept openReset
	if err == nil && protocol.DecodeJSON(raw, &kept) == nil && kept.V == Version && kept.Epoch == d.Epoch &&
		protocol.Equal(kept.ID, want.ID) && protocol.Equal(kept.Token, want.Token) {
		if scalar, ok := wrap.Open(under, kept.Key, kept.aad()); ok {
			defer clear(scalar)
			if key, err := sm2.NewPrivateKey(scalar); err == nil {
				return key, nil
			}
		}
	}
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("draw ephemeral key: %w", err)
	}
	scalar := key.D.FillBytes(make([]byte, scalarSize))
	defer clear(scalar)
	if want.Key, err = wrap.Seal(under, scalar, want.aad()); err != nil {
		return nil, err
	}
	if raw, err = protocol.EncodeJSON(want); err != nil {
		return nil, err
	}
	if err := s.files.Write(ctx, resetFile, raw); err != nil {
		return nil, fmt.Errorf("begin of the reset: %w", err)
	}
	return key, nil
}
