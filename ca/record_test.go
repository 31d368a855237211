package ca_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/trust"
)

// TestRecordOfACeremony: every key and certificate stands in it, and not one
// byte can be changed.
func TestRecordOfACeremony(t *testing.T) {
	for _, family := range issuance.Families() {
		f := newFixture(t, func(c *folder.Config) { c.Family = family })
		raw, err := os.ReadFile(filepath.Join(f.dir, folder.CeremonyRecordFile))
		must(t, err)
		must(t, folder.VerifyCeremonyRecord(raw, f.Folder.Root()))
		digest := trust.Digest(f.Folder.Root())
		sm3 := strings.ToUpper(hex.EncodeToString(digest[:]))
		for _, want := range []string{sm3[:4] + " " + sm3[4:8], trust.SerialHex(f.Folder.Root().SerialNumber), "identity.key", "kek.key", "tsa.key", string(family), testBase} {
			if !bytes.Contains(raw, []byte(want)) {
				t.Errorf("%s: %q is missing", family, want)
			}
		}
		for _, at := range []int{0, len(raw) / 2, len(raw) - 90, len(raw) - 5} {
			spoilt := bytes.Clone(raw)
			spoilt[at] ^= 1
			if folder.VerifyCeremonyRecord(spoilt, f.Folder.Root()) == nil {
				t.Errorf("%s: byte %d changed and believed", family, at)
			}
		}
		if folder.VerifyCeremonyRecord(raw[:len(raw)/2], f.Folder.Root()) == nil || folder.VerifyCeremonyRecord(append(raw, 'x'), f.Folder.Root()) == nil || folder.VerifyCeremonyRecord(nil, f.Folder.Root()) == nil {
			t.Errorf("%s: cut or lengthened and believed", family)
		}
		if folder.VerifyCeremonyRecord(raw, f.Status.Current().Certificate()) == nil {
			t.Errorf("%s: believed under another key", family)
		}
	}
}
