package relaycmd

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/catest"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// relayFolder is a relay made by `relay init`, and a root that certifies platforms.
type relayFolder struct {
	dir, config string
	rootKey     crypto.Signer
	root        *smx509.Certificate
}

func fatal(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newRelayFolder(t *testing.T) relayFolder {
	t.Helper()
	f := relayFolder{dir: filepath.Join(t.TempDir(), "relay")}
	f.config = filepath.Join(f.dir, ConfigFile)
	key, err := sm2.GenerateKey(rand.Reader)
	fatal(t, err)
	template := &smx509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, SubjectKeyId: []byte("root"),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: true, KeyUsage: smx509.KeyUsageCertSign}
	der, err := smx509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	fatal(t, err)
	f.rootKey = key
	f.root, err = trust.ParseCertificate(der)
	fatal(t, err)
	spki, err := protocol.MarshalKey(key.Public())
	fatal(t, err)
	files := t.TempDir()
	rootFile, passFile := filepath.Join(files, "root.pem"), filepath.Join(files, "pass.pem")
	fatal(t, os.WriteFile(rootFile, pemfile.EncodeCertificates([][]byte{der}), 0o600))
	fatal(t, os.WriteFile(passFile, pemfile.EncodePublicKey(spki), 0o600))
	f.run(t, cli.ExitOK, "init", "--dir", f.dir, "--origin", "http://127.0.0.1:8401", "--root", rootFile, "--pass-key", passFile)
	return f
}

// run runs `bidseal relay ... --json` and returns stdout.
func (f relayFolder) run(t *testing.T, want int, args ...string) string {
	t.Helper()
	code, stdout, stderr := bidsealRun(t, append([]string{"relay", "--json", "--config", f.config}, args...)...)
	if code != want {
		t.Fatalf("relay %v: exit code %d, want %d\n%s", args, code, want, stderr)
	}
	return stdout
}

// registration is what the authority's approval would export.
func (f relayFolder) registration(t *testing.T, id, name string, alter func(*relay.PlatformRegistration)) string {
	t.Helper()
	key, err := sm2.GenerateKey(rand.Reader)
	fatal(t, err)
	value, err := asn1.MarshalWithParams(id, "utf8")
	fatal(t, err)
	oids := trust.DocumentationOIDs()
	template := &smx509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, SubjectKeyId: []byte(id),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: smx509.KeyUsageDigitalSignature,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{oids.PlatformUsage}, ExtraExtensions: []pkix.Extension{{Id: oids.PlatformID, Value: value}}}
	der, err := smx509.CreateCertificate(rand.Reader, template, f.root, key.Public(), f.rootKey)
	fatal(t, err)
	api, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fatal(t, err)
	spki, err := protocol.MarshalKey(api.Public())
	fatal(t, err)
	reg := relay.PlatformRegistration{V: 1, PlatformID: id, Name: name, Chain: []protocol.Bytes{der}, APIKey: spki, Origins: []string{"https://bid.example.cn"}}
	if alter != nil {
		alter(&reg)
	}
	raw, err := json.MarshalIndent(reg, "", "  ")
	fatal(t, err)
	file := filepath.Join(t.TempDir(), "registration.json")
	fatal(t, os.WriteFile(file, append(raw, '\n'), 0o600))
	return file
}

// The relay adds itself to the authority's trust file, and believes what that file names.
func TestRelayInitAddsItselfToTheTrustFile(t *testing.T) {
	ca := catest.New(t, catest.Options{})
	believed := filepath.Join(ca.Dir, trust.FileName)
	before, err := cli.ReadTrustFile(believed)
	fatal(t, err)
	f := relayFolder{dir: filepath.Join(t.TempDir(), "relay")}
	f.config = filepath.Join(f.dir, ConfigFile)
	f.run(t, cli.ExitOK, "init", "--dir", f.dir, "--origin", "http://127.0.0.1:8401", "--trust", believed)
	ledger, err := pemfile.ReadPublicKey(filepath.Join(f.dir, relayPublicFile))
	fatal(t, err)
	for _, path := range []string{believed, filepath.Join(f.dir, trust.FileName)} {
		file, err := cli.ReadTrustFile(path)
		fatal(t, err)
		keys := file.LedgerKeys("http://127.0.0.1:8401")
		if len(keys) != 1 || !ledger.(*ecdsa.PublicKey).Equal(keys[0]) || len(file.PassKeys()) != 1 || !file.Authorities[0].OIDs.Equal(before.Authorities[0].OIDs) {
			t.Errorf("%s: %d ledger keys, %d pass keys", path, len(keys), len(file.PassKeys()))
		}
	}
	config := DefaultConfig()
	fatal(t, cli.LoadConfig(f.config, &config))
	config.Dir = f.dir
	file, err := config.believed()
	fatal(t, err)
	if len(config.Roots)+len(config.PassKeys) != 0 || len(file.Authorities) != 1 {
		t.Errorf("configuration %+v", config)
	}
	config.Roots = []string{"roots.pem"}
	if _, err := config.believed(); err == nil {
		t.Error("a trust file and roots beside it are taken")
	}
	f.run(t, cli.ExitUsage, "init", "--dir", filepath.Join(t.TempDir(), "r"), "--origin", "http://127.0.0.1:8401", "--trust", believed, "--root", believed)
	f.run(t, cli.ExitUsage, "init", "--dir", filepath.Join(t.TempDir(), "r"), "--origin", "http://127.0.0.1:8401")
	f.run(t, cli.ExitUsage, "init", "--dir", filepath.Join(t.TempDir(), "r"), "--origin", "http://127.0.0.1:8401", "--root", believed)
	root := filepath.Join(ca.Dir, "root.pem") // PEM after --trust is --root: a pass key is then needed
	f.run(t, cli.ExitUsage, "init", "--dir", filepath.Join(t.TempDir(), "r"), "--origin", "http://127.0.0.1:8401", "--trust", root)
	f.run(t, cli.ExitOK, "init", "--dir", filepath.Join(t.TempDir(), "r"), "--origin", "http://127.0.0.1:8401", "--trust", root, "--ca", ca.URL)
}

func TestRelayOperatorCommands(t *testing.T) {
	f := newRelayFolder(t)
	f.run(t, cli.ExitUsage, "init", "--dir", f.dir, "--origin", "http://127.0.0.1:8401", "--root", "x", "--pass-key", "x")
	f.run(t, cli.ExitUsage, "platform", "list") // no database yet
	serveBriefly(t, f, func(string) {})

	file := f.registration(t, "p-1", "示例交易平台", nil)
	f.run(t, cli.ExitOK, "platform", "add", "--file", file, "--keep", "48h")
	for name, alter := range map[string]func(*relay.PlatformRegistration){
		"another platform": func(r *relay.PlatformRegistration) { r.PlatformID = "p-2" },
		"another name":     func(r *relay.PlatformRegistration) { r.Name = "其他平台" },
		"an SM2 API key":   func(r *relay.PlatformRegistration) { r.APIKey = spkiOf(t, f.rootKey.Public()) },
		"origin with path": func(r *relay.PlatformRegistration) { r.Origins = []string{"https://bid.example.cn/x"} },
		"no chain":         func(r *relay.PlatformRegistration) { r.Chain = nil },
		"the root's chain": func(r *relay.PlatformRegistration) { r.Chain = []protocol.Bytes{f.root.Raw} },
		"another version":  func(r *relay.PlatformRegistration) { r.V = 2 },
	} {
		if code, _, _ := bidsealRun(t, "relay", "--config", f.config, "platform", "add", "--file", f.registration(t, "p-1", "示例交易平台", alter)); code != cli.ExitFailed {
			t.Errorf("%s: exit code %d", name, code)
		}
	}
	foreign := newRelayFolder(t)
	f.run(t, cli.ExitFailed, "platform", "add", "--file", foreign.registration(t, "p-1", "示例交易平台", nil))
	f.run(t, cli.ExitUsage, "platform", "add", "--file", file, "--keep", "169h")

	var list struct{ Platforms []relay.Platform }
	fatal(t, json.Unmarshal([]byte(f.run(t, cli.ExitOK, "platform", "list")), &list))
	if len(list.Platforms) != 1 || list.Platforms[0].ID != "p-1" || list.Platforms[0].MaxKeep != 48*3600 || list.Platforms[0].Blocked {
		t.Fatalf("platforms %+v", list)
	}
	f.run(t, cli.ExitOK, "platform", "block", "p-1")
	f.run(t, cli.ExitOK, "platform", "add", "--file", file) // a new registration lifts no block
	fatal(t, json.Unmarshal([]byte(f.run(t, cli.ExitOK, "platform", "list")), &list))
	if !list.Platforms[0].Blocked {
		t.Fatal("the block is gone")
	}
	f.run(t, cli.ExitOK, "platform", "block", "p-1", "--lift")
	f.run(t, cli.ExitFailed, "platform", "block", "nobody")
	f.run(t, cli.ExitOK, "device", "deny", strings.Repeat("0", 32), "--reason", "lost")
	f.run(t, cli.ExitUsage, "device", "deny")

	head := filepath.Join(t.TempDir(), "head.json")
	f.run(t, cli.ExitOK, "verify-log", "--keep", head)
	f.run(t, cli.ExitOK, "verify-log", "--head", head)
	fatal(t, os.WriteFile(head, []byte(`{"size":3,"head":"`+protocol.Bytes(make([]byte, 32)).String()+`"}`), 0o600))
	var p protocol.Problem
	fatal(t, json.Unmarshal([]byte(f.run(t, cli.ExitFailed, "verify-log", "--head", head)), &p))
	if p.Code != protocol.CodeLedgerInvalid {
		t.Fatalf("problem %+v", p)
	}
}

func spkiOf(t *testing.T, key crypto.PublicKey) []byte {
	t.Helper()
	spki, err := protocol.MarshalKey(key)
	fatal(t, err)
	return spki
}

// serveBriefly runs `relay serve` on a free port until do returns.
func serveBriefly(t *testing.T, f relayFolder, do func(base string)) {
	t.Helper()
	serveBrieflyWithAdmin(t, f, func(base, _ string) { do(base) })
}

// serveBrieflyWithAdmin tells where the operator's listener is, too.
func serveBrieflyWithAdmin(t *testing.T, f relayFolder, do func(base, admin string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	ended := make(chan int, 1)
	var stderr strings.Builder
	go func() {
		ended <- cli.Execute(ctx, cli.NewRoot("bidseal", "", New()), []string{"relay", "serve", "--config", f.config, "--listen", "127.0.0.1:0", "--json"}, strings.NewReader(""), in, &stderr)
		in.Close()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	var ready struct{ Relay, Listen, Admin string }
	if err == nil {
		err = json.Unmarshal([]byte(line), &ready)
	}
	if err != nil {
		cancel()
		<-ended
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	do("http://"+ready.Listen, "http://"+ready.Admin)
	cancel()
	if code := <-ended; code != cli.ExitOK {
		t.Fatalf("exit code %d\n%s", code, stderr.String())
	}
}

func TestRelayServe(t *testing.T) {
	f := newRelayFolder(t)
	public, err := os.ReadFile(filepath.Join(f.dir, relayPublicFile))
	fatal(t, err)
	block, _ := pem.Decode(public)
	serveBriefly(t, f, func(base string) {
		for _, path := range []string{"/healthz", "/readyz", "/v1/ledger/head", "/v1/info"} {
			resp, err := http.Get(base + path) //nolint:noctx // a test
			fatal(t, err)
			raw, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			fatal(t, err)
			if resp.StatusCode != http.StatusOK {
				t.Errorf("%s: %s %s", path, resp.Status, raw)
			}
			if path != "/v1/info" {
				continue
			}
			var info protocol.RelayInfo
			fatal(t, protocol.DecodeJSON(raw, &info))
			if info.Origin != "http://127.0.0.1:8401" || string(info.LedgerKey) != string(block.Bytes) {
				t.Errorf("info %+v", info)
			}
		}
	})
	info, err := os.Stat(filepath.Join(f.dir, relayKeyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the ledger's key: %v, %v", info, err)
	}
}

// TestRelayMetricsArePrivate: they stand on the operator's listener, and on the
// public one only where the configuration says so.
func TestRelayMetricsArePrivate(t *testing.T) {
	f := newRelayFolder(t)
	status := func(url string) int {
		t.Helper()
		resp, err := http.Get(url) //nolint:noctx // a test
		fatal(t, err)
		resp.Body.Close()
		return resp.StatusCode
	}
	text, err := os.ReadFile(f.config)
	fatal(t, err)
	for public, want := range map[string]int{"": http.StatusNotFound, "public_metrics = true\n": http.StatusOK} {
		config := strings.ReplaceAll(strings.ReplaceAll(string(text), "admin = ''\n", ""), "public_metrics = false\n", "")
		fatal(t, os.WriteFile(f.config, []byte("admin = '127.0.0.1:0'\n"+public+config), 0o600))
		serveBrieflyWithAdmin(t, f, func(base, admin string) {
			if got := status(base + "/metrics"); got != want {
				t.Errorf("%q: /metrics for everybody: %d, want %d", public, got, want)
			}
			for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
				if got := status(admin + path); got != http.StatusOK {
					t.Errorf("%q: %s for the operator: %d", public, path, got)
				}
			}
		})
	}
}

func TestRelayConfig(t *testing.T) {
	f := newRelayFolder(t)
	printed := f.run(t, cli.ExitOK, "serve", "--print-config")
	if !strings.Contains(printed, "127.0.0.1:8401") || !strings.Contains(printed, "ledger_key") {
		t.Fatalf("printed %s", printed)
	}
	fatal(t, os.WriteFile(f.config, []byte(printed), 0o600))
	if again := f.run(t, cli.ExitOK, "serve", "--print-config"); again != printed {
		t.Fatalf("read again: %s", again)
	}
	for name, line := range map[string]string{
		"unknown key": "listne = 'x'\n", "bad duration": "[limits]\nkeep_ended = 'soon'\n", "negative limit": "[limits]\nwaiters = -1\n",
	} {
		text := printed
		if strings.HasPrefix(line, "[limits]") {
			text = text[:strings.Index(text, "[limits]")]
		} else {
			text = line + text
		}
		if name != "unknown key" {
			text += line
		}
		fatal(t, os.WriteFile(f.config, []byte(text), 0o600))
		if code, _, stderr := bidsealRun(t, "relay", "serve", "--config", f.config, "--listen", "127.0.0.1:0"); code == cli.ExitOK {
			t.Errorf("%s was accepted: %s", name, stderr)
		}
	}
	fatal(t, os.WriteFile(f.config, []byte(printed), 0o600))
	fatal(t, os.Remove(filepath.Join(f.dir, relayKeyFile)))
	if code, _, _ := bidsealRun(t, "relay", "serve", "--config", f.config, "--listen", "127.0.0.1:0"); code == cli.ExitOK {
		t.Error("a relay without its ledger key started")
	}
}
