package ca_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/audit"
)

// FuzzExport: an exported log verifies only as it was written; every refusal is ErrLog.
func FuzzExport(f *testing.F) {
	a := newFixture(f)
	a.enrol(f)
	var good bytes.Buffer
	must(f, a.Audit.Export(f.Context(), &good))
	report, err := ca.VerifyExport(bytes.NewReader(good.Bytes()), a.Audit.Key())
	must(f, err)
	f.Add(good.Bytes())
	lines := bytes.SplitAfter(good.Bytes(), []byte("\n"))
	f.Add(bytes.Join(append(lines[:1:1], lines[len(lines)-2:]...), nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := ca.VerifyExport(bytes.NewReader(raw), a.Audit.Key())
		if err != nil && !errors.Is(err, audit.ErrLog) {
			t.Fatalf("an error that callers cannot tell: %v", err)
		}
		if err == nil && (got.Entries != report.Entries || got.Certificates != report.Certificates) {
			t.Fatalf("%d entries were taken", got.Entries)
		}
	})
}
