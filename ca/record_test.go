package ca

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/issuance"
)

// TestRecordOfACeremony: every key and certificate stands in it, and not one
// byte can be changed.
func TestRecordOfACeremony(t *testing.T) {
	for _, family := range issuance.Families() {
		f := newFixture(t, func(c *Config) { c.Family = family })
		raw, err := os.ReadFile(filepath.Join(f.dir, RecordFile))
		must(t, err)
		must(t, VerifyRecord(raw, f.Root()))
		root := fingerprint(rootName, f.Root())
		for _, want := range []string{strings.ToUpper(root.SM3[:4]) + " " + strings.ToUpper(root.SM3[4:8]), root.Serial, "identity.key", "kek.key", "tsa.key", string(family), testBase} {
			if !bytes.Contains(raw, []byte(want)) {
				t.Errorf("%s: %q is missing", family, want)
			}
		}
		for _, at := range []int{0, len(raw) / 2, len(raw) - 90, len(raw) - 5} {
			spoilt := bytes.Clone(raw)
			spoilt[at] ^= 1
			if VerifyRecord(spoilt, f.Root()) == nil {
				t.Errorf("%s: byte %d changed and believed", family, at)
			}
		}
		if VerifyRecord(raw[:len(raw)/2], f.Root()) == nil || VerifyRecord(append(raw, 'x'), f.Root()) == nil || VerifyRecord(nil, f.Root()) == nil {
			t.Errorf("%s: cut or lengthened and believed", family)
		}
		if VerifyRecord(raw, f.Issuing()) == nil {
			t.Errorf("%s: believed under another key", family)
		}
	}
}

// TestRecordCannotBeForged: a name that breaks lines stays on its line.
func TestRecordCannotBeForged(t *testing.T) {
	r := newRecord("x", "title", time.Unix(0, 0))
	r.people("me\nSignature 1.2.3 AAAA", []string{"you\u202e"})
	if text := r.text.String(); strings.Count(text, "\n") != 5 || strings.Contains(text, "\u202e") {
		t.Errorf("%q", text)
	}
}
