package keystore

import (
	"context"
	"crypto"
	"crypto/hkdf"
	"fmt"
	"slices"

	"github.com/bidseal/bidseal/app/core/keys"
	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm3"
)

// Store is a provider that uses the password server.
var _ keys.Assisted = (*Store)(nil)

// UseAssist implements keys.Assisted.
func (s *Store) UseAssist(a keys.Assist) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.assist = a
}

// helper is nil where the phone has no way to a server.
func (s *Store) helper() keys.Assist {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.assist
}

func offline(why string) error {
	return protocol.Errorf(protocol.CodePasswordOffline, "%s", why)
}

// unlockAssisted opens the data key with the server's help: two calls, of which
// the second, which tells of the success, is made by settle.
func (s *Store) unlockAssisted(ctx context.Context, d *document, slot *assistSlot, password []byte) (*unlocked, error) {
	helper := s.helper()
	if helper == nil {
		return nil, offline("this program has no way to the password server")
	}
	s.proveNoted(ctx, helper, d.ID)
	stretched := slot.base().stretch(password)
	defer clear(stretched)
	t := try{helper: helper, keystore: d.ID, epoch: slot.Epoch, serverKey: slot.ServerKey}
	answer, err := s.evaluate(ctx, &t, stretched)
	if err != nil {
		if protocol.CodeOf(err) == protocol.CodePasswordLocked {
			err = s.noteLocked(ctx, d.ID, err)
		}
		return nil, err
	}
	defer clear(answer.value)
	key, err := slot.key(d.ID, stretched, answer.value)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	dataKey, ok := openWith(key, slot.Wrapped, slot.aad(d.ID))
	if !ok {
		return nil, s.noteWrong(ctx, d.ID, answer)
	}
	u := &unlocked{doc: d, dataKey: dataKey}
	if err := s.noteRight(ctx, &t, answer.attempt, dataKey); err != nil {
		u.wipe()
		return nil, err
	}
	return u, nil
}

// try is where a password is tried.
type try struct {
	helper    keys.Assist
	keystore  []byte
	epoch     int64
	serverKey []byte
}

// evaluation is the server's response to a try.
type evaluation struct {
	attempt []byte
	value   []byte // of the function; the caller wipes it
	left    int    // tries, if this one was wrong
}

// maxTurns bounds how often an open try may turn out to be another password's:
// once, and as often as other programs on this phone try at the same time.
const maxTurns = 4

// evaluate makes one try, or continues one whose response was lost.
func (s *Store) evaluate(ctx context.Context, t *try, stretched []byte) (*evaluation, error) {
	for turn := 1; ; turn++ {
		noted, err := s.noteTry(ctx, t.keystore, t.epoch)
		if err != nil {
			return nil, err
		}
		e, err := t.ask(ctx, noted, stretched)
		if protocol.CodeOf(err) != protocol.CodeConflict || turn == maxTurns {
			return e, err
		}
		// The open try was made with another password, and counted.
		if err := s.changeNotes(ctx, t.keystore, func(n *notes) error { n.endTry(noted.Attempt); return nil }); err != nil {
			return nil, err
		}
	}
}

// ask makes the call of one try.
func (t *try) ask(ctx context.Context, noted openTry, stretched []byte) (*evaluation, error) {
	secret, err := t.helper.Secret(ctx, useBlind)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	seed, err := blindSeed(noted.Seed, stretched, secret)
	if err != nil {
		return nil, err
	}
	defer clear(seed)
	input := assistapi.Input(t.keystore, t.epoch, stretched)
	defer clear(input)
	blinding, err := assistapi.Blind(assistapi.Suite, t.serverKey, input, seed)
	if err != nil {
		return nil, invalid("%v", err)
	}
	request := assistapi.EvaluateRequest{V: assistapi.Version, Device: t.helper.Device(), Keystore: t.keystore, Epoch: t.epoch,
		Attempt: noted.Attempt, Blinded: blinding.Blinded}
	if err := t.helper.SignTry(&request); err != nil {
		return nil, err
	}
	var answer assistapi.EvaluateAnswer
	if err := call(ctx, t.helper, assistapi.PathEvaluate, request, &answer); err != nil {
		return nil, err
	}
	value, err := blinding.Finalize(answer.Evaluated, answer.Proof)
	if err != nil {
		return nil, err
	}
	return &evaluation{attempt: noted.Attempt, value: value, left: min(max(0, answer.TriesLeft), assistapi.MaxTries)}, nil
}

// blindSeed is HKDF-SM3(seed | stretched password) under a secret of the device:
// the same for the same try and password on this device, and different on any other.
func blindSeed(seed, stretched, secret []byte) ([]byte, error) {
	joined := slices.Concat(seed, stretched)
	defer clear(joined)
	out, err := hkdf.Key(sm3.New, joined, secret, "bidseal/keystore 1 blind", 2*assistapi.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("derive blind: %w", err)
	}
	return out, nil
}

// call posts v and reads the response. Without one, the password server counts as
// unreachable.
func call(ctx context.Context, helper keys.Assist, path string, v, answer any) error {
	body, err := protocol.EncodeJSON(v)
	if err != nil {
		return err
	}
	raw, err := helper.Call(ctx, path, body)
	switch protocol.CodeOf(err) {
	case "":
	case protocol.CodeNetwork, protocol.CodeUnavailable, protocol.CodeOverloaded:
		return offline(err.Error())
	default:
		return err
	}
	if err := protocol.DecodeJSONOpen(raw, answer, nil); err != nil {
		return protocol.Errorf(protocol.CodeAssistUntrusted, "answer of the password server: %v", err)
	}
	return nil
}

func (s *Store) noteLocked(ctx context.Context, id []byte, locked error) error {
	if err := s.changeNotes(ctx, id, func(n *notes) error { n.Open, n.Count = nil, assistapi.MaxTries; return nil }); err != nil {
		return err
	}
	return locked
}

func (s *Store) noteWrong(ctx context.Context, id []byte, e *evaluation) error {
	if err := s.changeNotes(ctx, id, func(n *notes) error {
		n.endTry(e.attempt)
		n.Count = assistapi.MaxTries - e.left
		return nil
	}); err != nil {
		return err
	}
	if e.left == 0 {
		return protocol.Errorf(protocol.CodePasswordLocked, "locked after %d wrong passwords", assistapi.MaxTries)
	}
	return protocol.Errorf(protocol.CodePasswordWrong, "%d tries left", e.left)
}

// noteRight stores the proof of a success before anything else is done with it.
func (s *Store) noteRight(ctx context.Context, t *try, attempt, dataKey []byte) error {
	proofKey, err := assistapi.ProofKey(t.keystore, dataKey)
	if err != nil {
		return err
	}
	defer clear(proofKey)
	signature, err := proofKey.Sign(nil, assistapi.ProveMessage(t.keystore, t.epoch, attempt), crypto.Hash(0))
	if err != nil {
		return fmt.Errorf("prove success: %w", err)
	}
	return s.changeNotes(ctx, t.keystore, func(n *notes) error {
		n.endTry(attempt)
		n.Count = 0
		n.Proof = &assistapi.ProveRequest{V: assistapi.Version, Device: t.helper.Device(), Keystore: t.keystore, Epoch: t.epoch, Attempt: attempt, Signature: signature}
		return nil
	})
}

// proveNoted reports a success to the server. If the report fails, it is repeated
// before the next try.
func (s *Store) proveNoted(ctx context.Context, helper keys.Assist, id []byte) {
	n, err := s.readNotes(ctx, id)
	if err != nil || n.Proof == nil {
		return
	}
	var answer assistapi.ProveAnswer
	err = call(ctx, helper, assistapi.PathProve, n.Proof, &answer)
	switch protocol.CodeOf(err) {
	case "", protocol.CodeNotFound, protocol.CodeWrongState, protocol.CodeKeystoreGone, protocol.CodeMalformed:
		// it was accepted, or never will be
		told := n.Proof
		err = s.changeNotes(ctx, id, func(n *notes) error {
			if n.Proof != nil && protocol.Equal(n.Proof.Attempt, told.Attempt) {
				n.Proof = nil
			}
			return nil
		})
	}
	if err != nil {
		helper.Failed("prove the right password", err)
	}
}

// confirmed tells the server of a success before a new epoch is begun. Until it
// has heard, the epoch of the file that is there may be a pending one, which
// authorises no other and gives way to later ones.
func (s *Store) confirmed(ctx context.Context, helper keys.Assist, id []byte) error {
	s.proveNoted(ctx, helper, id)
	n, err := s.readNotes(ctx, id)
	if err == nil && n.Proof != nil {
		err = offline("the password server did not hear of the right password")
	}
	return err
}

// prove tells the server of the success by which u was opened.
func (s *Store) prove(ctx context.Context, u *unlocked) {
	if helper := s.helper(); helper != nil {
		s.proveNoted(ctx, helper, u.doc.ID)
	}
}

// settle ends an unlocking: the success is proved, and keys that the password
// alone opens come under the server's help. Neither can fail what was done with
// the keys.
func (s *Store) settle(ctx context.Context, u *unlocked, password []byte) {
	helper := s.helper()
	if helper == nil {
		return
	}
	slot, err := u.doc.assisted()
	switch {
	case err == nil && slot != nil:
		s.proveNoted(ctx, helper, u.doc.ID)
	case err == nil && helper.Ready(ctx):
		err = s.upgrade(ctx, u, password)
	}
	if err != nil {
		helper.Failed("put the keys under the password server", err)
	}
}
