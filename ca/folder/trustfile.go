package folder

import (
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// TrustAuthority is what a verifier needs to know of the authority: its entry in
// a trust file.
func (o *Opened) TrustAuthority() trust.Authority {
	return trustAuthority(o.Config, o.OIDs, o.Root, o.Pass.Public())
}

// TrustAuthority is what a verifier needs to know of the authority: its entry in
// a trust file.
func (f *Folder) TrustAuthority() trust.Authority {
	return trustAuthority(f.config, f.oids, f.root, f.life.PassKey())
}

func trustAuthority(config Config, oids trust.OIDs, root *smx509.Certificate, passKey crypto.PublicKey) trust.Authority {
	return trust.Authority{
		Name: config.Name, Roots: []*smx509.Certificate{root}, OIDs: oids, PassKeys: []crypto.PublicKey{passKey},
		OCSP: config.BaseURL + caapi.PathOCSP, CRL: config.CRLURL(status.RootName), TSA: config.BaseURL + caapi.PathTimestamp,
	}
}

// TrustFile is the trust file of the authority's folder in its exact bytes, which
// goes out with every enrolment code. The ceremony wrote it, a relay may have
// added itself, and an operator may have added other authorities. A folder from
// before there were trust files gets the authority's own entry.
func (o *Opened) TrustFile() ([]byte, error) {
	raw, err := os.ReadFile(filepath.Join(o.dir, trust.FileName))
	if errors.Is(err, fs.ErrNotExist) {
		return (&trust.File{Authorities: []trust.Authority{o.TrustAuthority()}}).Encode()
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", trust.FileName, err)
	}
	file, err := trust.ParseFile(raw)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", trust.FileName, err)
	}
	if !slices.ContainsFunc(file.Authorities, o.isOwn) {
		return nil, fmt.Errorf("%s does not name this authority with its root and identifiers", trust.FileName)
	}
	return raw, nil
}

// writeTrust writes the trust file of a new authority.
func (c *Ceremony) writeTrust(dir string, m *made) error {
	oids, err := c.Config.oids()
	if err != nil {
		return err
	}
	file := trust.File{Authorities: []trust.Authority{trustAuthority(c.Config, oids, m.root, m.keys[keyPass].Public())}}
	raw, err := file.Encode()
	if err != nil {
		return err
	}
	return writeNew(filepath.Join(dir, trust.FileName), raw)
}

// isOwn reports whether an entry of a trust file is this authority's.
func (o *Opened) isOwn(entry trust.Authority) bool {
	return entry.OIDs.Equal(o.OIDs) && slices.ContainsFunc(entry.Roots, o.Root.Equal)
}
