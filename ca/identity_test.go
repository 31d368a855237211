package ca_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/protocol"
)

// TestIdentityNumberInNoFile: the certificates show the configured form, and the
// number stands nowhere in the authority's folder.
func TestIdentityNumberInNoFile(t *testing.T) {
	const number = "11010519491231002X"
	f := newFixture(t, func(c *folder.Config) {
		c.Database, c.OrganisationIdentity = folder.Database{}, issuance.IdentityHashed
	})
	subject := adminSubject()
	file, err := f.Life.NewEnrolmentCode(t.Context(), audit.Local(""), life.CodeRequest{Subject: subject, IdentityNumber: number})
	must(t, err)
	p := newPhone(t, f.clock, file.Code)
	raw, err := f.Life.Enrol(t.Context(), p.call(t))
	must(t, err)
	e := p.read(t, raw)
	want, err := issuance.MarkIdentity(issuance.IdentityHashed, f.keys.Identity, number)
	must(t, err)
	for name, der := range map[string][]byte{"signing": e.sign.Raw, "encryption": e.encr.Raw} {
		if !bytes.Contains(der, want.Value) || bytes.Contains(der, []byte(number)) {
			t.Errorf("%s certificate", name)
		}
	}
	entries, err := os.ReadDir(f.dir)
	must(t, err)
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(f.dir, entry.Name()))
		must(t, err)
		if bytes.Contains(content, []byte(number)) {
			t.Errorf("%s holds the number", entry.Name())
		}
	}
	_, err = f.Life.NewEnrolmentCode(t.Context(), audit.Local(""), life.CodeRequest{Subject: subject, IdentityNumber: "110105194912310021"})
	refusedWith(t, err, protocol.CodeMalformed)
}
