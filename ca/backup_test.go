package ca

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
)

const backupPassphrase = "a passphrase for backups"

func (f *fixture) backup(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "backup")
	_, err := f.Backup(t.Context(), Backup{File: file, Passphrase: []byte(backupPassphrase), KDF: fastKDF()})
	must(t, err)
	return file
}

func (f *fixture) restoration(t *testing.T, file string) Restoration {
	return Restoration{
		File: file, BackupPassphrase: []byte(backupPassphrase), Dir: filepath.Join(t.TempDir(), "restored"),
		Options: Options{Passphrase: []byte(testPassphrase), Now: f.clock.Now, Logger: discard()},
	}
}

// restored opens what a restoration made.
func (f *fixture) restored(t *testing.T, dir string) *fixture {
	t.Helper()
	again := &fixture{dir: dir, clock: f.clock, log: f.log}
	again.Authority = again.open(t)
	return again
}

// TestRestoreWithdrawsApprovals: a code that was approved before the backup may
// have been given out and used after it.
func TestRestoreWithdrawsApprovals(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Database = Database{} })
	registrar, approver := f.addOperator(t, "registrar", RoleRegistration), f.addOperator(t, "approver", RoleApproval)
	subject := adminSubject()
	var paths []string
	for range 2 {
		var info caapi.ApplicationInfo
		registrar.must200(t, "POST", caapi.PathOperatorApplications, caapi.Application{V: 1, RequestID: requestID(t), Operation: caapi.OperationNew, Subject: &subject, Days: 365}, &info)
		path := caapi.PathOperatorApplications + "/" + info.ID
		approver.must200(t, "POST", path+"/approve", caapi.Decision{V: 1, Digest: info.Digest}, &info)
		paths = append(paths, path)
	}
	var given caapi.EnrolmentFile
	registrar.must200(t, "POST", paths[0]+"/code", nil, &given)
	file := f.backup(t)
	f.clock.add(time.Minute)
	r := f.restoration(t, file)
	_, err := Restore(t.Context(), r)
	must(t, err)
	registrar.f = f.restored(t, r.Dir)
	for i, path := range paths {
		if code := registrar.call(t, "POST", path+"/code", nil).code(t); code != protocol.CodeConflict {
			t.Errorf("application %d: a code after the restoration: %q", i, code)
		}
	}
}

// TestBackupAndRestore: the authority goes on where it was, without its root's
// key; lists grow on; open codes are void.
func TestBackupAndRestore(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Database = Database{} })
	e := f.enrol(t)
	open := f.code(t, 0)
	old, err := f.CRL(t.Context(), issuingName)
	must(t, err)
	file := f.backup(t)
	f.clock.add(time.Minute)
	lost, err := f.SignCRL(t.Context()) // after the backup
	must(t, err)
	f.clock.add(time.Minute)

	r := f.restoration(t, file)
	report, err := Restore(t.Context(), r)
	must(t, err)
	if report.CodesVoided != 1 || report.Lost != -1 || report.Log.Certificates != 6 {
		t.Errorf("%+v", report)
	}
	if _, err := os.Stat(filepath.Join(r.Dir, keyFileName(keyRoot))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the root's key is in the backup: %v", err)
	}
	again := f.restored(t, r.Dir)
	again.believed(t, again.Authority, e.sign, issuingName, trust.Good)
	list, err := again.CRL(t.Context(), issuingName)
	must(t, err)
	if list.Number <= lost.Number || lost.Number <= old.Number {
		t.Errorf("lists %d, %d, %d", old.Number, lost.Number, list.Number)
	}
	_, err = again.Enrol(t.Context(), newPhone(t, f.clock, open).call(t))
	refusedWith(t, err, protocol.CodeEnrolmentCode)
	again.enrol(t)
	_, err = again.VerifyLog(t.Context(), report.Manifest.Head)
	must(t, err)
	if _, err := Restore(t.Context(), r); err == nil {
		t.Error("restored over an authority")
	}
}

// TestRestoreKnowsWhatIsLost: a kept head or a published list tells what came
// after the backup.
func TestRestoreKnowsWhatIsLost(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Database = Database{} })
	e := f.enrol(t)
	early, err := f.AuditHead(t.Context())
	must(t, err)
	file := f.backup(t)
	late := f.enrol(t)
	for _, cert := range []*enrolled{e, late} {
		_, err = f.Revoke(t.Context(), Revocation{Serial: trust.SerialHex(cert.sign.SerialNumber), Reason: trust.KeyCompromise})
		must(t, err)
	}
	list, err := f.CRL(t.Context(), issuingName)
	must(t, err)
	head, err := f.AuditHead(t.Context())
	must(t, err)
	f.clock.add(time.Minute)

	r := f.restoration(t, file)
	r.Kept = []Head{early, head}
	if _, err := Restore(t.Context(), r); !errors.Is(err, ErrOlder) {
		t.Fatalf("an older state: %v", err)
	}
	if _, err := os.Stat(r.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
	r.AcceptLoss, r.Lists = true, [][]byte{list.DER}
	report, err := Restore(t.Context(), r)
	must(t, err)
	if report.Lost < 3 || !slices.Equal(report.Revoked, []string{trust.SerialHex(e.sign.SerialNumber)}) || !slices.Equal(report.Unknown, []string{trust.SerialHex(late.sign.SerialNumber)}) {
		t.Errorf("%+v", report)
	}
	again := f.restored(t, r.Dir)
	again.believed(t, again.Authority, e.sign, issuingName, trust.Revoked)
	answer, err := again.OCSP(t.Context(), ask(t, late.sign, again.Issuing(), nil))
	must(t, err)
	status, err := trust.VerifyOCSP(answer.DER, late.sign, again.Issuing(), trust.OCSPOptions{Now: f.clock.Now()})
	must(t, err)
	if status.State != trust.Unknown {
		t.Errorf("a certificate of after the backup: %v", status.State)
	}
	_, err = again.VerifyLog(t.Context())
	must(t, err)

	foreign := newFixture(t)
	for name, change := range map[string]func(*Restoration){
		"head of another authority": func(r *Restoration) {
			h, err := foreign.AuditHead(t.Context())
			must(t, err)
			r.Kept = []Head{h}
		},
		"list of another authority": func(r *Restoration) {
			l, err := foreign.SignCRL(t.Context())
			must(t, err)
			r.Lists = [][]byte{l.DER}
		},
		"no list": func(r *Restoration) { r.Lists = [][]byte{[]byte("list")} },
		"clock": func(r *Restoration) {
			r.Options.Now = func() time.Time { return f.clock.Now().Add(-time.Hour) }
		},
		"passphrase":           func(r *Restoration) { r.BackupPassphrase = []byte("wrong") },
		"authority's":          func(r *Restoration) { r.Options.Passphrase = []byte("wrong") },
		"no file":              func(r *Restoration) { r.File += "x" },
		"folder that is taken": func(r *Restoration) { r.Dir = f.dir },
	} {
		r := f.restoration(t, file)
		change(&r)
		if _, err := Restore(t.Context(), r); err == nil {
			t.Errorf("%s: restored", name)
		}
		if left, err := filepath.Glob(r.Dir + ".*"); err != nil || len(left) != 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
}

// TestBackupWhileServing: copies taken during issuance are whole.
func TestBackupWhileServing(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Database = Database{} })
	var group sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					f.enrol(t)
				}
			}
		})
	}
	for range 4 {
		r := f.restoration(t, f.backup(t))
		if _, err := Restore(t.Context(), r); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	group.Wait()
}

func TestBackupNeverOverwrites(t *testing.T) {
	f := newFixture(t)
	file := f.backup(t)
	before, err := os.ReadFile(file)
	must(t, err)
	if bytes.Contains(before, []byte("SQLite format")) || bytes.Contains(before, []byte(testBase)) {
		t.Error("the backup is readable")
	}
	if _, err := f.Backup(t.Context(), Backup{File: file, Passphrase: []byte("x"), KDF: fastKDF()}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a backup: %v", err)
	}
	after, err := os.ReadFile(file)
	must(t, err)
	if !bytes.Equal(before, after) {
		t.Error("the backup was changed")
	}
	for name, b := range map[string]Backup{
		"no passphrase": {File: file + "2", KDF: fastKDF()}, "in the folder": {File: filepath.Join(f.dir, "b"), Passphrase: []byte("x"), KDF: fastKDF()},
		"derivation": {File: file + "3", Passphrase: []byte("x"), KDF: KDF{1, 1, 1}},
	} {
		if _, err := f.Backup(t.Context(), b); err == nil {
			t.Errorf("%s: made", name)
		}
		if _, err := os.Stat(b.File); err == nil {
			t.Errorf("%s: left a file", name)
		}
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(file), ".backup-*"))
	must(t, err)
	if len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func seal(t testing.TB, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := newSealWriter(&out, []byte("p"), fastKDF())
	must(t, err)
	for chunk := range slices.Chunk(content, 1000) {
		_, err := w.Write(chunk)
		must(t, err)
	}
	must(t, w.Close())
	return out.Bytes()
}

func unseal(sealed []byte, passphrase string) ([]byte, error) {
	r, err := newOpenReader(bytes.NewReader(sealed), []byte(passphrase))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// TestSealedStream: what was sealed opens, and nothing that was altered, cut,
// exchanged or lengthened.
func TestSealedStream(t *testing.T) {
	for _, size := range []int{0, 1, backupChunk - 1, backupChunk, backupChunk + 1, 3*backupChunk + 7} {
		content := make([]byte, size)
		_, err := rand.Read(content)
		must(t, err)
		sealed := seal(t, content)
		opened, err := unseal(sealed, "p")
		must(t, err)
		if !bytes.Equal(opened, content) {
			t.Errorf("%d bytes: others came out", size)
		}
	}
	sealed := seal(t, make([]byte, 3*backupChunk))
	start := bytes.IndexByte(sealed, '\n') + 1
	const whole = backupChunk + 16
	exchanged := slices.Concat(sealed[:start], sealed[start+whole:start+2*whole], sealed[start:start+whole], sealed[start+2*whole:])
	flipped := bytes.Clone(sealed)
	flipped[start+whole+5] ^= 1
	for name, bad := range map[string][]byte{
		"passphrase": nil, "cut at a chunk": sealed[:start+2*whole], "cut within": sealed[:len(sealed)-1], "header only": sealed[:start], "nothing": {},
		"lengthened": append(bytes.Clone(sealed), 0), "twice": append(bytes.Clone(sealed), sealed[start:]...), "exchanged": exchanged, "flipped": flipped,
		"header": bytes.Replace(sealed, []byte(`"time":1`), []byte(`"time":2`), 1), "no header": bytes.Repeat([]byte("x"), 4096),
	} {
		passphrase := "p"
		if bad == nil {
			bad, passphrase = sealed, "q"
		}
		if _, err := unseal(bad, passphrase); !errors.Is(err, ErrBackup) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzBackup: whatever stands in a sealed backup, it opens to the files of its
// manifest or not at all.
func FuzzBackup(f *testing.F) {
	file := []byte("content")
	raw, err := protocol.EncodeJSON(BackupManifest{V: backupVersion, Head: Head{Hash: file, Signature: file}, Files: []BackupFile{
		{Name: "ca.toml", Size: int64(len(file)), SM3: hex.EncodeToString(protocol.H(file))}}})
	must(f, err)
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, member := range []struct {
		name    string
		content []byte
	}{{manifestFile, raw}, {"ca.toml", file}} {
		name, content := member.name, member.content
		must(f, w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(content))}))
		_, err := w.Write(content)
		must(f, err)
	}
	must(f, w.Close())
	f.Add(archive.Bytes())
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := filepath.Join(t.TempDir(), "inside")
		must(t, os.Mkdir(dir, 0o700))
		manifest, err := extractBackup(bytes.NewReader(seal(t, content)), []byte("p"), dir)
		outside, globErr := filepath.Glob(filepath.Join(dir, "..", "*"))
		must(t, globErr)
		inside, globErr := os.ReadDir(dir)
		must(t, globErr)
		if len(outside) != 1 || err == nil && len(inside) != len(manifest.Files) {
			t.Errorf("%d files, %v", len(inside), err)
		}
	})
}
