//go:build pkcs11 && cgo

package hsm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

const (
	modulePath = "/usr/lib/softhsm/libsofthsm2.so" // Debian's
	userPIN    = "831-47-ok"
	passphrase = "a passphrase for tests"
)

// TestMain gives SoftHSM an empty folder for its tokens. It reads its
// configuration once in a process.
func TestMain(m *testing.M) { os.Exit(withTokens(m)) }

func withTokens(m *testing.M) int {
	dir, err := os.MkdirTemp("", "softhsm")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	config := filepath.Join(dir, "softhsm2.conf")
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "tokens"), 0o700),
		os.WriteFile(config, fmt.Appendf(nil, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", filepath.Join(dir, "tokens")), 0o600),
		os.Setenv("SOFTHSM2_CONF", config)); err != nil { //nolint:usetesting // for the whole process
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for _, label := range []string{"bidseal", "offline"} {
		if out, err := exec.CommandContext(context.Background(), "softhsm2-util", "--init-token", "--free", "--label", label, "--pin", userPIN, "--so-pin", "so-"+userPIN).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "softhsm2-util: %v\n%s", err, out)
			return 1
		}
	}
	return m.Run()
}

func testURI(t testing.TB, token, object string) string {
	t.Helper()
	pin := filepath.Join(t.TempDir(), "pin")
	must(t, os.WriteFile(pin, []byte(userPIN+"\n"), 0o600))
	return "pkcs11:token=" + token + ";object=" + object + "?module-path=" + modulePath + "&pin-source=file:" + pin
}

func openTokens(t testing.TB) *Tokens {
	tokens := NewTokens()
	t.Cleanup(func() { must(t, tokens.Close()) })
	return tokens
}

func TestKeysInTheToken(t *testing.T) {
	tokens := openTokens(t)
	for _, family := range []issuance.Family{issuance.ECDSAP256, issuance.RSA3072} {
		uri := testURI(t, "bidseal", "key-"+string(family))
		made, err := tokens.Generate(t.Context(), uri, family)
		must(t, err)
		if issuance.FamilyOf(made.Public()) != family {
			t.Errorf("%s: made %T", family, made.Public())
		}
		found, err := tokens.Open(t.Context(), uri)
		must(t, err)
		if !made.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(found.Public()) {
			t.Errorf("%s: another key was found", family)
		}
		if _, err := tokens.Generate(t.Context(), uri, family); !errors.Is(err, ErrKeyExists) {
			t.Errorf("%s: over a key: %v", family, err)
		}
	}
	for name, uri := range map[string]string{
		"no key":    testURI(t, "bidseal", "nothing"),
		"no token":  testURI(t, "nothing", "key"),
		"no module": strings.Replace(testURI(t, "bidseal", "key"), modulePath, "/nothing.so", 1),
		"no URI":    "pkcs11:",
	} {
		if _, err := tokens.Open(t.Context(), uri); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	if _, err := tokens.Generate(t.Context(), testURI(t, "bidseal", "sm2"), issuance.SM2); !errors.Is(err, ErrNoKey) {
		t.Errorf("SM2: %v", err)
	}
}

// TestRawDigests: the calls by which an SM2 key is used, with what SoftHSM has:
// a P-256 key and CKM_ECDSA, too, take a digest and give r and s.
func TestRawDigests(t *testing.T) {
	tokens := openTokens(t)
	uri := testURI(t, "bidseal", "raw")
	made, err := tokens.Generate(t.Context(), uri, issuance.ECDSAP256)
	must(t, err)
	u, err := parseURI(uri)
	must(t, err)
	token, key, err := tokens.rawKey(u)
	must(t, err)
	point, err := token.point(u.object)
	must(t, err)
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	must(t, err)
	if !public.Equal(made.Public()) {
		t.Error("another public key")
	}
	digest := sha256.Sum256([]byte("message"))
	rs, err := key.SignDigest(digest[:])
	must(t, err)
	if len(rs) != 64 || !ecdsa.Verify(public, digest[:], new(big.Int).SetBytes(rs[:32]), new(big.Int).SetBytes(rs[32:])) {
		t.Errorf("signature %x", rs)
	}
	key.mechanism = 0x80000105
	if _, err := key.SignDigest(digest[:]); err == nil {
		t.Error("a mechanism that SoftHSM has not")
	}
}

// world is an authority whose keys live in tokens.
type world struct {
	dir    string
	tokens *Tokens
	root   string // URI
}

func newWorld(t *testing.T, family issuance.Family) *world {
	t.Helper()
	w := &world{dir: filepath.Join(t.TempDir(), "ca"), tokens: openTokens(t)}
	config := folder.DefaultConfig()
	config.Family, config.BaseURL, config.DocumentationOIDs = family, "http://ca.example", true
	for _, purpose := range []string{"root", "issuing", "ocsp", "tsa", "pass", "audit"} {
		token := "bidseal"
		if purpose == "root" {
			token = "offline"
		}
		config.Keys[purpose] = testURI(t, token, string(family)+"-"+purpose)
	}
	w.root = config.Keys["root"]
	_, err := folder.Init(t.Context(), folder.Ceremony{
		Dir: w.dir, Config: config, Passphrase: []byte(passphrase), KDF: folder.KDF{Time: 1, MemoryKiB: 8, Threads: 1}, Tokens: w.tokens, Now: time.Now,
	})
	must(t, err)
	return w
}

func (w *world) open(t *testing.T, tokens folder.Tokens) (*ca.Authority, error) {
	return ca.Open(t.Context(), w.dir, ca.Options{Passphrase: []byte(passphrase), Now: time.Now, Logger: slog.New(slog.DiscardHandler), Tokens: tokens})
}

// TestAuthorityInAToken: ceremony, certificate, list, OCSP, root's list, rotation,
// with OpenSSL as the judge and no private key on the disk.
func TestAuthorityInAToken(t *testing.T) {
	for _, family := range []issuance.Family{issuance.ECDSAP256, issuance.RSA3072} {
		t.Run(string(family), func(t *testing.T) {
			w := newWorld(t, family)
			a, err := w.open(t, w.tokens)
			must(t, err)
			defer func() { must(t, a.Close()) }()
			for _, purpose := range []string{"root", "issuing-1", "ocsp", "tsa", "pass", "audit"} {
				raw, err := os.ReadFile(filepath.Join(w.dir, purpose+".key"))
				must(t, err)
				if !bytes.Contains(raw, []byte("pkcs11:")) || bytes.Contains(raw, []byte("box\":\"A")) || bytes.Contains(raw, []byte(userPIN)) {
					t.Errorf("%s.key: %s", purpose, raw)
				}
			}
			record, err := os.ReadFile(filepath.Join(w.dir, folder.CeremonyRecordFile))
			must(t, err)
			must(t, folder.VerifyCeremonyRecord(record, a.Folder.Root()))
			if _, err := w.open(t, nil); err == nil || !strings.Contains(err.Error(), "pkcs11") {
				t.Errorf("without access to tokens: %v", err)
			}

			key, err := family.GenerateKey()
			must(t, err)
			csr, err := smx509.CreateCertificateRequest(rand.Reader, &smx509.CertificateRequest{}, key)
			must(t, err)
			made, err := a.Life.IssueSingle(t.Context(), life.Single{CSR: csr, Subject: caapi.Subject{
				Kind: "organisation", Name: "Zhang San", Organisation: "Example Ltd.", CreditCode: "91330100MA27XL0G0X", Role: "admin"}})
			must(t, err)
			dir := t.TempDir()
			write := func(name, kind string, der ...[]byte) string {
				path := filepath.Join(dir, name)
				var out bytes.Buffer
				for _, d := range der {
					must(t, pem.Encode(&out, &pem.Block{Type: kind, Bytes: d}))
				}
				must(t, os.WriteFile(path, out.Bytes(), 0o600))
				return path
			}
			root, issuing := write("root.pem", "CERTIFICATE", a.Folder.Root().Raw), write("issuing.pem", "CERTIFICATE", a.Status.Current().Certificate().Raw)
			leaf := write("leaf.pem", "CERTIFICATE", made.Chain[0])
			list, err := a.Life.CRL(t.Context(), "issuing-1")
			must(t, err)
			rootList, err := a.Folder.SignRootCRL(t.Context(), audit.Local("test"), "", []byte(passphrase))
			must(t, err)
			lists := write("lists.pem", "X509 CRL", list.DER, rootList.DER)
			openssl(t, "OK", "verify", "-x509_strict", "-crl_check_all", "-CRLfile", lists, "-CAfile", root, "-untrusted", issuing, leaf)

			cert, err := trust.ParseCertificate(made.Chain[0])
			must(t, err)
			question, err := trust.NewOCSPRequest(cert, a.Status.Current().Certificate(), nil)
			must(t, err)
			for _, want := range []string{"good", "revoked"} {
				answer, err := a.Life.OCSP(t.Context(), question)
				must(t, err)
				path := filepath.Join(dir, want+".ocsp")
				must(t, os.WriteFile(path, answer.DER, 0o600))
				openssl(t, leaf+": "+want, "ocsp", "-issuer", issuing, "-cert", leaf, "-respin", path, "-CAfile", root, "-no_nonce")
				_, err = a.Life.Revoke(t.Context(), audit.Local("test"), life.Revocation{Serial: made.Serial, Reason: trust.KeyCompromise})
				must(t, err)
			}

			next := testURI(t, "bidseal", string(family)+"-issuing-2")
			_, err = a.Folder.RotateIssuing(t.Context(), audit.Local("test"), folder.Rotation{RootPassphrase: []byte(passphrase), Passphrase: []byte(passphrase), KeyURI: next})
			must(t, err)
			b, err := w.open(t, w.tokens)
			must(t, err)
			defer func() { must(t, b.Close()) }()
			if b.Status.Current().Certificate().Equal(a.Status.Current().Certificate()) {
				t.Error("the new authority does not issue")
			}
			_, err = b.Audit.Verify(t.Context())
			must(t, err)
			noPrivateKey(t, w.dir)
		})
	}
}

// openssl runs it and looks for a word in what it says.
func openssl(t *testing.T, want string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "openssl", args...).CombinedOutput() //nolint:gosec // the test's own arguments
	if err != nil || !strings.Contains(string(out), want) {
		t.Errorf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// noPrivateKey: what SoftHSM keeps is no part of the authority's folder, and the
// tokens give no private value out.
func noPrivateKey(t *testing.T, dir string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		for _, mark := range [][]byte{[]byte("PRIVATE KEY"), []byte(userPIN), []byte(hex.EncodeToString([]byte(userPIN)))} {
			if bytes.Contains(raw, mark) {
				t.Errorf("%s holds %q", path, mark)
			}
		}
		return err
	}))
}
