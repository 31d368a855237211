package cli

import (
	"fmt"
	"slices"

	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/bidseal/bidseal/trust"
	"github.com/spf13/cobra"
)

// TrustFlags say whom a command believes.
type TrustFlags struct {
	Files []string // --trust
	Roots []string // --root
}

// Register adds --trust and --root.
func (t *TrustFlags) Register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&t.Files, "trust", nil, "trust file ("+trust.FileName+") of the authorities that you believe; may be given several times")
	f.StringArrayVar(&t.Roots, "root", nil, "PEM file with the root of an authority that has no trust file and uses the documentation arc; may be given several times")
}

// Given reports whether anybody is believed at all.
func (t *TrustFlags) Given() bool { return len(t.Files)+len(t.Roots) > 0 }

// Read joins what the flags name into one trust file. A PEM file after --trust is
// read as --root, with a notice.
func (t *TrustFlags) Read(cmd *cobra.Command) (*trust.File, error) {
	if !t.Given() {
		return nil, Usagef("--trust is needed: the trust file of the authorities that you believe")
	}
	joined := &trust.File{}
	roots := slices.Clone(t.Roots)
	for _, path := range t.Files {
		if IsPEMFile(cmd, path) {
			roots = append(roots, path)
			continue
		}
		file, err := ReadTrustFile(path)
		if err != nil {
			return nil, err
		}
		if joined, err = joined.Join(file); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	if len(roots) > 0 {
		certs, err := pemfile.ReadCertificates(roots...)
		if err != nil {
			return nil, err
		}
		return joined.Join(&trust.File{Authorities: []trust.Authority{trust.DocumentationAuthority(certs...)}})
	}
	return joined, nil
}

// IsPEMFile reports whether a file given as --trust holds PEM roots, and says that
// it is read as --root.
func IsPEMFile(cmd *cobra.Command, path string) bool {
	raw, err := pemfile.ReadBounded(path, trust.MaxFile)
	if err != nil || !trust.IsPEM(raw) {
		return false // the caller reads the file and reports what is wrong with it
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "notice: %s holds certificates and is not a trust file; it is read as --root, with the identifiers of the documentation arc\n", path)
	return true
}

// ReadTrustFile reads one trust file.
func ReadTrustFile(path string) (*trust.File, error) {
	raw, err := pemfile.ReadBounded(path, trust.MaxFile)
	if err != nil {
		return nil, err
	}
	file, err := trust.ParseFile(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return file, nil
}

// WriteTrustFile writes one, whole or not at all. It is public; its owner alone
// may change it.
func WriteTrustFile(path string, file *trust.File) error {
	raw, err := file.Encode()
	if err != nil {
		return err
	}
	return pemfile.WritePrivate(path, raw)
}
