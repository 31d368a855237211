package ca

import (
	"bytes"
	"crypto/rand"
	"errors"
	"slices"
	"testing"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
)

func (f *fixture) export(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	must(t, f.ExportLog(t.Context(), &out))
	return out.Bytes()
}

// TestOutsiderVerifiesAnExport: the log and the public key are enough, and a head
// kept before stands in it.
func TestOutsiderVerifiesAnExport(t *testing.T) {
	f := newFixture(t)
	kept, err := f.AuditHead(t.Context())
	must(t, err)
	e := f.enrol(t)
	_, err = f.Revoke(t.Context(), Revocation{Serial: trust.SerialHex(e.sign.SerialNumber)})
	must(t, err)
	raw := f.export(t)
	report, err := VerifyExport(bytes.NewReader(raw), f.AuditKey(), kept)
	must(t, err)
	if report.Certificates != 6 || report.Revocations != 1 || report.Head.Seq != report.Entries {
		t.Errorf("%+v", report)
	}
	for _, secret := range []string{"张三", "示例建设", "91330100MA27XL0G0X"} {
		if bytes.Contains(raw, []byte(secret)) {
			t.Errorf("%s stands in the exported log", secret)
		}
	}
}

// TestVerifyExportFindsEachAlteration: whatever an insider without the key does
// to the file.
func TestVerifyExportFindsEachAlteration(t *testing.T) {
	f := newFixture(t)
	f.enrol(t)
	early := f.export(t)
	kept, err := f.AuditHead(t.Context())
	must(t, err)
	f.enrol(t)
	lines := bytes.SplitAfter(f.export(t), []byte("\n"))
	lines = lines[:len(lines)-1] // behind the last line end
	end := len(lines) - 1
	earlyLines := bytes.SplitAfter(early, []byte("\n"))
	other := newFixture(t)
	forged := kept
	forged.Hash = protocol.H([]byte("x"))
	for name, v := range map[string]struct {
		lines [][]byte
		kept  []Head
	}{
		"entry removed":     {lines: slices.Delete(slices.Clone(lines), 3, 4)},
		"entries exchanged": {lines: append(append(slices.Clone(lines[:3]), lines[4], lines[3]), lines[5:]...)},
		"entry altered":     {lines: append(append(slices.Clone(lines[:3]), bytes.Replace(lines[3], []byte(`"authority"`), []byte(`"phone"`), 1)), lines[4:]...)},
		"end removed":       {lines: lines[:end]},
		"last entry off":    {lines: append(slices.Clone(lines[:end-1]), lines[end])},
		"rolled back":       {lines: append(slices.Clone(earlyLines[:len(earlyLines)-2]), earlyLines[len(earlyLines)-2]), kept: []Head{headOf(t, f)}},
		"more after it":     {lines: append(slices.Clone(lines), lines[2])},
		"no header":         {lines: lines[1:]},
		"empty":             {},
		"another log":       {lines: bytes.SplitAfter(other.export(t), []byte("\n"))},
		"forged kept head":  {lines: lines, kept: []Head{forged}},
		"another's head":    {lines: lines, kept: []Head{headOf(t, other)}},
	} {
		if _, err := VerifyExport(bytes.NewReader(bytes.Join(v.lines, nil)), f.AuditKey(), v.kept...); !errors.Is(err, ErrLog) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := VerifyExport(bytes.NewReader(bytes.Join(lines, nil)), f.AuditKey(), kept); err != nil {
		t.Errorf("unaltered: %v", err)
	}
}

func headOf(t *testing.T, f *fixture) Head {
	t.Helper()
	head, err := f.AuditHead(t.Context())
	must(t, err)
	return head
}

// TestLogWrittenAnew: an insider with the audit key writes another history, whole
// in itself; the head that somebody kept shows it, and names the entry.
func TestLogWrittenAnew(t *testing.T) {
	f := newFixture(t)
	f.enrol(t)
	kept := headOf(t, f)
	var previous []byte
	entries := []auditEntry{}
	must(t, readEntries(t.Context(), f.db.Reader(), 0, func(e auditEntry) error {
		entries = append(entries, e)
		return nil
	}))
	for _, e := range entries {
		if e.Seq == 2 {
			e.Actor = "somebody else"
		}
		e.Hash = auditHash(previous, e.Seq, e.At, e.Actor, e.Event, e.Content)
		signature, err := protocol.Sign(f.audit.key, entryMessage(e.Seq, e.Hash))
		must(t, err)
		must(t, exec(t, f, `UPDATE ca_audit SET actor = $1, hash = $2, signature = $3 WHERE seq = $4`, e.Actor, []byte(e.Hash), signature, e.Seq))
		previous = e.Hash
	}
	_, err := f.VerifyLog(t.Context())
	must(t, err)
	if _, err := f.VerifyLog(t.Context(), kept); !errors.Is(err, ErrLog) {
		t.Errorf("a history written anew was believed: %v", err)
	}
}

// TestVerifyDatabaseCopy: a backup needs no key file and no passphrase, and each
// difference is named.
func TestVerifyDatabaseCopy(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	path := f.copyDatabase(t)
	report, err := VerifyDatabase(t.Context(), path, f.AuditKey(), headOf(t, f))
	must(t, err)
	if report.Certificates != 6 || report.Rows < 8 {
		t.Errorf("%+v", report)
	}
	stranger, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	if _, err := VerifyDatabase(t.Context(), path, stranger.Public()); !errors.Is(err, ErrLog) {
		t.Errorf("under another key: %v", err)
	}
	must(t, exec(t, f, `UPDATE ca_certificates SET lineage = '00' WHERE lineage <> ''`))
	must(t, exec(t, f, `DELETE FROM ca_codes`))
	var found *LogError
	if _, err := f.VerifyLog(t.Context()); !errors.As(err, &found) || len(found.Differences) != 3 {
		t.Fatalf("got %v", err)
	}
	if want := "ca_certificates " + trust.SerialHex(e.sign.SerialNumber) + " is not what the log says"; !slices.Contains(found.Differences, want) {
		t.Errorf("%q is not among %q", want, found.Differences)
	}
}
