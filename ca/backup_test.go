package ca_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/registry"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
)

const backupPassphrase = "a passphrase for backups"

func (f *fixture) backup(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "backup")
	_, err := f.Folder.Backup(t.Context(), folder.Backup{File: file, Passphrase: []byte(backupPassphrase), KDF: fastKDF()})
	must(t, err)
	return file
}

func (f *fixture) restoration(t *testing.T, file string) folder.Restoration {
	return folder.Restoration{
		File: file, BackupPassphrase: []byte(backupPassphrase), Dir: filepath.Join(t.TempDir(), "restored"),
	}
}

// restoring are the options under which a restoration opens.
func (f *fixture) restoring() ca.Options {
	return ca.Options{Passphrase: []byte(testPassphrase), Now: f.clock.Now, Logger: discard()}
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
	f := newFixture(t, func(c *folder.Config) { c.Database = folder.Database{} })
	registrar, approver := f.addOperator(t, "registrar", registry.RoleRegistration), f.addOperator(t, "approver", registry.RoleApproval)
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
	_, err := ca.Restore(t.Context(), r, f.restoring())
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
	f := newFixture(t, func(c *folder.Config) { c.Database = folder.Database{} })
	e := f.enrol(t)
	open := f.code(t, 0)
	old, err := f.Life.CRL(t.Context(), issuingName)
	must(t, err)
	file := f.backup(t)
	f.clock.add(time.Minute)
	lost, err := f.Life.SignCRL(t.Context(), audit.Local(""), "") // after the backup
	must(t, err)
	f.clock.add(time.Minute)

	r := f.restoration(t, file)
	report, err := ca.Restore(t.Context(), r, f.restoring())
	must(t, err)
	if report.CodesVoided != 1 || report.Lost != -1 || report.Log.Certificates != 6 {
		t.Errorf("%+v", report)
	}
	if _, err := os.Stat(filepath.Join(r.Dir, "root.key")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the root's key is in the backup: %v", err)
	}
	again := f.restored(t, r.Dir)
	again.believed(t, again.Authority, e.sign, issuingName, trust.Good)
	list, err := again.Life.CRL(t.Context(), issuingName)
	must(t, err)
	if list.Number <= lost.Number || lost.Number <= old.Number {
		t.Errorf("lists %d, %d, %d", old.Number, lost.Number, list.Number)
	}
	_, err = again.Life.Enrol(t.Context(), newPhone(t, f.clock, open).call(t))
	refusedWith(t, err, protocol.CodeEnrolmentCode)
	again.enrol(t)
	_, err = again.Audit.Verify(t.Context(), report.Manifest.Head)
	must(t, err)
	if _, err := ca.Restore(t.Context(), r, f.restoring()); err == nil {
		t.Error("restored over an authority")
	}
}

// TestRestoreKnowsWhatIsLost: a kept head or a published list tells what came
// after the backup.
func TestRestoreKnowsWhatIsLost(t *testing.T) {
	f := newFixture(t, func(c *folder.Config) { c.Database = folder.Database{} })
	e := f.enrol(t)
	early, err := f.Audit.Head(t.Context())
	must(t, err)
	file := f.backup(t)
	late := f.enrol(t)
	for _, cert := range []*enrolled{e, late} {
		_, err = f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Serial: trust.SerialHex(cert.sign.SerialNumber), Reason: trust.KeyCompromise})
		must(t, err)
	}
	list, err := f.Life.CRL(t.Context(), issuingName)
	must(t, err)
	head, err := f.Audit.Head(t.Context())
	must(t, err)
	f.clock.add(time.Minute)

	r := f.restoration(t, file)
	r.Kept = []audit.Head{early, head}
	if _, err := ca.Restore(t.Context(), r, f.restoring()); !errors.Is(err, folder.ErrOlder) {
		t.Fatalf("an older state: %v", err)
	}
	if _, err := os.Stat(r.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
	r.AcceptLoss, r.Lists = true, [][]byte{list.DER}
	report, err := ca.Restore(t.Context(), r, f.restoring())
	must(t, err)
	if report.Lost < 3 || !slices.Equal(report.Revoked, []string{trust.SerialHex(e.sign.SerialNumber)}) || !slices.Equal(report.Unknown, []string{trust.SerialHex(late.sign.SerialNumber)}) {
		t.Errorf("%+v", report)
	}
	again := f.restored(t, r.Dir)
	again.believed(t, again.Authority, e.sign, issuingName, trust.Revoked)
	answer, err := again.Life.OCSP(t.Context(), ask(t, late.sign, again.Status.Current().Certificate(), nil))
	must(t, err)
	status, err := trust.VerifyOCSP(answer.DER, late.sign, again.Status.Current().Certificate(), trust.OCSPOptions{Now: f.clock.Now()})
	must(t, err)
	if status.State != trust.Unknown {
		t.Errorf("a certificate of after the backup: %v", status.State)
	}
	_, err = again.Audit.Verify(t.Context())
	must(t, err)

	foreign := newFixture(t)
	for name, change := range map[string]func(*folder.Restoration, *ca.Options){
		"head of another authority": func(r *folder.Restoration, o *ca.Options) {
			h, err := foreign.Audit.Head(t.Context())
			must(t, err)
			r.Kept = []audit.Head{h}
		},
		"list of another authority": func(r *folder.Restoration, o *ca.Options) {
			l, err := foreign.Life.SignCRL(t.Context(), audit.Local(""), "")
			must(t, err)
			r.Lists = [][]byte{l.DER}
		},
		"no list": func(r *folder.Restoration, o *ca.Options) { r.Lists = [][]byte{[]byte("list")} },
		"clock": func(r *folder.Restoration, o *ca.Options) {
			o.Now = func() time.Time { return f.clock.Now().Add(-time.Hour) }
		},
		"passphrase":           func(r *folder.Restoration, o *ca.Options) { r.BackupPassphrase = []byte("wrong") },
		"authority's":          func(r *folder.Restoration, o *ca.Options) { o.Passphrase = []byte("wrong") },
		"no file":              func(r *folder.Restoration, o *ca.Options) { r.File += "x" },
		"folder that is taken": func(r *folder.Restoration, o *ca.Options) { r.Dir = f.dir },
	} {
		r, o := f.restoration(t, file), f.restoring()
		change(&r, &o)
		if _, err := ca.Restore(t.Context(), r, o); err == nil {
			t.Errorf("%s: restored", name)
		}
		if left, err := filepath.Glob(r.Dir + ".*"); err != nil || len(left) != 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
}

// TestBackupWhileServing: copies taken during issuance are whole.
func TestBackupWhileServing(t *testing.T) {
	f := newFixture(t, func(c *folder.Config) { c.Database = folder.Database{} })
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
		if _, err := ca.Restore(t.Context(), r, f.restoring()); err != nil {
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
	if _, err := f.Folder.Backup(t.Context(), folder.Backup{File: file, Passphrase: []byte("x"), KDF: fastKDF()}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a backup: %v", err)
	}
	after, err := os.ReadFile(file)
	must(t, err)
	if !bytes.Equal(before, after) {
		t.Error("the backup was changed")
	}
	for name, b := range map[string]folder.Backup{
		"no passphrase": {File: file + "2", KDF: fastKDF()}, "in the folder": {File: filepath.Join(f.dir, "b"), Passphrase: []byte("x"), KDF: fastKDF()},
		"derivation": {File: file + "3", Passphrase: []byte("x"), KDF: folder.KDF{Time: 1, MemoryKiB: 1, Threads: 1}},
	} {
		if _, err := f.Folder.Backup(t.Context(), b); err == nil {
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
