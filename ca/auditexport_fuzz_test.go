package ca

import (
	"bytes"
	"errors"
	"testing"
)

// FuzzExport: an exported log verifies only as it was written; every refusal is ErrLog.
func FuzzExport(f *testing.F) {
	a := newFixture(f)
	a.enrol(f)
	var good bytes.Buffer
	must(f, a.ExportLog(f.Context(), &good))
	report, err := VerifyExport(bytes.NewReader(good.Bytes()), a.AuditKey())
	must(f, err)
	f.Add(good.Bytes())
	lines := bytes.SplitAfter(good.Bytes(), []byte("\n"))
	f.Add(bytes.Join(append(lines[:1:1], lines[len(lines)-2:]...), nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := VerifyExport(bytes.NewReader(raw), a.AuditKey())
		if err != nil && !errors.Is(err, ErrLog) {
			t.Fatalf("an error that callers cannot tell: %v", err)
		}
		if err == nil && (got.Entries != report.Entries || got.Certificates != report.Certificates) {
			t.Fatalf("%d entries were taken", got.Entries)
		}
	})
}

// FuzzCRLName: a name that is read writes itself the same way.
func FuzzCRLName(f *testing.F) {
	for _, name := range []string{"root", "issuing-1", "issuing-1.3of16", "issuing-1.03of16", "x.1of1"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if name, ok := parseCRLName(text); ok && (name.String() != text || name.of < 1 || name.of > maxCRLShards) {
			t.Fatalf("%q was read as %q", text, name)
		}
	})
}
