package assist

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/ca/realname"
	"github.com/bidseal/bidseal/internal/sqldb"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
)

const testURL = "https://ca.example"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, want protocol.Code) {
	t.Helper()
	if err == nil || protocol.CodeOf(err) != want {
		t.Fatalf("got %v, want %s", err, want)
	}
}

// world is a server with what surrounds it.
type world struct {
	*Service
	t        testing.TB
	source   sqldb.Source
	db       *sqldb.DB
	kek      []byte
	realName *sm2.PrivateKey

	mu      sync.Mutex
	now     time.Time
	devices map[string]*Device
	blocked map[string]bool
	events  []Event
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, source: testDatabase(t), kek: random(t, KEKSize), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		devices: map[string]*Device{}, blocked: map[string]bool{}}
	var err error
	w.db, err = sqldb.Open(t.Context(), w.source)
	must(t, err)
	t.Cleanup(func() { must(t, w.db.Close()) })
	must(t, w.db.Migrate(t.Context(), "assist", Migrations()))
	w.realName, err = sm2.GenerateKey(rand.Reader)
	must(t, err)
	w.Service = w.open(w.kek)
	return w
}

// open makes another server over the same database, as another process would.
func (w *world) open(kek []byte) *Service {
	w.t.Helper()
	s, err := New(Options{DB: w.db, KEK: kek, Device: w.device, Audit: w.audit, URL: testURL, RealName: []crypto.PublicKey{w.realName.Public()}, Now: w.clock})
	must(w.t, err)
	return s
}

func random(t testing.TB, n int) []byte {
	t.Helper()
	b, err := protocol.Random(n)
	must(t, err)
	return b
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) add(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) device(_ context.Context, _ Querier, id string) (*Device, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.devices[id]
	switch {
	case d == nil:
		return nil, fmt.Errorf("device: %w", sql.ErrNoRows)
	case w.blocked[id]:
		return nil, protocol.Errorf(protocol.CodeForbidden, "blocked")
	}
	return d, nil
}

func (w *world) audit(_ context.Context, _ Querier, e Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
	return nil
}

// heard are the names of the events so far.
func (w *world) heard() []EventName {
	w.mu.Lock()
	defer w.mu.Unlock()
	var names []EventName
	for _, e := range w.events {
		names = append(names, e.Name)
	}
	return names
}

func (w *world) count(query string, args ...any) int {
	w.t.Helper()
	var n int
	must(w.t, w.db.Reader().QueryRowContext(w.t.Context(), query, args...).Scan(&n))
	return n
}

// exec changes the database behind the server's back.
func (w *world) exec(query string, args ...any) error {
	w.t.Helper()
	return w.db.Update(w.t.Context(), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(w.t.Context(), query, args...)
		return err
	})
}

// phone is a device with one keystore whose "slot" is a digest of password and
// function value: opening it is knowing the data key.
type phone struct {
	w        *world
	key      *ecdsa.PrivateKey
	id       string
	keystore []byte

	epoch     int64
	serverKey []byte
	slot      []byte // check value
	masked    []byte // data key under the slot's key
}

func (w *world) phone() *phone {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(w.t, err)
	spki, err := protocol.MarshalKey(&key.PublicKey)
	must(w.t, err)
	p := &phone{w: w, key: key, id: protocol.DeviceID(spki), keystore: random(w.t, assistapi.IDSize)}
	w.mu.Lock()
	w.devices[p.id] = &Device{Account: "account-" + p.id[:6], Key: spki}
	w.mu.Unlock()
	return p
}

// call signs a body as the device.
func (p *phone) call(path string, body any) Call {
	p.w.t.Helper()
	raw, err := protocol.EncodeJSON(body)
	must(p.w.t, err)
	proof, err := protocol.NewProof(p.key, "", protocol.Call{Method: "POST", URL: testURL + path, Body: raw}, p.w.clock())
	must(p.w.t, err)
	return Call{Path: path, Body: raw, Proof: proof}
}

// try is one attempt whose answer is still to come.
type try struct {
	blinding *assistapi.Blinding
	stretch  []byte
	body     assistapi.EvaluateRequest
}

func stretched(password string) []byte { d := sha256.Sum256([]byte(password)); return d[:] }

func (p *phone) try(password string) *try { return p.tryEpoch(p.epoch, p.serverKey, password) }

func (p *phone) tryEpoch(epoch int64, serverKey []byte, password string) *try {
	p.w.t.Helper()
	t := &try{stretch: stretched(password)}
	var err error
	t.blinding, err = assistapi.Blind(assistapi.Suite, serverKey, assistapi.Input(p.keystore, epoch, t.stretch), random(p.w.t, 64))
	must(p.w.t, err)
	t.body = assistapi.EvaluateRequest{V: 1, Device: p.id, Keystore: p.keystore, Epoch: epoch, Attempt: random(p.w.t, 16), Blinded: t.blinding.Blinded}
	must(p.w.t, t.body.Sign(p.key))
	return t
}

func (p *phone) send(t *try) (*assistapi.EvaluateAnswer, error) {
	return p.w.Evaluate(p.w.t.Context(), p.call(assistapi.PathEvaluate, t.body))
}

// slotKey is what the slot is under.
func (p *phone) slotKey(t *try, a *assistapi.EvaluateAnswer) []byte {
	p.w.t.Helper()
	value, err := t.blinding.Finalize(a.Evaluated, a.Proof)
	must(p.w.t, err)
	d := sha256.Sum256(append(append([]byte{}, t.stretch...), value...))
	return d[:]
}

// open is one whole try; dataKey is nil where the password is wrong.
func (p *phone) open(password string) (dataKey []byte, t *try, err error) {
	t = p.try(password)
	a, err := p.send(t)
	if err != nil {
		return nil, t, err
	}
	key := p.slotKey(t, a)
	if check := sha256.Sum256(key); !bytes.Equal(check[:], p.slot) {
		return nil, t, nil
	}
	return xor(key, p.masked), t, nil
}

func xor(a, b []byte) []byte {
	out := make([]byte, len(b))
	for i := range b {
		out[i] = a[i] ^ b[i]
	}
	return out
}

func (p *phone) proof(dataKey []byte, epoch int64, attempt []byte) assistapi.ProveRequest {
	p.w.t.Helper()
	key, err := assistapi.ProofKey(p.keystore, dataKey)
	must(p.w.t, err)
	sig, err := key.Sign(nil, assistapi.ProveMessage(p.keystore, epoch, attempt), crypto.Hash(0))
	must(p.w.t, err)
	return assistapi.ProveRequest{V: 1, Device: p.id, Keystore: p.keystore, Epoch: epoch, Attempt: attempt, Signature: sig}
}

func (p *phone) prove(dataKey []byte, t *try) error {
	_, err := p.w.Prove(p.w.t.Context(), p.call(assistapi.PathProve, p.proof(dataKey, t.body.Epoch, t.body.Attempt)))
	return err
}

// beginBody makes a begin, authorised where dataKey is that of the active epoch.
func (p *phone) beginBody(dataKey, next []byte) (assistapi.BeginRequest, *sm2.PrivateKey) {
	p.w.t.Helper()
	ephemeral, err := sm2.GenerateKey(rand.Reader)
	must(p.w.t, err)
	point, err := assistapi.Point(&ephemeral.PublicKey)
	must(p.w.t, err)
	proofKey, err := assistapi.ProofKey(p.keystore, next)
	must(p.w.t, err)
	r := assistapi.BeginRequest{V: 1, Device: p.id, Keystore: p.keystore, Begin: random(p.w.t, 16), ProofKey: protocol.Bytes(proofKey.Public().(ed25519.PublicKey)), Ephemeral: point}
	if dataKey != nil {
		old, err := assistapi.ProofKey(p.keystore, dataKey)
		must(p.w.t, err)
		r.Authorisation, err = old.Sign(nil, assistapi.BeginMessage(&r), crypto.Hash(0))
		must(p.w.t, err)
	}
	return r, ephemeral
}

// set begins an epoch under a password, without confirming it. It returns what
// the confirmation needs.
func (p *phone) set(dataKey []byte, password string) (next []byte, t *try, share []byte) {
	p.w.t.Helper()
	next = random(p.w.t, 16)
	body, ephemeral := p.beginBody(dataKey, next)
	b, err := p.w.Begin(p.w.t.Context(), p.call(assistapi.PathBegin, body))
	must(p.w.t, err)
	share, err = assistapi.OpenShare(ephemeral, b.Share, p.keystore, b.Epoch)
	must(p.w.t, err)
	t = p.tryEpoch(b.Epoch, b.ServerKey, password)
	a, err := p.send(t)
	must(p.w.t, err)
	key := p.slotKey(t, a)
	check := sha256.Sum256(key)
	p.epoch, p.serverKey, p.slot, p.masked = b.Epoch, b.ServerKey, check[:], xor(key, next)
	return next, t, share
}

const (
	right = "right-password"
	wrong = "wrong-password"
)

// enrolled is a phone with a confirmed password.
func (w *world) enrolled() (p *phone, dataKey []byte) {
	w.t.Helper()
	p = w.phone()
	dataKey, t, _ := p.set(nil, right)
	must(w.t, p.prove(dataKey, t))
	return p, dataKey
}

// failures are what the server counts against a phone's keystore.
func (p *phone) failures() int {
	p.w.t.Helper()
	return p.w.count(`SELECT counted - forgiven FROM assist_keystores WHERE device = $1 AND keystore = $2`, p.id, text(p.keystore))
}

func (p *phone) token(change ...func(*realname.Token)) string {
	p.w.t.Helper()
	token := realname.Token{Purpose: realname.PasswordReset, Account: "account-" + p.id[:6], Device: p.id, Person: realname.Person([]byte("secret"), "张三", "110101199003070037")}
	for _, c := range change {
		c(&token)
	}
	text, err := realname.Issue(p.w.realName, token, p.w.clock())
	must(p.w.t, err)
	return text
}

func (w *world) heardOnce(t *testing.T, name EventName) {
	t.Helper()
	all := w.heard()
	if i := slices.Index(all, name); i < 0 || slices.Contains(all[i+1:], name) {
		t.Errorf("%s was not said once: %v", name, all)
	}
}
