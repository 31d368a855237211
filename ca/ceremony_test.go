package ca_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

func TestCeremony(t *testing.T) {
	f := newFixture(t)
	store, err := trust.NewStore(trust.DocumentationAuthority(f.Folder.Root()))
	must(t, err)
	cert := f.responder(t)
	_, err = store.Verify([]*smx509.Certificate{cert, f.Status.Current().Certificate()}, trust.VerifyOptions{Time: f.clock.Now(), Usage: trust.OCSPResponder})
	must(t, err)
	if f.Folder.Root().NotAfter.Before(f.clock.Now().AddDate(19, 11, 0)) || f.Status.Current().Certificate().NotAfter.After(f.Folder.Root().NotAfter) {
		t.Errorf("root until %v, issuing until %v", f.Folder.Root().NotAfter, f.Status.Current().Certificate().NotAfter)
	}
	for _, name := range []string{"root.pem", "issuing-1.pem"} {
		raw, err := os.ReadFile(filepath.Join(f.dir, name))
		must(t, err)
		if _, err := smx509.ParseCertificatePEM(raw); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	entries, err := os.ReadDir(f.dir)
	must(t, err)
	for _, entry := range entries {
		info, err := entry.Info()
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", entry.Name(), info.Mode())
		}
	}
}

// responder is the newest certificate of the OCSP responder, after a question.
func (f *fixture) responder(t *testing.T) *smx509.Certificate {
	t.Helper()
	question, err := trust.NewOCSPRequest(f.Status.Current().Certificate(), f.Status.Current().Certificate(), nil)
	must(t, err)
	_, err = f.Life.OCSP(t.Context(), question)
	must(t, err)
	cert, err := status.Newest(t.Context(), f.database(t).Reader(), issuance.OCSP, issuingName)
	must(t, err)
	return cert
}

func TestCeremonyRefuses(t *testing.T) {
	f := newFixture(t)
	config := folder.DefaultConfig()
	config.BaseURL, config.DocumentationOIDs = testBase, true
	again := folder.Ceremony{Dir: f.dir, Config: config, Passphrase: []byte("x"), KDF: fastKDF(), Now: f.clock.Now}
	if _, err := folder.Init(t.Context(), again); err == nil {
		t.Error("a ceremony over an authority")
	}
	for name, change := range map[string]func(*folder.Ceremony){
		"no passphrase":                func(c *folder.Ceremony) { c.Passphrase = nil },
		"no base URL":                  func(c *folder.Ceremony) { c.Config.BaseURL = "" },
		"trailing /":                   func(c *folder.Ceremony) { c.Config.BaseURL += "/" },
		"family":                       func(c *folder.Ceremony) { c.Config.Family = "RSA" },
		"years":                        func(c *folder.Ceremony) { c.Config.IssuingYears = 16 },
		"identifier":                   func(c *folder.Ceremony) { c.Config.OIDs.Role = "1.x" },
		"one identifier twice":         func(c *folder.Ceremony) { c.Config.OIDs.Role = c.Config.OIDs.PlatformID },
		"identifier of the known ones": func(c *folder.Ceremony) { c.Config.OIDs.Lineage = "2.5.29.15" },
		"long base URL":                func(c *folder.Ceremony) { c.Config.BaseURL = "http://" + strings.Repeat("a", 128) },
		"country":                      func(c *folder.Ceremony) { c.Config.Country = "China" },
		"OCSP lifetime":                func(c *folder.Ceremony) { c.Config.OCSPLifetime = 0 },
		"derivation":                   func(c *folder.Ceremony) { c.KDF = folder.KDF{Time: 1, MemoryKiB: 1, Threads: 1} },
	} {
		c := again
		c.Dir = filepath.Join(t.TempDir(), "ca")
		change(&c)
		if _, err := folder.Init(t.Context(), c); err == nil {
			t.Errorf("%s: performed", name)
		}
		if _, err := os.Stat(c.Dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: half an authority was left", name)
		}
		if left, err := filepath.Glob(c.Dir + "*"); err != nil || len(left) != 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
}

func TestConfigurationIsStrict(t *testing.T) {
	f := newFixture(t)
	path := filepath.Join(f.dir, "ca.toml")
	raw, err := os.ReadFile(path)
	must(t, err)
	must(t, openWith(t, f.dir, testPassphrase))
	must(t, os.WriteFile(path, append([]byte("unknown = 1\n"), raw...), 0o600))
	if openWith(t, f.dir, testPassphrase) == nil {
		t.Error("an unknown key was taken")
	}
	if err := openWith(t, t.TempDir(), testPassphrase); err == nil || !strings.Contains(err.Error(), "ceremony") {
		t.Errorf("an empty folder: %v", err)
	}
}

func openWith(t *testing.T, dir, passphrase string) error {
	t.Helper()
	a, err := ca.Open(t.Context(), dir, ca.Options{Passphrase: []byte(passphrase), Now: time.Now, Logger: discard()})
	if err == nil {
		must(t, a.Close())
	}
	return err
}

// signRootCRL opens an authority and has it sign the root's list under a
// passphrase.
func signRootCRL(t *testing.T, dir, passphrase, root string) (*status.CRL, error) {
	t.Helper()
	a, err := ca.Open(t.Context(), dir, ca.Options{Passphrase: []byte(passphrase), Now: time.Now, Logger: discard()})
	must(t, err)
	defer func() { must(t, a.Close()) }()
	return a.Folder.SignRootCRL(t.Context(), audit.Local(""), "", []byte(root))
}

func TestOpenRefuses(t *testing.T) {
	f := newFixture(t)
	if err := openWith(t, f.dir, "wrong"); !errors.Is(err, folder.ErrPassphrase) {
		t.Errorf("wrong passphrase: %v", err)
	}
	if err := openWith(t, f.dir, ""); err == nil {
		t.Error("empty passphrase")
	}
	// the root's key may be carried away
	must(t, os.Remove(filepath.Join(f.dir, "root.key")))
	must(t, openWith(t, f.dir, testPassphrase))

	other := newFixture(t)
	for name, spoil := range map[string]func(dir string){
		"files exchanged": func(dir string) {
			must(t, os.Rename(filepath.Join(dir, "ocsp.key"), filepath.Join(dir, "pass.key")))
		},
		"file of another authority": func(dir string) { copyFile(t, other.dir, dir, "issuing-1.key") },
		"root of another authority": func(dir string) { copyFile(t, other.dir, dir, "root.pem") },
		"file under another purpose": func(dir string) { // the name inside is rewritten, too
			raw, err := os.ReadFile(filepath.Join(dir, "ocsp.key"))
			must(t, err)
			raw = bytes.Replace(raw, []byte(`"purpose":"ocsp"`), []byte(`"purpose":"pass"`), 1)
			must(t, os.WriteFile(filepath.Join(dir, "pass.key"), raw, 0o600))
		},
		"flipped bit": func(dir string) {
			path := filepath.Join(dir, "kek.key")
			raw, err := os.ReadFile(path)
			must(t, err)
			at := bytes.Index(raw, []byte(`"box":"`)) + 10
			raw[at] ^= 1
			must(t, os.WriteFile(path, raw, 0o600))
		},
	} {
		f := newFixture(t)
		spoil(f.dir)
		if openWith(t, f.dir, testPassphrase) == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

func copyFile(t *testing.T, from, to, name string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(from, name))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(to, name), raw, 0o600))
}

// TestRootPassphraseOfItsOwn: the root's key opens by its own passphrase only.
func TestRootPassphraseOfItsOwn(t *testing.T) {
	config := folder.DefaultConfig()
	config.BaseURL, config.DocumentationOIDs = testBase, true
	dir := filepath.Join(t.TempDir(), "ca")
	_, err := folder.Init(t.Context(), folder.Ceremony{Dir: dir, Config: config, Passphrase: []byte("one"), RootPassphrase: []byte("two"), KDF: fastKDF(), Now: time.Now})
	must(t, err)
	for passphrase, want := range map[string]error{"one": folder.ErrPassphrase, "two": nil} {
		if _, err := signRootCRL(t, dir, "one", passphrase); !errors.Is(err, want) {
			t.Errorf("passphrase %s: %v", passphrase, err)
		}
	}
	must(t, openWith(t, dir, "one"))
}
