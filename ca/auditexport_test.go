package ca_test

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
)

func (f *fixture) export(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	must(t, f.Audit.Export(t.Context(), &out))
	return out.Bytes()
}

// TestOutsiderVerifiesAnExport: the log and the public key are enough, and a head
// kept before stands in it.
func TestOutsiderVerifiesAnExport(t *testing.T) {
	f := newFixture(t)
	kept, err := f.Audit.Head(t.Context())
	must(t, err)
	e := f.enrol(t)
	_, err = f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Serial: trust.SerialHex(e.sign.SerialNumber)})
	must(t, err)
	raw := f.export(t)
	report, err := ca.VerifyExport(bytes.NewReader(raw), f.Audit.Key(), kept)
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
	kept, err := f.Audit.Head(t.Context())
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
		kept  []audit.Head
	}{
		"entry removed":     {lines: slices.Delete(slices.Clone(lines), 3, 4)},
		"entries exchanged": {lines: append(append(slices.Clone(lines[:3]), lines[4], lines[3]), lines[5:]...)},
		"entry altered":     {lines: append(append(slices.Clone(lines[:3]), bytes.Replace(lines[3], []byte(`"authority"`), []byte(`"phone"`), 1)), lines[4:]...)},
		"end removed":       {lines: lines[:end]},
		"last entry off":    {lines: append(slices.Clone(lines[:end-1]), lines[end])},
		"rolled back":       {lines: append(slices.Clone(earlyLines[:len(earlyLines)-2]), earlyLines[len(earlyLines)-2]), kept: []audit.Head{headOf(t, f)}},
		"more after it":     {lines: append(slices.Clone(lines), lines[2])},
		"no header":         {lines: lines[1:]},
		"empty":             {},
		"another log":       {lines: bytes.SplitAfter(other.export(t), []byte("\n"))},
		"forged kept head":  {lines: lines, kept: []audit.Head{forged}},
		"another's head":    {lines: lines, kept: []audit.Head{headOf(t, other)}},
	} {
		if _, err := ca.VerifyExport(bytes.NewReader(bytes.Join(v.lines, nil)), f.Audit.Key(), v.kept...); !errors.Is(err, audit.ErrLog) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ca.VerifyExport(bytes.NewReader(bytes.Join(lines, nil)), f.Audit.Key(), kept); err != nil {
		t.Errorf("unaltered: %v", err)
	}
}

func headOf(t *testing.T, f *fixture) audit.Head {
	t.Helper()
	head, err := f.Audit.Head(t.Context())
	must(t, err)
	return head
}

// entryHash and entryMessage are the hash of an entry and what is signed of it, as
// AUDIT.md has them.
func entryHash(previous []byte, e audit.Entry) []byte {
	numbers := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(e.Seq)), uint64(e.At))
	return protocol.H([]byte("bidseal/ca audit 1\x00"), previous, numbers, protocol.H([]byte(e.Actor)), protocol.H([]byte(e.Event)), protocol.H([]byte(e.Content)))
}

func entryMessage(seq int64, hash []byte) []byte {
	return append(binary.BigEndian.AppendUint64([]byte("bidseal/ca audit entry 1\x00"), uint64(seq)), hash...)
}

// TestLogWrittenAnew: an insider with the audit key writes another history, whole
// in itself; the head that somebody kept shows it, and names the entry.
func TestLogWrittenAnew(t *testing.T) {
	f := newFixture(t)
	f.enrol(t)
	kept := headOf(t, f)
	var previous []byte
	page, err := f.Audit.Page(t.Context(), 0, 1000)
	must(t, err)
	for _, e := range page.Entries {
		if e.Seq == 2 {
			e.Actor = "somebody else"
		}
		e.Hash = entryHash(previous, e)
		signature, err := protocol.Sign(f.keys.Audit, entryMessage(e.Seq, e.Hash))
		must(t, err)
		must(t, exec(t, f, `UPDATE ca_audit SET actor = $1, hash = $2, signature = $3 WHERE seq = $4`, e.Actor, []byte(e.Hash), signature, e.Seq))
		previous = e.Hash
	}
	_, err = f.Audit.Verify(t.Context())
	must(t, err)
	if _, err := f.Audit.Verify(t.Context(), kept); !errors.Is(err, audit.ErrLog) {
		t.Errorf("a history written anew was believed: %v", err)
	}
}

// TestVerifyDatabaseCopy: a backup needs no key file and no passphrase, and each
// difference is named.
func TestVerifyDatabaseCopy(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	path := f.copyDatabase(t)
	report, err := ca.VerifyDatabase(t.Context(), path, f.Audit.Key(), headOf(t, f))
	must(t, err)
	if report.Certificates != 6 || report.Rows < 8 {
		t.Errorf("%+v", report)
	}
	stranger, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	if _, err := ca.VerifyDatabase(t.Context(), path, stranger.Public()); !errors.Is(err, audit.ErrLog) {
		t.Errorf("under another key: %v", err)
	}
	must(t, exec(t, f, `UPDATE ca_certificates SET lineage = '00' WHERE lineage <> ''`))
	must(t, exec(t, f, `DELETE FROM ca_codes`))
	var found *audit.Error
	if _, err := f.Audit.Verify(t.Context()); !errors.As(err, &found) || len(found.Differences) != 3 {
		t.Fatalf("got %v", err)
	}
	if want := "ca_certificates " + trust.SerialHex(e.sign.SerialNumber) + " is not what the log says"; !slices.Contains(found.Differences, want) {
		t.Errorf("%q is not among %q", want, found.Differences)
	}
}
