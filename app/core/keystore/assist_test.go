package keystore_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bidseal/bidseal/app/core/keys"
	"github.com/bidseal/bidseal/app/core/keystore"
	"github.com/bidseal/bidseal/app/core/storage"
	"github.com/bidseal/bidseal/ca/assist"
	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/ca/realname"
	"github.com/bidseal/bidseal/internal/sqldb"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
)

const assistURL = "https://ca.example"

// world is a password server with one phone. It is the phone's keys.Assist.
type world struct {
	t        testing.TB
	db       *sqldb.DB
	kek      []byte
	service  *assist.Service
	realName *sm2.PrivateKey
	device   *ecdsa.PrivateKey
	secret   []byte // of the device
	files    storage.Files

	mu     sync.Mutex
	now    time.Time
	ready  bool
	calls  []string
	bodies [][]byte
	failed []error
	// intercept may answer instead of the server, or lose the answer.
	intercept func(path string, body []byte, serve func() ([]byte, error)) ([]byte, error)
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, files: storage.NewMemory(), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), ready: true}
	var err error
	w.db, err = sqldb.Open(t.Context(), sqldb.Source{Location: filepath.Join(t.TempDir(), "assist.db")})
	must(t, err)
	t.Cleanup(func() { must(t, w.db.Close()) })
	must(t, w.db.Migrate(t.Context(), "assist", assist.Migrations()))
	w.kek, err = protocol.Random(assist.KEKSize)
	must(t, err)
	w.secret, err = protocol.Random(32)
	must(t, err)
	w.realName, err = sm2.GenerateKey(rand.Reader)
	must(t, err)
	w.device, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	w.service = w.serve(w.kek)
	return w
}

func (w *world) serve(kek []byte) *assist.Service {
	w.t.Helper()
	s, err := assist.New(assist.Options{
		DB: w.db, KEK: kek, URL: assistURL, Now: w.clock, RealName: []crypto.PublicKey{w.realName.Public()},
		Device: func(_ context.Context, _ assist.Querier, id string) (*assist.Device, error) {
			if id != w.Device() {
				return nil, protocol.Errorf(protocol.CodeUnauthorized, "unknown")
			}
			return &assist.Device{Account: "account", Key: w.spki()}, nil
		},
		Audit: func(context.Context, assist.Querier, assist.Event) error { return nil },
	})
	must(w.t, err)
	return s
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) spki() []byte {
	w.t.Helper()
	spki, err := protocol.MarshalKey(&w.device.PublicKey)
	must(w.t, err)
	return spki
}

// Device implements keys.Assist.
func (w *world) Device() string { return protocol.DeviceID(w.spki()) }

// SignTry implements keys.Assist.
func (w *world) SignTry(r *assistapi.EvaluateRequest) error { return r.Sign(w.device) }

// Secret implements keys.Assist.
func (w *world) Secret(_ context.Context, use string) ([]byte, error) {
	return protocol.H(w.secret, []byte(use)), nil
}

// Ready implements keys.Assist.
func (w *world) Ready(context.Context) bool { return w.ready }

// Failed implements keys.Assist.
func (w *world) Failed(_ string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = append(w.failed, err)
}

// Call implements keys.Assist.
func (w *world) Call(ctx context.Context, path string, body []byte) ([]byte, error) {
	w.mu.Lock()
	w.calls, w.bodies = append(w.calls, strings.TrimPrefix(path, "/v1/assist/")), append(w.bodies, body)
	intercept := w.intercept
	w.mu.Unlock()
	serve := func() ([]byte, error) { return w.direct(ctx, path, body) }
	if intercept != nil {
		return intercept(path, body, serve)
	}
	return serve()
}

// direct hands a call to the server.
func (w *world) direct(ctx context.Context, path string, body []byte) ([]byte, error) {
	proof, err := protocol.NewProof(w.device, "", protocol.Call{Method: "POST", URL: assistURL + path, Body: body}, w.clock())
	if err != nil {
		return nil, err
	}
	c := assist.Call{Path: path, Body: body, Proof: proof}
	var answer any
	switch path {
	case assistapi.PathBegin:
		answer, err = w.service.Begin(ctx, c)
	case assistapi.PathEvaluate:
		answer, err = w.service.Evaluate(ctx, c)
	case assistapi.PathProve:
		answer, err = w.service.Prove(ctx, c)
	case assistapi.PathReset:
		answer, err = w.service.Reset(ctx, c)
	}
	if err != nil {
		return nil, err
	}
	return protocol.EncodeJSON(answer)
}

// open is the phone's program, started anew.
func (w *world) open() *keystore.Store { return w.openOn(w.files) }

func (w *world) openOn(files storage.Files) *keystore.Store {
	w.t.Helper()
	s := open(w.t, files)
	s.UseAssist(w)
	return s
}

func (w *world) use(password string) error {
	w.t.Helper()
	return w.useOn(w.files, password)
}

func (w *world) useOn(files storage.Files, password string) error {
	w.t.Helper()
	return w.openOn(files).Use(w.t.Context(), []byte(password), func(keys.Signer) error { return nil })
}

func (w *world) token() string {
	w.t.Helper()
	text, err := realname.Issue(w.realName, realname.Token{Purpose: realname.PasswordReset, Account: "account", Device: w.Device(), Person: make([]byte, 32)}, w.clock())
	must(w.t, err)
	return text
}

// failures are what the server counts.
func (w *world) failures() (n int) {
	w.t.Helper()
	must(w.t, w.db.Reader().QueryRowContext(w.t.Context(), `SELECT counted - forgiven FROM assist_keystores`).Scan(&n))
	return n
}

func (w *world) slots() []string {
	w.t.Helper()
	raw, err := w.files.Read(w.t.Context(), "keystore.json")
	must(w.t, err)
	var doc struct {
		Slots []struct {
			Type string `json:"type"`
		} `json:"slots"`
	}
	must(w.t, json.Unmarshal(raw, &doc))
	var types []string
	for _, s := range doc.Slots {
		types = append(types, s.Type)
	}
	return types
}

// assisted is a phone with a pair of certificates under the server's help.
func assisted(t testing.TB) *world {
	t.Helper()
	w := newWorld(t)
	pair(t, open(t, w.files), "r1", 10)
	must(t, w.open().Upgrade(t.Context(), []byte(right)))
	w.calls, w.bodies = nil, nil
	return w
}

var errAway = protocol.Errorf(protocol.CodeNetwork, "connection reset")

// lose carries calls to the server and loses the answers.
func lose(_ string, _ []byte, serve func() ([]byte, error)) ([]byte, error) {
	_, err := serve()
	if err != nil {
		return nil, err
	}
	return nil, errAway
}

func away(string, []byte, func() ([]byte, error)) ([]byte, error) { return nil, errAway }

func copyFiles(t testing.TB, from storage.Files) storage.Files {
	t.Helper()
	to := storage.NewMemory()
	names, err := from.List(t.Context(), "")
	must(t, err)
	for _, name := range names {
		raw, err := from.Read(t.Context(), name)
		must(t, err)
		must(t, to.Write(t.Context(), name, raw))
	}
	return to
}

func TestAssistedSign(t *testing.T) {
	w := newWorld(t)
	g := pair(t, w.openWithoutServer(), "r1", 10)
	must(t, w.open().Upgrade(t.Context(), []byte(right)))
	if got := strings.Join(w.slots(), " "); got != "password+voprf reset-share" {
		t.Fatalf("slots %s", got)
	}
	w.calls = nil
	m := statement(t)
	must(t, w.open().Use(t.Context(), []byte(right), func(s keys.Signer) error {
		_, err := s.Sign(keys.CertificateID(g.Sign[0]), m)
		return err
	}))
	if got := strings.Join(w.calls, " "); got != "evaluate prove" {
		t.Errorf("calls %s", got)
	}
	wantCode(t, w.use(wrong), protocol.CodePasswordWrong)
	if left, err := w.open().TriesLeft(t.Context()); err != nil || left != assistapi.MaxTries-1 {
		t.Errorf("%d left, %v", left, err)
	}
	must(t, w.use(right))
	if left, err := w.open().TriesLeft(t.Context()); err != nil || left != assistapi.MaxTries || w.failures() != 0 {
		t.Errorf("%d left, %v; the server counts %d", left, err, w.failures())
	}
	h := pair(t, w.open(), "r2", 20) // more keys come under the same data key
	must(t, w.open().Use(t.Context(), []byte(right), func(s keys.Signer) error {
		_, err := s.Sign(keys.CertificateID(h.Sign[0]), m)
		return err
	}))
}

// openWithoutServer is a program that was built before the server.
func (w *world) openWithoutServer() *keystore.Store { return open(w.t, w.files) }

// Files without it are upgraded at the next unlocking when the server is reachable.
func TestFilesWithoutItAreUpgraded(t *testing.T) {
	w := newWorld(t)
	pair(t, w.openWithoutServer(), "r1", 10)
	w.ready = false
	must(t, w.use(right))
	w.ready = true
	w.intercept = away
	must(t, w.use(right)) // what was done with the keys does not fail for it
	if len(w.failed) != 1 || w.slots()[0] != "password" {
		t.Fatalf("%v, slots %v", w.failed, w.slots())
	}
	w.intercept = nil
	must(t, w.use(right))
	if got := strings.Join(w.slots(), " "); got != "password+voprf reset-share" {
		t.Fatalf("slots %s", got)
	}
	must(t, w.use(right))
	wantCode(t, w.use(wrong), protocol.CodePasswordWrong)
	if w.failures() != 1 {
		t.Errorf("the server counts %d", w.failures())
	}
}

// The old file's data key opens nothing of what the new file holds.
func TestUpgradeDrawsANewDataKey(t *testing.T) {
	w := newWorld(t)
	pair(t, w.openWithoutServer(), "r1", 10)
	before := wrappedKeys(t, w.files)
	must(t, w.use(right))
	for i, wrapped := range wrappedKeys(t, w.files) {
		if wrapped == before[i] {
			t.Errorf("key %d was not wrapped anew", i)
		}
	}
}

func wrappedKeys(t testing.TB, files storage.Files) (out []string) {
	t.Helper()
	raw, err := files.Read(t.Context(), "keystore.json")
	must(t, err)
	var doc struct {
		Keys []struct {
			Wrapped string `json:"wrapped"`
		} `json:"keys"`
	}
	must(t, json.Unmarshal(raw, &doc))
	for _, k := range doc.Keys {
		out = append(out, k.Wrapped)
	}
	return out
}

func TestOfflineIsSaidPlainly(t *testing.T) {
	w := assisted(t)
	w.intercept = away
	wantCode(t, w.use(right), protocol.CodePasswordOffline)
	err := open(t, w.files).Use(t.Context(), []byte(right), func(keys.Signer) error { return nil })
	wantCode(t, err, protocol.CodePasswordOffline)
	if w.failures() != 0 {
		t.Errorf("the server counts %d", w.failures())
	}
	w.intercept = nil
	must(t, w.use(right))
}

// Lost answers do not lock out a right password: across restarts of the program
// the same password makes the same try.
func TestLostAnswersDoNotLockOut(t *testing.T) {
	w := assisted(t)
	w.intercept = lose
	for range 2 * assistapi.MaxTries {
		wantCode(t, w.use(right), protocol.CodePasswordOffline)
	}
	if w.failures() != 1 {
		t.Errorf("the server counts %d", w.failures())
	}
	w.intercept = nil
	must(t, w.use(right))
	if w.failures() != 0 {
		t.Errorf("the server counts %d after a success", w.failures())
	}
}

// Another password after a lost answer is one more try, not the same.
func TestLostAnswerThenAnotherPassword(t *testing.T) {
	w := assisted(t)
	w.intercept = lose
	wantCode(t, w.use(right), protocol.CodePasswordOffline)
	w.intercept = nil
	wantCode(t, w.use(wrong), protocol.CodePasswordWrong)
	if w.failures() != 2 {
		t.Errorf("the server counts %d", w.failures())
	}
	must(t, w.use(right))
}

// A success that could not be told is told before the next try.
func TestSuccessIsProvedLate(t *testing.T) {
	w := assisted(t)
	for i := range 3 * assistapi.MaxTries {
		w.intercept = func(path string, body []byte, serve func() ([]byte, error)) ([]byte, error) {
			if path == assistapi.PathProve {
				return nil, errAway
			}
			return serve()
		}
		must(t, w.use(right))
		if want := min(i, 1) + 1; w.failures() != want { // the wrong one before, and this
			t.Fatalf("the server counts %d, want %d", w.failures(), want)
		}
		w.intercept = nil
		w.now = w.now.Add(time.Hour)
		wantCode(t, w.use(wrong), protocol.CodePasswordWrong)
		if w.failures() != 1 {
			t.Fatalf("the server counts %d after one wrong password", w.failures())
		}
	}
}

func TestAssistedLock(t *testing.T) {
	w := assisted(t)
	for i := range assistapi.MaxTries - 1 {
		wantCode(t, w.use(wrong), protocol.CodePasswordWrong)
		if left, err := w.open().TriesLeft(t.Context()); err != nil || left != assistapi.MaxTries-1-i {
			t.Fatalf("%d left, %v", left, err)
		}
	}
	wantCode(t, w.use(wrong), protocol.CodePasswordLocked)
	wantCode(t, w.use(right), protocol.CodePasswordLocked)
	wantCode(t, w.open().ChangePassword(t.Context(), []byte(right), []byte("another-password")), protocol.CodePasswordLocked)
}

func TestTheTenthTryMayBeRight(t *testing.T) {
	w := assisted(t)
	for range assistapi.MaxTries - 1 {
		wantCode(t, w.use(wrong), protocol.CodePasswordWrong)
	}
	must(t, w.use(right))
	wantCode(t, w.use(wrong), protocol.CodePasswordWrong)
}

func TestChangePassword(t *testing.T) {
	w := assisted(t)
	const next = "another-password"
	wantCode(t, w.open().ChangePassword(t.Context(), []byte(wrong), []byte(next)), protocol.CodePasswordWrong)
	wantCode(t, w.open().ChangePassword(t.Context(), []byte(right), []byte("short")), protocol.CodePasswordWeak)
	old := copyFiles(t, w.files)
	must(t, w.open().ChangePassword(t.Context(), []byte(right), []byte(next)))
	must(t, w.use(next))
	wantCode(t, w.use(right), protocol.CodePasswordWrong)
	// a rolled back file gains nothing: its epoch is gone, right password or not
	wantCode(t, w.useOn(old, right), protocol.CodeKeystoreGone)
}

func TestChangePasswordWithoutServer(t *testing.T) {
	files := storage.NewMemory()
	s := open(t, files)
	pair(t, s, "r1", 10)
	const next = "another-password"
	must(t, s.ChangePassword(t.Context(), []byte(right), []byte(next)))
	must(t, s.Use(t.Context(), []byte(next), func(keys.Signer) error { return nil }))
	wantCode(t, s.Use(t.Context(), []byte(right), func(keys.Signer) error { return nil }), protocol.CodePasswordWrong)
}
