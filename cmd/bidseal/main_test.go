package main

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/spf13/cobra"
)

// bidseal runs one command line in this process.
func bidsealRun(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &out, &errOut)
	return code, out.String(), errOut.String()
}

func TestExitCodes(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	for _, c := range []struct {
		name string
		args []string
		want int
	}{
		{"success", []string{"version"}, exitOK},
		{"unknown command", []string{"nonsense"}, exitUsage},
		{"unknown flag", []string{"version", "--nonsense"}, exitUsage},
		{"superfluous argument", []string{"version", "x"}, exitUsage},
		{"missing flag", []string{"platform", "request"}, exitUsage},
		{"nothing to fetch", []string{"platform", "fetch", "--dir", missing, "--relay", "http://127.0.0.1:1", "--app", "http://127.0.0.1:1", "--root", "x"}, exitUsage},
		{"authority not there", []string{"platform", "request", "--dir", missing, "--ca", "http://127.0.0.1:1", "--name", "n", "--organisation", "o", "--contact", "c", "--origin", "http://127.0.0.1:2"}, exitFailed},
	} {
		if code, _, stderr := bidsealRun(t, c.args...); code != c.want {
			t.Errorf("%s: exit code %d, want %d; stderr: %s", c.name, code, c.want, stderr)
		}
	}
}

func TestFailureIsAProblemDocument(t *testing.T) {
	code, stdout, stderr := bidsealRun(t, "platform", "request", "--json", "--dir", t.TempDir(), "--ca", "http://127.0.0.1:1",
		"--name", "n", "--organisation", "o", "--contact", "c", "--origin", "http://127.0.0.1:2")
	if code != exitFailed {
		t.Fatalf("exit code %d", code)
	}
	var p protocol.Problem
	if err := json.Unmarshal([]byte(stdout), &p); err != nil || p.Code != protocol.CodeNetwork {
		t.Fatalf("stdout %q: %v", stdout, err)
	}
	if !strings.Contains(stderr, "网络连接失败") || !strings.Contains(stderr, "(network") {
		t.Errorf("stderr %q", stderr)
	}
}

// TestEveryCommandHasAnExample holds the rule of the command line for all of
// them, also those that are added later.
func TestEveryCommandHasAnExample(t *testing.T) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Short == "" {
			t.Errorf("%s has no short description", cmd.CommandPath())
		}
		if !cmd.HasSubCommands() && cmd.Name() != "help" && cmd.Example == "" {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(newRootCommand())
}

func TestConfigRefusesUnknownKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(path, []byte("known = 1\nunknwon = 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := struct {
		Known int `toml:"known"`
	}{}
	err := loadConfig(path, &cfg)
	if err == nil || !strings.Contains(err.Error(), "unknwon") {
		t.Fatalf("got %v", err)
	}
}

func TestLANRootVouchesForPrivateAddressesOnly(t *testing.T) {
	now := time.Now()
	trust, err := newLANTrust(t.TempDir(), "192.168.1.20", now)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(trust.rootDER)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(trust.config.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if leaf.Subject.CommonName != "" {
		t.Errorf("common name %q: OpenSSL holds it against the root's list of names", leaf.Subject.CommonName)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: "192.168.1.20", CurrentTime: now}); err != nil {
		t.Errorf("own address: %v", err)
	}
	if _, err := newLANTrust(t.TempDir(), "8.8.8.8", now); err == nil {
		t.Error("a public address was accepted")
	}
	for _, r := range root.PermittedIPRanges {
		if r.Contains(net.IPv4(8, 8, 8, 8)) {
			t.Errorf("the root vouches for %s", r)
		}
	}
	if len(root.PermittedDNSDomains) != 1 || root.PermittedDNSDomains[0] != "bidseal-demo.invalid" || !root.PermittedDNSDomainsCritical {
		t.Errorf("names permitted: %v", root.PermittedDNSDomains)
	}
}
