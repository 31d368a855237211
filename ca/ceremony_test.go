package ca

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

func TestCeremony(t *testing.T) {
	f := newFixture(t)
	store, err := trust.NewStore(trust.DocumentationAuthority(f.Root()))
	must(t, err)
	cert, err := f.responderCertificate(t.Context(), f.issuers.current())
	must(t, err)
	_, err = store.Verify([]*smx509.Certificate{cert, f.Issuing()}, trust.VerifyOptions{Time: f.clock.Now(), Usage: trust.OCSPResponder})
	must(t, err)
	if f.Root().NotAfter.Before(f.clock.Now().AddDate(19, 11, 0)) || f.Issuing().NotAfter.After(f.Root().NotAfter) {
		t.Errorf("root until %v, issuing until %v", f.Root().NotAfter, f.Issuing().NotAfter)
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

func TestCeremonyRefuses(t *testing.T) {
	f := newFixture(t)
	config := DefaultConfig()
	config.BaseURL, config.DocumentationOIDs = testBase, true
	again := Ceremony{Dir: f.dir, Config: config, Passphrase: []byte("x"), KDF: fastKDF(), Now: f.clock.Now}
	if _, err := Init(t.Context(), again); err == nil {
		t.Error("a ceremony over an authority")
	}
	for name, change := range map[string]func(*Ceremony){
		"no passphrase":                func(c *Ceremony) { c.Passphrase = nil },
		"no base URL":                  func(c *Ceremony) { c.Config.BaseURL = "" },
		"trailing /":                   func(c *Ceremony) { c.Config.BaseURL += "/" },
		"family":                       func(c *Ceremony) { c.Config.Family = "RSA" },
		"years":                        func(c *Ceremony) { c.Config.IssuingYears = 16 },
		"identifier":                   func(c *Ceremony) { c.Config.OIDs.Role = "1.x" },
		"one identifier twice":         func(c *Ceremony) { c.Config.OIDs.Role = c.Config.OIDs.PlatformID },
		"identifier of the known ones": func(c *Ceremony) { c.Config.OIDs.Lineage = "2.5.29.15" },
		"long base URL":                func(c *Ceremony) { c.Config.BaseURL = "http://" + strings.Repeat("a", 128) },
		"country":                      func(c *Ceremony) { c.Config.Country = "China" },
		"OCSP lifetime":                func(c *Ceremony) { c.Config.OCSPLifetime = 0 },
		"derivation":                   func(c *Ceremony) { c.KDF = KDF{Time: 1, MemoryKiB: 1, Threads: 1} },
	} {
		c := again
		c.Dir = filepath.Join(t.TempDir(), "ca")
		change(&c)
		if _, err := Init(t.Context(), c); err == nil {
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
	path := filepath.Join(f.dir, configFile)
	raw, err := os.ReadFile(path)
	must(t, err)
	if _, err := readConfig(f.dir); err != nil {
		t.Fatal(err)
	}
	must(t, os.WriteFile(path, append([]byte("unknown = 1\n"), raw...), 0o600))
	if _, err := readConfig(f.dir); err == nil {
		t.Error("an unknown key was taken")
	}
	if _, err := readConfig(t.TempDir()); err == nil || !strings.Contains(err.Error(), "ceremony") {
		t.Errorf("an empty folder: %v", err)
	}
}

func openWith(t *testing.T, dir, passphrase string) error {
	t.Helper()
	a, err := Open(t.Context(), dir, Options{Passphrase: []byte(passphrase), Now: time.Now, Logger: discard()})
	if err == nil {
		must(t, a.Close())
	}
	return err
}

func TestOpenRefuses(t *testing.T) {
	f := newFixture(t)
	if err := openWith(t, f.dir, "wrong"); !errors.Is(err, ErrPassphrase) {
		t.Errorf("wrong passphrase: %v", err)
	}
	if err := openWith(t, f.dir, ""); err == nil {
		t.Error("empty passphrase")
	}
	// the root's key may be carried away
	must(t, os.Remove(filepath.Join(f.dir, keyFileName(keyRoot))))
	must(t, openWith(t, f.dir, testPassphrase))

	other := newFixture(t)
	for name, spoil := range map[string]func(dir string){
		"files exchanged": func(dir string) {
			must(t, os.Rename(filepath.Join(dir, keyFileName(keyOCSP)), filepath.Join(dir, keyFileName(keyPass))))
		},
		"file of another authority": func(dir string) { copyFile(t, other.dir, dir, keyFileName(keyIssuing)) },
		"root of another authority": func(dir string) { copyFile(t, other.dir, dir, "root.pem") },
		"file under another purpose": func(dir string) { // the name inside is rewritten, too
			raw, err := os.ReadFile(filepath.Join(dir, keyFileName(keyOCSP)))
			must(t, err)
			raw = bytes.Replace(raw, []byte(`"purpose":"ocsp"`), []byte(`"purpose":"pass"`), 1)
			must(t, os.WriteFile(filepath.Join(dir, keyFileName(keyPass)), raw, 0o600))
		},
		"flipped bit": func(dir string) {
			path := filepath.Join(dir, keyFileName(keyKEK))
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
	config := DefaultConfig()
	config.BaseURL, config.DocumentationOIDs = testBase, true
	dir := filepath.Join(t.TempDir(), "ca")
	_, err := Init(t.Context(), Ceremony{Dir: dir, Config: config, Passphrase: []byte("one"), RootPassphrase: []byte("two"), KDF: fastKDF(), Now: time.Now})
	must(t, err)
	for passphrase, want := range map[string]error{"one": ErrPassphrase, "two": nil} {
		ring, err := newKeyring(dir, []byte(passphrase))
		must(t, err)
		if _, err := ring.readSigner(t.Context(), keyRoot); !errors.Is(err, want) {
			t.Errorf("passphrase %s: %v", passphrase, err)
		}
	}
	must(t, openWith(t, dir, "one"))
}
