//go:build unix

package ca_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/realname"
	"github.com/bidseal/bidseal/ca/registry"
	"github.com/bidseal/bidseal/ca/server"
	"github.com/bidseal/bidseal/internal/sqldb"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/bidseal/bidseal/trust/timestamp"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// run is one whole life of an authority behind its HTTP server, with everything written down.
type run struct {
	*fixture
	t      *testing.T
	server *httptest.Server
	*exposure

	mu                  sync.Mutex
	requests, responses bytes.Buffer
}

func newRun(t *testing.T) *run {
	t.Helper()
	r := &run{fixture: newFixture(t, func(c *folder.Config) { c.Database = folder.Database{} }), t: t, exposure: newExposure()}
	r.tampered = true // tables are made to show that the search sees them
	handler := ca.NewHandler(r.Authority, server.Options{})
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) { r.capture(handler, w, request) }))
	t.Cleanup(r.server.Close)
	r.secrets["passphrase"] = []byte(testPassphrase)
	return r
}

// capture keeps both directions of a call, head and body.
func (r *run) capture(handler http.Handler, w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		r.t.Error(err)
	}
	request.Body = io.NopCloser(bytes.NewReader(body))
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, request)
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(&r.requests, "%s %s\n%v\n%s\n", request.Method, request.URL, request.Header, body)
	fmt.Fprintf(&r.responses, "%d\n%v\n%s\n", answer.Code, answer.Header(), answer.Body.Bytes())
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	if _, err := w.Write(answer.Body.Bytes()); err != nil {
		r.t.Error(err)
	}
}

// call makes a call over HTTP and wants a status.
func (r *run) call(method, path string, header http.Header, body []byte, status int) []byte {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, r.server.URL+path, bytes.NewReader(body))
	must(r.t, err)
	for name, values := range header {
		request.Header[name] = values
	}
	response, err := r.server.Client().Do(request)
	must(r.t, err)
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	must(r.t, err)
	if response.StatusCode != status {
		r.t.Fatalf("%s %s: %s\n%s", method, path, response.Status, raw)
	}
	return raw
}

func (r *run) post(c life.SignedCall, status int) []byte {
	r.t.Helper()
	header := http.Header{"Content-Type": {"application/json"}, http.CanonicalHeaderKey(protocol.HeaderProof): {c.Proof}}
	if c.Pass != "" {
		header[http.CanonicalHeaderKey(protocol.HeaderPass)] = []string{c.Pass}
	}
	return r.call(http.MethodPost, c.Path, header, c.Body, status)
}

// holder notes what only a phone knows.
func (r *run) holder(name string, p *phone) {
	r.keepKey(r.t, name+"'s signing key", p.signing)
	r.keepKey(r.t, name+"'s device key", p.device)
	r.tell(name+"'s code", []byte(p.request(r.t).Code))
}

// tell notes a secret that a phone sends.
func (r *run) tell(name string, secret []byte) { r.secrets[name], r.sent[name] = secret, true }

// enrolment brings a phone's request over HTTP and notes the key that comes back.
func (r *run) enrolment(name string, p *phone) *enrolled {
	r.t.Helper()
	r.holder(name, p)
	e := p.read(r.t, r.post(p.call(r.t), http.StatusOK))
	r.keepKey(r.t, name+"'s encryption key", e.key)
	return e
}

// life goes through everything that the authority does with keys.
func (r *run) life() {
	t := r.t
	first := r.enrolment("first", newPhone(t, r.clock, r.code(t, 0)))
	r.post(newPhone(t, r.clock, first.request(t).Code).call(t), http.StatusForbidden) // a used code
	r.untilRenewal(first)
	renewed := r.enrolment("renewed", first.next(t, r.renewal(t, first, 2)))
	changed := r.enrolment("changed", renewed.next(t, r.change(t, renewed)))
	rekeyed := r.enrolment("rekeyed", changed.next(t, r.reissue(t, changed, func(i *life.Reissue) { i.NewEncryptionKey = true })))
	last := r.enrolment("reissued", rekeyed.next(t, r.reissue(t, rekeyed)))
	r.post(signedCall(t, last.device, last.answer.Pass, caapi.PathPass, []byte(`{"v":1}`), r.clock.Now()), http.StatusOK)
	r.password(last)
	_, err := r.Life.Hold(t.Context(), audit.Local(""), life.Hold{Serial: last.serial()})
	must(t, err)
	_, err = r.Life.Resume(t.Context(), audit.Local(""), life.Hold{Serial: last.serial()})
	must(t, err)
	r.status(last)
	_, err = r.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Serial: last.serial(), Reason: trust.KeyCompromise})
	must(t, err)
	r.status(last)
	r.recovery(last)
	r.published()
	r.stamp()
	r.panics()
	r.backup()
}

// recovery has two operators recover a holder's key over HTTP.
func (r *run) recovery(e *enrolled) {
	t := r.t
	first, second := r.addOperator(t, "王恢复", registry.RoleRecovery), r.addOperator(t, "李恢复", registry.RoleRecovery)
	r.keepKey(t, "first operator's key", first.key)
	r.keepKey(t, "second operator's key", second.key)
	recipient, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	r.keepKey(t, "recipient's key", recipient)
	to, err := protocol.MarshalKey(recipient.Public())
	must(t, err)
	ask := func(o *operatorDesk, path string, v any) (info caapi.RecoveryInfo) {
		request, body := o.signed(t, http.MethodPost, path, v)
		must(t, protocol.DecodeJSON(r.call(http.MethodPost, path, request.Header, body, http.StatusOK), &info))
		return info
	}
	asked := ask(first, caapi.PathOperatorRecoveries, caapi.RecoveryRequest{
		V: 1, RequestID: requestID(t), Serial: trust.SerialHex(e.encr.SerialNumber), To: to, Reason: "order of the court",
	})
	released := ask(second, caapi.PathOperatorRecoveries+"/"+asked.ID+"/approve", caapi.Decision{V: 1, Digest: asked.Digest})
	key, err := sm2.ParseEnvelopedPrivateKey(recipient, released.Enveloped)
	must(t, err)
	if !key.Equal(e.key) {
		t.Error("another key was recovered")
	}
}

// stamp gets a timestamp over HTTP.
func (r *run) stamp() {
	_, question, err := timestamp.NewRequest(timestamp.SumSM3([]byte("evidence")))
	must(r.t, err)
	answer := r.call(http.MethodPost, caapi.PathTimestamp, http.Header{"Content-Type": {"application/timestamp-query"}}, question, http.StatusOK)
	if _, err := timestamp.ReadResponse(answer); err != nil {
		r.t.Error(err)
	}
}

// backup makes a backup and restores it, so that what is sealed is looked into as well.
func (r *run) backup() {
	t := r.t
	passphrase := []byte("a passphrase for backups")
	r.secrets["backup's passphrase"] = passphrase
	file := filepath.Join(t.TempDir(), "ca.backup")
	_, err := r.Folder.Backup(t.Context(), folder.Backup{File: file, Passphrase: passphrase, KDF: fastKDF()})
	must(t, err)
	r.places["backup"], err = os.ReadFile(file)
	must(t, err)
	restored := filepath.Join(t.TempDir(), "restored")
	_, err = ca.Restore(t.Context(), folder.Restoration{File: file, BackupPassphrase: passphrase, Dir: restored}, ca.Options{
		Passphrase: []byte(testPassphrase), Now: r.clock.Now, Logger: slog.New(slog.NewTextHandler(r.log, nil)),
	})
	must(t, err)
	r.files("restored ", restored)
	if _, ok := r.places["restored root.key"]; ok {
		t.Error("the root's key is in the backup")
	}
}

// password goes through an epoch, a try, its proof and a reset over HTTP.
func (r *run) password(e *enrolled) {
	t := r.t
	draw := func(name string, n int) []byte {
		secret, err := protocol.Random(n)
		must(t, err)
		if name != "" {
			r.secrets[name] = secret
		}
		return secret
	}
	spki, err := protocol.MarshalKey(e.device.Public())
	must(t, err)
	device, keystore := protocol.DeviceID(spki), draw("", assistapi.IDSize)
	proofKey, err := assistapi.ProofKey(keystore, draw("data key", 32))
	must(t, err)
	r.secrets["proof key"] = proofKey.Seed()
	ephemeral := func(name string) (*sm2.PrivateKey, []byte) {
		key, err := sm2.GenerateKey(rand.Reader)
		must(t, err)
		r.keepKey(t, name, key)
		point, err := assistapi.Point(&key.PublicKey)
		must(t, err)
		return key, point
	}
	ask := func(path string, body, answer any) {
		raw, err := protocol.EncodeJSON(body)
		must(t, err)
		must(t, protocol.DecodeJSON(r.post(signedCall(t, e.device, "", path, raw, r.clock.Now()), http.StatusOK), answer))
	}
	key, point := ephemeral("ephemeral key")
	var begun assistapi.BeginAnswer
	ask(assistapi.PathBegin, assistapi.BeginRequest{
		V: 1, Device: device, Keystore: keystore, Begin: draw("", assistapi.IDSize), ProofKey: []byte(proofKey[ed25519.SeedSize:]), Ephemeral: point,
	}, &begun)
	share, err := assistapi.OpenShare(key, begun.Share, keystore, begun.Epoch)
	must(t, err)
	r.secrets["reset share"] = share

	blinding, err := assistapi.Blind(begun.Suite, begun.ServerKey, assistapi.Input(keystore, begun.Epoch, draw("stretched password", 32)), draw("seed of the blind", assistapi.SeedSize))
	must(t, err)
	try := assistapi.EvaluateRequest{V: 1, Device: device, Keystore: keystore, Epoch: begun.Epoch, Attempt: draw("", assistapi.IDSize), Blinded: blinding.Blinded}
	must(t, try.Sign(e.device))
	var evaluated assistapi.EvaluateAnswer
	ask(assistapi.PathEvaluate, try, &evaluated)
	output, err := blinding.Finalize(evaluated.Evaluated, evaluated.Proof)
	must(t, err)
	r.secrets["value of the function"] = output
	var proved assistapi.ProveAnswer
	ask(assistapi.PathProve, assistapi.ProveRequest{
		V: 1, Device: device, Keystore: keystore, Epoch: begun.Epoch, Attempt: try.Attempt, Signature: ed25519.Sign(proofKey, assistapi.ProveMessage(keystore, begun.Epoch, try.Attempt)),
	}, &proved)

	token, _, err := r.Life.RealNameToken(t.Context(), audit.Local(""), life.RealNameRequest{Purpose: realname.PasswordReset, Serial: e.serial()})
	must(t, err)
	r.tell("real-name token", []byte(token))
	key, point = ephemeral("ephemeral key of the reset")
	var reset assistapi.ResetAnswer
	ask(assistapi.PathReset, assistapi.ResetRequest{V: 1, Device: device, Keystore: keystore, Epoch: begun.Epoch, Token: token, Ephemeral: point}, &reset)
	again, err := assistapi.OpenShare(key, reset.Share, keystore, begun.Epoch)
	must(t, err)
	if !bytes.Equal(again, share) {
		t.Fatal("the reset brings another share")
	}
}

// status asks about a certificate by POST and GET.
func (r *run) status(e *enrolled) {
	question, err := trust.NewOCSPRequest(e.sign, r.Status.Current().Certificate(), nil)
	must(r.t, err)
	r.call(http.MethodPost, caapi.PathOCSP, http.Header{"Content-Type": {"application/ocsp-request"}}, question, http.StatusOK)
	r.call(http.MethodGet, caapi.PathOCSP+"/"+strings.NewReplacer("/", "%2F", "+", "%2B").Replace(base64.StdEncoding.EncodeToString(question)), nil, nil, http.StatusOK)
}

// published fetches what everybody may have.
func (r *run) published() {
	for _, path := range []string{"/crl/root.crl", "/crl/issuing-1.crl", "/certs/issuing-1.cer", caapi.PathInfo, "/healthz", "/readyz"} {
		r.call(http.MethodGet, path, nil, nil, http.StatusOK)
	}
	var export bytes.Buffer
	must(r.t, r.Audit.Export(r.t.Context(), &export))
	r.places["exported log"] = export.Bytes()
}

// panics has an issuance panic with its keys in memory: in a handler, which logs the stack, and in a process that it ends.
func (r *run) panics() {
	t := r.t
	p := newPhone(t, r.clock, r.code(t, 0))
	r.holder("panicking", p)
	r.StopWith(func(step string) error {
		if step == stepSigned {
			panic("forced by the test")
		}
		return nil
	})
	r.post(p.call(t), http.StatusInternalServerError)
	r.StopWith(nil)
	r.keepKey(t, "panicking's encryption key", p.read(t, r.post(p.call(t), http.StatusOK)).key)

	p = newPhone(t, r.clock, r.code(t, 0))
	r.holder("ended", p)
	r.places["a process that ends in a panic"] = r.endedProcess(p.call(t))
	r.keepKey(t, "ended's encryption key", p.read(t, r.post(p.call(t), http.StatusOK)).key)
}

const panicVariable = "BIDSEAL_TEST_PANIC"

// TestPanickingChild is the process that the search runs; alone it has nothing to do.
func TestPanickingChild(t *testing.T) {
	told := os.Getenv(panicVariable)
	if told == "" {
		return
	}
	var c childCall
	must(t, json.Unmarshal([]byte(told), &c))
	a, err := ca.Open(t.Context(), c.Dir, ca.Options{
		Passphrase: []byte(testPassphrase), Now: func() time.Time { return time.Unix(c.Now, 0) }, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	must(t, err)
	a.StopWith(func(step string) error {
		if step == c.Step {
			panic("forced by the test")
		}
		return nil
	})
	_, err = a.Life.Enrol(t.Context(), c.Call)
	t.Fatalf("the process outlived step %s: %v", c.Step, err)
}

// endedProcess is what a process that panics half-way prints with every goroutine's stack.
func (r *run) endedProcess(call life.SignedCall) []byte {
	t := r.t
	told, err := json.Marshal(childCall{Dir: r.dir, Step: stepSigned, Call: call, Now: r.clock.Now().Unix()})
	must(t, err)
	self, err := os.Executable()
	must(t, err)
	child := osexec.CommandContext(t.Context(), self, "-test.run=^TestPanickingChild$", "-test.count=1")
	child.Dir = filepath.Dir(r.dir)
	child.Env = append(os.Environ(), panicVariable+"="+string(told), "GOTRACEBACK=system")
	said, err := child.CombinedOutput()
	if err == nil || !bytes.Contains(said, []byte("panic: forced by the test")) || !bytes.Contains(said, []byte("Complete(")) {
		t.Fatalf("the child did not panic in the issuance: %v\n%s", err, said)
	}
	return said
}

// gather reads all that the run left: files below the folder, rows of the database, log lines and HTTP.
func (r *run) gather() {
	t := r.t
	r.files("", r.dir)
	r.places["rows of the database"] = rows(t, r.database(t))
	r.places["log"] = r.log.Bytes()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.places[requestsPlace], r.places["HTTP responses"] = bytes.Clone(r.requests.Bytes()), bytes.Clone(r.responses.Bytes())
}

// files reads everything below a folder.
func (r *run) files(prefix, dir string) {
	must(r.t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		r.places[prefix+entry.Name()], err = os.ReadFile(path)
		return err
	}))
}

// rows are all values of all tables, one after another: in the file a value may lie on several pages.
func rows(t *testing.T, db *sqldb.DB) []byte {
	t.Helper()
	var out bytes.Buffer
	tables, err := db.Reader().QueryContext(t.Context(), `SELECT name FROM sqlite_master WHERE type = 'table'`)
	must(t, err)
	var names []string
	for tables.Next() {
		var name string
		must(t, tables.Scan(&name))
		names = append(names, name)
	}
	must(t, errOf(tables))
	for _, name := range names {
		all, err := db.Reader().QueryContext(t.Context(), `SELECT * FROM "`+name+`"`)
		must(t, err)
		columns, err := all.Columns()
		must(t, err)
		values, into := make([]sql.RawBytes, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		for all.Next() {
			must(t, all.Scan(into...))
			for _, value := range values {
				out.Write(value)
				out.WriteByte(' ')
			}
		}
		must(t, errOf(all))
	}
	return out.Bytes()
}

func errOf(rows *sql.Rows) error {
	err := rows.Err()
	if closeErr := rows.Close(); err == nil {
		err = closeErr
	}
	return err
}

// authorityKeys opens every key file of the authority and notes what it holds.
func (r *run) authorityKeys() {
	t := r.t
	files, err := filepath.Glob(filepath.Join(r.dir, "*.key"))
	must(t, err)
	if len(files) < 8 {
		t.Fatalf("key files: %q", files)
	}
	for _, file := range files {
		purpose := strings.TrimSuffix(filepath.Base(file), ".key")
		secret, derived := openKeyFile(t, r.dir, purpose)
		r.secrets["key derived from the passphrase for "+purpose] = derived
		if key, err := smx509.ParsePKCS8PrivateKey(secret); err == nil {
			r.keepKey(t, purpose+" key", key.(crypto.Signer))
			continue
		}
		r.secrets[purpose] = secret
	}
}

// TestNoSecretLeavesAWholeRun goes through ceremony, issuances, renewal, change of name, reissues, passwords, status, hold,
// revocation, recovery by two operators and timestamps over HTTP, forced panics, an export, a backup and its restoration, and looks for every private key and secret in everything that was
// written or said.
func TestNoSecretLeavesAWholeRun(t *testing.T) {
	r := newRun(t)
	r.life()
	r.authorityKeys()
	r.gather()
	r.reached()
	for _, found := range r.find() {
		t.Error(found)
	}
	if t.Failed() {
		return
	}
	r.planted()
}

// reached: each place holds what the run must have put there.
func (r *run) reached() {
	t := r.t
	var certificate []byte
	must(t, r.database(t).Reader().QueryRowContext(t.Context(), `SELECT der FROM ca_certificates WHERE issuance <> '' ORDER BY not_before LIMIT 1`).Scan(&certificate))
	if _, err := smx509.ParseCertificate(certificate); err != nil {
		t.Fatal(err)
	}
	for where, sample := range map[string][]byte{
		"rows of the database": certificate, "log": []byte("goroutine"), requestsPlace: []byte(`"code":"`), "HTTP responses": []byte(`"response":"`),
		"restored ca.db": certificate[:200],
		"exported log":   []byte("issuance.pending"), "root.key": []byte(`"argon2id"`), "ca.toml": []byte("base_url"), "ca.db-wal": []byte("issuance"),
	} {
		if !bytes.Contains(r.places[where], sample) {
			t.Errorf("%s does not hold what the run puts there (%d bytes)", where, len(r.places[where]))
		}
	}
	if len(r.places["backup"]) < len(r.places["restored ca.db"])/4 {
		t.Errorf("a backup of %d bytes", len(r.places["backup"]))
	}
	if len(r.secrets) < 40 {
		t.Errorf("only %d secrets are looked for", len(r.secrets))
	}
}

// planted puts a secret into each place the way a mistake would, and wants each found.
func (r *run) planted() {
	t := r.t
	key, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	r.secrets = map[string][]byte{"planted": scalar(key)}
	der, err := smx509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	r.logger().Error("a mistake", "key", key.D)
	r.call(http.MethodPost, "/nothing", nil, []byte(base64.StdEncoding.EncodeToString(der)), http.StatusNotFound)
	must(t, os.WriteFile(filepath.Join(r.dir, "left.tmp"), der, 0o600))
	must(t, exec(t, r.fixture, `CREATE TABLE mistake (key BLOB)`))
	must(t, exec(t, r.fixture, `INSERT INTO mistake VALUES ($1)`, scalar(key)))
	r.places = map[string][]byte{}
	r.gather()
	found := strings.Join(r.find(), "\n")
	for _, where := range []string{"log", requestsPlace, "left.tmp", "rows of the database", "ca.db-wal"} {
		if !strings.Contains(found, " stands in "+where+" as ") {
			t.Errorf("a key that was planted in %s is not found:\n%s", where, found)
		}
	}
}
