package ca_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/internal/sqldb"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

const (
	testBase       = "http://ca.example"
	testPassphrase = "a passphrase for tests"

	databaseFile = "ca.db"
	issuingName  = "issuing-1"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// testClock is the time that tests set.
type testClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// fixture is an authority's folder with its clock and log.
type fixture struct {
	*ca.Authority
	dir   string
	clock *testClock
	log   *lockedBuffer
	// keys are what the folder gave when it was opened.
	keys folder.Opened
	// beside is the database, opened once more.
	beside *sqldb.DB
	once   sync.Once
	// tampered says that the test changed the database by itself.
	tampered bool
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) Bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.buf.Bytes())
}

func fastKDF() folder.KDF { return folder.KDF{Time: 1, MemoryKiB: 8, Threads: 1} }

func newFixture(t testing.TB, change ...func(*folder.Config)) *fixture {
	t.Helper()
	f := &fixture{dir: filepath.Join(t.TempDir(), "ca"), clock: &testClock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}, log: new(lockedBuffer)}
	config := folder.DefaultConfig()
	config.DocumentationOIDs = true
	config.BaseURL, config.Database = testBase, testDatabase(t)
	for _, c := range change {
		c(&config)
	}
	_, err := folder.Init(t.Context(), folder.Ceremony{Dir: f.dir, Config: config, Passphrase: []byte(testPassphrase), KDF: fastKDF(), Now: f.clock.Now})
	must(t, err)
	f.Authority = f.openWith(t, ca.Options{}, ca.Seams{Opened: func(o *folder.Opened) { f.keys = *o }})
	f.verifyAtEnd(t)
	return f
}

func (f *fixture) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// database is the authority's, as somebody reaches it who goes past the authority.
func (f *fixture) database(t testing.TB) *sqldb.DB {
	t.Helper()
	f.once.Do(func() {
		source := sqldb.Source{Location: filepath.Join(f.dir, databaseFile)}
		if config := f.Folder.Config(); config.Database.URL != "" {
			source = sqldb.Source{Location: config.Database.URL, Component: folder.Component}
		}
		var err error
		f.beside, err = sqldb.Open(context.WithoutCancel(t.Context()), source)
		must(t, err)
		t.Cleanup(func() { must(t, f.beside.Close()) })
	})
	return f.beside
}

// open opens the folder once more, as another process would.
func (f *fixture) open(t testing.TB) *ca.Authority {
	t.Helper()
	return f.openWith(t, ca.Options{}, ca.Seams{})
}

// openWith is open with further options, and with seams.
func (f *fixture) openWith(t testing.TB, o ca.Options, s ca.Seams) *ca.Authority {
	t.Helper()
	o.Passphrase, o.Now, o.Logger = []byte(testPassphrase), f.clock.Now, f.logger()
	a, err := ca.OpenWith(t.Context(), f.dir, o, s)
	must(t, err)
	t.Cleanup(func() { must(t, a.Close()) })
	return a
}

// phone is somebody who enrols.
type phone struct {
	signing *sm2.PrivateKey
	device  *ecdsa.PrivateKey
	body    []byte
	clock   *testClock
}

func newPhone(t testing.TB, clock *testClock, code string) *phone {
	t.Helper()
	signing, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	device, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	p := &phone{signing: signing, device: device, clock: clock}
	id, err := protocol.Random(caapi.RequestIDSize)
	must(t, err)
	p.write(t, id, code)
	return p
}

// write makes the request with a new PKCS#10.
func (p *phone) write(t testing.TB, id []byte, code string) {
	t.Helper()
	csr, err := smx509.CreateCertificateRequest(rand.Reader, &smx509.CertificateRequest{}, p.signing)
	must(t, err)
	spki, err := protocol.MarshalKey(p.device.Public())
	must(t, err)
	p.body, err = protocol.EncodeJSON(caapi.EnrolRequest{V: caapi.Version, RequestID: id, Code: code, CSR: csr, DeviceKey: spki})
	must(t, err)
}

func (p *phone) request(t testing.TB) caapi.EnrolRequest {
	t.Helper()
	var r caapi.EnrolRequest
	must(t, protocol.DecodeJSON(p.body, &r))
	return r
}

// call signs the request as it stands.
func (p *phone) call(t testing.TB) life.SignedCall {
	t.Helper()
	return signedCall(t, p.device, "", caapi.PathEnrol, p.body, p.clock.Now())
}

func signedCall(t testing.TB, key crypto.Signer, pass, path string, body []byte, now time.Time) life.SignedCall {
	t.Helper()
	proof, err := protocol.NewProof(key, pass, protocol.Call{Method: http.MethodPost, URL: testBase + path, Body: body}, now)
	must(t, err)
	return life.SignedCall{Path: path, Body: body, Pass: pass, Proof: proof}
}

func (f *fixture) code(t testing.TB, validity time.Duration) string {
	t.Helper()
	file, err := f.Life.NewEnrolmentCode(t.Context(), audit.Local(""), life.CodeRequest{Subject: adminSubject(), Validity: validity})
	must(t, err)
	return file.Code
}

func adminSubject() caapi.Subject {
	return caapi.Subject{Kind: "organisation", Name: "张三", Organisation: "示例建设有限公司", CreditCode: "91330100MA27XL0G0X", Role: "admin"}
}

// enrolled is a phone with its answer.
type enrolled struct {
	*phone
	answer     caapi.EnrolAnswer
	raw        []byte
	sign, encr *smx509.Certificate
	key        *sm2.PrivateKey
}

func (f *fixture) enrol(t testing.TB) *enrolled {
	t.Helper()
	p := newPhone(t, f.clock, f.code(t, 0))
	raw, err := f.Life.Enrol(t.Context(), p.call(t))
	must(t, err)
	return p.read(t, raw)
}

func (p *phone) read(t testing.TB, raw []byte) *enrolled {
	t.Helper()
	e := &enrolled{phone: p, raw: raw}
	must(t, protocol.DecodeJSON(raw, &e.answer))
	response, err := smx509.ParseCSRResponse(p.signing, e.answer.Response)
	must(t, err)
	e.sign, e.encr, e.key = response.SignCerts[0], response.EncryptCerts[0], response.EncryptPrivateKey
	return e
}

// refusedWith fails unless err carries the code.
func refusedWith(t testing.TB, err error, code protocol.Code) {
	t.Helper()
	if protocol.CodeOf(err) != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

func (f *fixture) count(t testing.TB, query string) int {
	t.Helper()
	var n int
	must(t, f.database(t).Reader().QueryRowContext(t.Context(), query).Scan(&n))
	return n
}
