package keystore_test

import (
	"bytes"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/ca/assist"
	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
)

// A thief has a copy of everything on the phone, the device key too, and the
// program. Each guess needs the server, and the tenth locks: for the thief, who
// may put the copy back as often as he likes, and the right password.
func TestStolenFilesAndTheCode(t *testing.T) {
	w := assisted(t)
	stolen := copyFiles(t, w.files)
	for i := range assistapi.MaxTries - 1 {
		wantCode(t, w.useOn(copyFiles(t, stolen), "guess-number-"+string(rune('0'+i))), protocol.CodePasswordWrong)
	}
	wantCode(t, w.useOn(copyFiles(t, stolen), "guess-number-9"), protocol.CodePasswordLocked)
	for range 3 {
		wantCode(t, w.useOn(copyFiles(t, stolen), right), protocol.CodePasswordLocked)
		wantCode(t, w.use(right), protocol.CodePasswordLocked)
	}
	if w.failures() != assistapi.MaxTries {
		t.Errorf("%d evaluations counted", w.failures())
	}
}

// The files hold nothing that a guess could be checked against without the
// server: with the right password and without an answer, nothing opens.
func TestTheFilesAloneTellNothing(t *testing.T) {
	w := assisted(t)
	w.intercept = away
	for _, password := range []string{right, wrong} {
		wantCode(t, w.use(password), protocol.CodePasswordOffline)
	}
	// and what went out for the two differs from run to run: the blind is random
	var blinded [2][]byte
	for i := range blinded {
		files := copyFiles(t, w.files)
		must(t, files.Remove(t.Context(), "assist.json"))
		w.bodies = nil
		wantCode(t, w.useOn(files, right), protocol.CodePasswordOffline)
		var r assistapi.EvaluateRequest
		must(t, json.Unmarshal(w.bodies[len(w.bodies)-1], &r))
		blinded[i] = r.Blinded
	}
	if bytes.Equal(blinded[0], blinded[1]) {
		t.Error("two tries of one password look alike")
	}
}

// An open try of the victim answers one guess, whether it is the same password,
// and no second one.
func TestAnOpenTryIsNoOracle(t *testing.T) {
	w := assisted(t)
	w.intercept = lose
	wantCode(t, w.use(right), protocol.CodePasswordOffline)
	w.intercept = nil
	stolen := copyFiles(t, w.files)
	guesses := 0
	for err := error(nil); protocol.CodeOf(err) != protocol.CodePasswordLocked; guesses++ {
		if err = w.useOn(copyFiles(t, stolen), "guess-"+strings.Repeat("x", guesses+1)); err == nil {
			t.Fatal("a wrong guess opened")
		}
	}
	if guesses > assistapi.MaxTries {
		t.Errorf("%d guesses", guesses)
	}
}

// The server's database and the phone's files, without the key-encryption key:
// no evaluation, no share.
func TestTheDatabaseAndTheFilesWithoutTheKeyEncryptionKey(t *testing.T) {
	w := assisted(t)
	other, err := protocol.Random(assist.KEKSize)
	must(t, err)
	w.service = w.serve(other)
	if err := w.use(right); err == nil {
		t.Fatal("opened with another key-encryption key")
	}
	if err := w.open().ResetPassword(t.Context(), w.token(), []byte("another-password")); err == nil {
		t.Fatal("reset with another key-encryption key")
	}
	// nothing in the clear: neither of what the phone sent nor of what it got
	w.service = w.serve(w.kek)
	w.bodies = nil
	var evaluated []byte
	w.intercept = func(path string, _ []byte, serve func() ([]byte, error)) ([]byte, error) {
		raw, err := serve()
		if path == assistapi.PathEvaluate && err == nil {
			var a assistapi.EvaluateAnswer
			must(t, json.Unmarshal(raw, &a))
			evaluated = a.Evaluated
		}
		return raw, err
	}
	must(t, w.use(right))
	var request assistapi.EvaluateRequest
	must(t, json.Unmarshal(w.bodies[0], &request))
	var stored, answer []byte
	must(t, w.db.Reader().QueryRowContext(t.Context(), `SELECT blinded, answer FROM assist_attempts WHERE number = (SELECT max(number) FROM assist_attempts)`).Scan(&stored, &answer))
	if bytes.Contains(stored, request.Blinded) || bytes.Contains(answer, evaluated) || len(evaluated) == 0 {
		t.Error("blinded elements or evaluations lie in the clear")
	}
}

// The server's operator has key-encryption key, database and traffic, and no
// file: there is no salt to try a password with, and no wrapped key.
func TestTheOperatorHasNoCiphertext(t *testing.T) {
	w := assisted(t)
	must(t, w.use(right))
	raw, err := w.files.Read(t.Context(), "keystore.json")
	must(t, err)
	var doc struct {
		Slots []struct {
			Salt, Wrapped string
		}
		Keys []struct{ Wrapped string }
	}
	must(t, json.Unmarshal(raw, &doc))
	for _, body := range w.bodies {
		for _, secret := range []string{doc.Slots[0].Salt, doc.Slots[0].Wrapped, doc.Slots[1].Wrapped, doc.Keys[0].Wrapped} {
			if len(secret) < 20 || bytes.Contains(body, []byte(secret)) {
				t.Fatalf("the server was sent %q", secret)
			}
		}
	}
}

// answers that a hostile server may give to an evaluation.
func hostile(t *testing.T) map[string]func(raw []byte, body []byte) []byte {
	t.Helper()
	private, _, err := assistapi.NewKey()
	must(t, err)
	edit := func(change func(*assistapi.EvaluateAnswer)) func([]byte, []byte) []byte {
		return func(raw, _ []byte) []byte {
			var a assistapi.EvaluateAnswer
			must(t, json.Unmarshal(raw, &a))
			change(&a)
			out, err := protocol.EncodeJSON(a)
			must(t, err)
			return out
		}
	}
	return map[string]func([]byte, []byte) []byte{
		"another key": func(_, body []byte) []byte {
			var r assistapi.EvaluateRequest
			must(t, json.Unmarshal(body, &r))
			evaluated, proof, err := assistapi.Evaluate(private, r.Blinded)
			must(t, err)
			out, err := protocol.EncodeJSON(assistapi.EvaluateAnswer{V: 1, Evaluated: evaluated, Proof: proof, TriesLeft: 9})
			must(t, err)
			return out
		},
		"an altered proof":     edit(func(a *assistapi.EvaluateAnswer) { a.Proof[3] ^= 1 }),
		"no proof":             edit(func(a *assistapi.EvaluateAnswer) { a.Proof = nil }),
		"a proof of zeros":     edit(func(a *assistapi.EvaluateAnswer) { clear(a.Proof) }),
		"the identity":         edit(func(a *assistapi.EvaluateAnswer) { clear(a.Evaluated) }),
		"no element":           edit(func(a *assistapi.EvaluateAnswer) { a.Evaluated = nil }),
		"another's evaluation": edit(func(a *assistapi.EvaluateAnswer) { a.Evaluated = element(t) }),
		"no JSON":              func([]byte, []byte) []byte { return []byte("<html>") },
	}
}

// element is some element of the group: a server key is one.
func element(t testing.TB) []byte {
	t.Helper()
	_, public, err := assistapi.NewKey()
	must(t, err)
	return public
}

// A hostile server learns nothing and opens nothing: the phone refuses, says
// nothing more, and the right password is still the right one.
func TestHostileServer(t *testing.T) {
	w := assisted(t)
	for name, answer := range hostile(t) {
		w.calls = nil
		w.intercept = func(path string, body []byte, serve func() ([]byte, error)) ([]byte, error) {
			raw, err := serve()
			if path == assistapi.PathEvaluate && err == nil {
				return answer(raw, body), nil
			}
			return raw, err
		}
		if err := w.use(right); protocol.CodeOf(err) != protocol.CodeAssistUntrusted {
			t.Errorf("%s: %v", name, err)
		}
		if got := strings.Join(w.calls, " "); got != "evaluate" {
			t.Errorf("%s: the phone went on with %s", name, got)
		}
	}
	w.intercept = nil
	must(t, w.use(right))
	if w.failures() != 0 {
		t.Errorf("the server counts %d", w.failures())
	}
}

// A server that refuses every try as another's does not keep the phone busy.
func TestServerThatAlwaysConflicts(t *testing.T) {
	w := assisted(t)
	w.intercept = func(path string, _ []byte, serve func() ([]byte, error)) ([]byte, error) {
		if path == assistapi.PathEvaluate {
			return nil, protocol.Errorf(protocol.CodeConflict, "another element")
		}
		return serve()
	}
	wantCode(t, w.use(right), protocol.CodeConflict)
	if len(w.calls) > 8 {
		t.Errorf("%d calls", len(w.calls))
	}
}

// A server that gives a share or an epoch of its choice at set-up.
func TestHostileSetUp(t *testing.T) {
	for name, change := range map[string]func(*assistapi.BeginAnswer){
		"an old epoch":      func(a *assistapi.BeginAnswer) { a.Epoch = 1 },
		"another epoch":     func(a *assistapi.BeginAnswer) { a.Epoch += 5 },
		"another suite":     func(a *assistapi.BeginAnswer) { a.Suite = "P256-SHA256" },
		"no key":            func(a *assistapi.BeginAnswer) { a.ServerKey = make([]byte, 32) },
		"a share of no one": func(a *assistapi.BeginAnswer) { a.Share[len(a.Share)-1] ^= 1 },
	} {
		w := newWorld(t)
		pair(t, w.openWithoutServer(), "r1", 10)
		w.intercept = func(path string, _ []byte, serve func() ([]byte, error)) ([]byte, error) {
			raw, err := serve()
			if path != assistapi.PathBegin || err != nil {
				return raw, err
			}
			var a assistapi.BeginAnswer
			must(t, json.Unmarshal(raw, &a))
			change(&a)
			return protocol.EncodeJSON(a)
		}
		if err := w.open().Upgrade(t.Context(), []byte(right)); err == nil {
			t.Errorf("%s was taken", name)
		}
		w.intercept = nil
		if w.slots()[0] != "password" {
			t.Errorf("%s: the file was changed", name)
		}
		must(t, w.use(right))
	}
}

// A rolled back file gains nothing: the server's count goes on.
func TestRolledBackFilesGainNothing(t *testing.T) {
	w := assisted(t)
	backup := copyFiles(t, w.files)
	for range 5 {
		wantCode(t, w.use(wrong), protocol.CodePasswordWrong)
	}
	w.files = copyFiles(t, backup)
	for range 4 {
		wantCode(t, w.use(wrong), protocol.CodePasswordWrong)
		w.files = copyFiles(t, backup)
	}
	wantCode(t, w.use(wrong), protocol.CodePasswordLocked)
}

func TestResetPassword(t *testing.T) {
	w := assisted(t)
	for range assistapi.MaxTries {
		_ = w.use(wrong)
	}
	wantCode(t, w.use(right), protocol.CodePasswordLocked)
	old := copyFiles(t, w.files)
	const next = "another-password"
	wantCode(t, w.open().ResetPassword(t.Context(), "no.token", []byte(next)), protocol.CodeRealNameToken)
	token := w.token()
	must(t, w.open().ResetPassword(t.Context(), token, []byte(next)))
	must(t, w.use(next))
	wantCode(t, w.use(right), protocol.CodePasswordWrong)
	// the token is used, and the share of the old file is gone
	wantCode(t, w.open().ResetPassword(t.Context(), token, []byte(next)), protocol.CodeRealNameToken)
	err := w.openOn(old).ResetPassword(t.Context(), w.token(), []byte(next))
	wantCode(t, err, protocol.CodeKeystoreGone)
}

// The share without the device, and the device without the share, open nothing.
func TestResetNeedsDeviceAndShare(t *testing.T) {
	w := assisted(t)
	secret := w.secret
	w.secret = make([]byte, 32) // the file on another device, which has a token all the same
	wantCode(t, w.open().ResetPassword(t.Context(), w.token(), []byte("another-password")), protocol.CodeResetUnavailable)
	w.secret = secret
	w.intercept = func(path string, body []byte, serve func() ([]byte, error)) ([]byte, error) {
		if path != assistapi.PathReset {
			return serve()
		}
		var r assistapi.ResetRequest
		must(t, json.Unmarshal(body, &r))
		sealed, err := assistapi.SealShare(make([]byte, assistapi.ShareSize), r.Keystore, r.Epoch, r.Ephemeral)
		must(t, err)
		return protocol.EncodeJSON(assistapi.ResetAnswer{V: 1, Share: sealed})
	}
	wantCode(t, w.open().ResetPassword(t.Context(), w.token(), []byte("another-password")), protocol.CodeResetUnavailable)
	w.intercept = nil
	must(t, w.use(right))
}

func TestResetWithoutASlot(t *testing.T) {
	w := newWorld(t)
	pair(t, w.openWithoutServer(), "r1", 10)
	wantCode(t, w.open().ResetPassword(t.Context(), w.token(), []byte("another-password")), protocol.CodeResetUnavailable)
}

// A share that was sealed for another key, keystore or epoch does not open.
func TestShareIsBoundToItsPlace(t *testing.T) {
	key, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	other, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	point, err := assistapi.Point(&key.PublicKey)
	must(t, err)
	id, share := make([]byte, 16), make([]byte, 32)
	sealed, err := assistapi.SealShare(share, id, 3, point)
	must(t, err)
	if got, err := assistapi.OpenShare(key, sealed, id, 3); err != nil || !bytes.Equal(got, share) {
		t.Fatal(err)
	}
	for name, open := range map[string]func() ([]byte, error){
		"key":      func() ([]byte, error) { return assistapi.OpenShare(other, sealed, id, 3) },
		"epoch":    func() ([]byte, error) { return assistapi.OpenShare(key, sealed, id, 4) },
		"keystore": func() ([]byte, error) { return assistapi.OpenShare(key, sealed, bytes.Repeat([]byte{1}, 16), 3) },
		"length":   func() ([]byte, error) { return assistapi.OpenShare(key, make([]byte, 4096), id, 3) },
	} {
		if _, err := open(); protocol.CodeOf(err) != protocol.CodeAssistUntrusted {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// No part of an assisted file can be changed or moved without notice.
func TestAssistedFileTampered(t *testing.T) {
	w := assisted(t)
	clean := w.files
	for name, c := range map[string]struct {
		change func(doc map[string]any)
		want   protocol.Code
	}{
		"server key":       {func(d map[string]any) { slotOf(d)["server_key"] = protocol.Bytes(element(t)).String() }, protocol.CodeAssistUntrusted},
		"server key short": {func(d map[string]any) { slotOf(d)["server_key"] = "AAAA" }, protocol.CodeKeystoreInvalid},
		"no server key":    {func(d map[string]any) { slotOf(d)["server_key"] = strings.Repeat("A", 43) }, protocol.CodeKeystoreInvalid},
		"suite":            {func(d map[string]any) { slotOf(d)["suite"] = "P256-SHA256" }, protocol.CodeKeystoreInvalid},
		"salt":             {func(d map[string]any) { slotOf(d)["salt"] = strings.Repeat("A", 22) }, protocol.CodePasswordWrong},
		"slot id":          {func(d map[string]any) { slotOf(d)["id"] = strings.Repeat("A", 22) }, protocol.CodePasswordWrong},
		"file id":          {func(d map[string]any) { d["id"] = strings.Repeat("A", 22) }, protocol.CodeKeystoreGone},
		"epoch":            {func(d map[string]any) { d["epoch"] = 1 }, protocol.CodeKeystoreInvalid},
		"downgrade":        {func(d map[string]any) { slotOf(d)["type"] = "password" }, protocol.CodeKeystoreInvalid},
		"another name":     {func(d map[string]any) { slotOf(d)["extra"] = 1 }, protocol.CodeKeystoreInvalid},
	} {
		w.files = copyFiles(t, clean)
		raw, err := w.files.Read(t.Context(), "keystore.json")
		must(t, err)
		var doc map[string]any
		must(t, json.Unmarshal(raw, &doc))
		c.change(doc)
		raw, err = json.Marshal(doc)
		must(t, err)
		must(t, w.files.Write(t.Context(), "keystore.json", raw))
		if err := w.use(right); protocol.CodeOf(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	w.files = clean
	must(t, w.use(right))
}

// What cannot be written stops the try: it would not be known again.
func TestATryThatCannotBeNotedIsNotMade(t *testing.T) {
	w := assisted(t)
	if err := w.useOn(&readOnly{w.files}, right); err == nil {
		t.Fatal("unlocked")
	}
	if len(w.calls) != 0 {
		t.Errorf("calls %v", w.calls)
	}
}

// The reissue of a certificate to another phone destroys the old one's share.
func TestTheOldPhoneCannotUnlockAfterAReissue(t *testing.T) {
	w := assisted(t)
	must(t, w.use(right))
	w.destroy()
	wantCode(t, w.use(right), protocol.CodeKeystoreGone)
	wantCode(t, w.open().ResetPassword(t.Context(), w.token(), []byte("another-password")), protocol.CodeKeystoreGone)
}

func (w *world) destroy() {
	w.t.Helper()
	must(w.t, w.db.Update(w.t.Context(), func(tx *sql.Tx) error {
		return w.service.DestroyForDevice(w.t.Context(), tx, w.Device(), "reissue")
	}))
}
