package keystore

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"

	"github.com/bidseal/bidseal/app/core/internal/wrap"
	"github.com/bidseal/bidseal/app/core/keys"
	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
	"github.com/go-json-experiment/json/jsontext"
)

// reseal puts all keys under a new data key and that under a new password, as a
// new epoch of the server. The file with the new password is durable before the
// server hears of the success, upon which it deletes the old epoch: at every
// moment one of the two passwords opens the file that is there. The caller holds
// the file's lock.
//
// Slots of other types wrap the old data key and are left out.
func (s *Store) reseal(ctx context.Context, helper keys.Assist, u *unlocked, password []byte) error {
	dataKey, err := protocol.Random(dataKeySize)
	if err != nil {
		return err
	}
	defer clear(dataKey)
	begun, share, err := begin(ctx, helper, u, dataKey)
	if err != nil {
		return err
	}
	defer clear(share)
	slot := &assistSlot{Type: slotVOPRF, Epoch: begun.Epoch, KDF: s.kdf, Suite: begun.Suite, ServerKey: begun.ServerKey}
	t := try{helper: helper, keystore: u.doc.ID, epoch: begun.Epoch, serverKey: begun.ServerKey}
	attempt, err := s.sealPassword(ctx, &t, slot, password, dataKey)
	if err != nil {
		return err
	}
	reset, err := sealReset(ctx, helper, u.doc.ID, begun.Epoch, share, dataKey)
	if err != nil {
		return err
	}
	next, err := u.under(dataKey, begun.Epoch, slot, reset)
	if err != nil {
		return err
	}
	if err := s.save(ctx, next); err != nil {
		return err
	}
	// From here on the new password is the one. A failure is repaired by the
	// next unlocking, whose success confirms the epoch as well.
	if err := s.noteRight(ctx, &t, attempt, dataKey); err != nil {
		helper.Failed("confirm the new password", err)
		return nil
	}
	s.proveNoted(ctx, helper, u.doc.ID)
	return nil
}

// begin gets a new epoch, authorised by the present one where there is one.
func begin(ctx context.Context, helper keys.Assist, u *unlocked, dataKey []byte) (*assistapi.BeginAnswer, []byte, error) {
	ephemeral, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("draw ephemeral key: %w", err)
	}
	defer wipeKey(ephemeral)
	request := assistapi.BeginRequest{V: assistapi.Version, Device: helper.Device(), Keystore: u.doc.ID, Above: u.doc.Epoch}
	if request.Ephemeral, err = assistapi.Point(&ephemeral.PublicKey); err != nil {
		return nil, nil, err
	}
	if request.Begin, err = protocol.Random(assistapi.IDSize); err != nil {
		return nil, nil, err
	}
	proofKey, err := assistapi.ProofKey(u.doc.ID, dataKey)
	if err != nil {
		return nil, nil, err
	}
	defer clear(proofKey)
	request.ProofKey = bytes.Clone(proofKey[ed25519.SeedSize:])
	if err := u.authorise(&request); err != nil {
		return nil, nil, err
	}
	var answer assistapi.BeginAnswer
	if err := call(ctx, helper, assistapi.PathBegin, request, &answer); err != nil {
		return nil, nil, err
	}
	if answer.Epoch <= u.doc.Epoch || answer.Epoch > assistapi.MaxEpoch || answer.Suite != assistapi.Suite || len(answer.ServerKey) != assistapi.ElementSize {
		return nil, nil, protocol.Errorf(protocol.CodeAssistUntrusted, "the password server returned no new epoch")
	}
	share, err := assistapi.OpenShare(ephemeral, answer.Share, u.doc.ID, answer.Epoch)
	return &answer, share, err
}

// authorise signs a begin with the proof key of the present epoch.
func (u *unlocked) authorise(request *assistapi.BeginRequest) error {
	slot, err := u.doc.assisted()
	if err != nil || slot == nil {
		return err
	}
	present, err := assistapi.ProofKey(u.doc.ID, u.dataKey)
	if err != nil {
		return err
	}
	defer clear(present)
	request.Authorisation, err = present.Sign(nil, assistapi.BeginMessage(request), crypto.Hash(0))
	if err != nil {
		return fmt.Errorf("authorise the new epoch: %w", err)
	}
	return nil
}

// sealPassword fills in the password slot. Its try is counted like any other;
// the attempt is what proves it.
func (s *Store) sealPassword(ctx context.Context, t *try, slot *assistSlot, password, dataKey []byte) (attempt []byte, err error) {
	if slot.ID, err = protocol.Random(idSize); err != nil {
		return nil, err
	}
	if slot.Salt, err = protocol.Random(saltSize); err != nil {
		return nil, err
	}
	stretched := slot.base().stretch(password)
	defer clear(stretched)
	e, err := s.evaluate(ctx, t, stretched)
	if err != nil {
		return nil, err
	}
	defer clear(e.value)
	key, err := slot.key(t.keystore, stretched, e.value)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	slot.Wrapped, err = wrap.Seal(key, dataKey, slot.aad(t.keystore))
	return e.attempt, err
}

func sealReset(ctx context.Context, helper keys.Assist, file []byte, epoch int64, share, dataKey []byte) (*resetSlot, error) {
	secret, err := helper.Secret(ctx, useReset)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	id, err := protocol.Random(idSize)
	if err != nil {
		return nil, err
	}
	slot := &resetSlot{Type: slotReset, ID: id, Epoch: epoch}
	key, err := slot.key(file, secret, share)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	slot.Wrapped, err = wrap.Seal(key, dataKey, slot.aad(file))
	return slot, err
}

// under is the document with all its keys under another data key.
func (u *unlocked) under(dataKey []byte, epoch int64, slots ...any) (*document, error) {
	next := &document{V: u.doc.V, ID: u.doc.ID, Suite: u.doc.Suite, Epoch: epoch, Keys: make([]keyRecord, len(u.doc.Keys)), Kept: u.doc.Kept}
	for _, slot := range slots {
		raw, err := protocol.EncodeJSON(slot)
		if err != nil {
			return nil, err
		}
		next.Slots = append(next.Slots, jsontext.Value(raw))
	}
	for i, k := range u.doc.Keys {
		aad := keyAAD(u.doc.ID, k.Use, k.SPKI)
		scalar, ok := wrap.Open(u.dataKey, k.Wrapped, aad)
		if !ok {
			return nil, invalid("a wrapped key does not open")
		}
		wrapped, err := wrap.Seal(dataKey, scalar, aad)
		clear(scalar)
		if err != nil {
			return nil, err
		}
		k.Wrapped = wrapped
		next.Keys[i] = k
	}
	return next, nil
}
