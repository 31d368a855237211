package cacmd

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/catest"
	"github.com/bidseal/bidseal/ca/registry"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
)

// TestOperatorCommands: keys, certificates, list, block, and a call that a blocked
// operator can no longer make.
func TestOperatorCommands(t *testing.T) {
	c, dir := catest.New(t, catest.Options{}), t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(file("passphrase"), []byte(catest.Passphrase), 0o600); err != nil {
		t.Fatal(err)
	}
	base := []string{"--data", c.Dir, "--password-file", file("passphrase"), "--operator", "tester"}
	var made map[string]string
	caLine(t, nil, &made, "operator", "key", "--key", file("a.key"), "--csr", file("a.csr"))
	var operator caapi.OperatorCertificate
	caLine(t, base, &operator, "operator", "add", "alice", "--role", "audit", "--csr", file("a.csr"), "--out", file("a.json"))
	var list struct{ Operators []registry.OperatorInfo }
	caLine(t, base, &list, "operator", "list")
	if len(list.Operators) != 1 || list.Operators[0].ID != operator.ID || list.Operators[0].State != "active" {
		t.Fatalf("%+v", list)
	}
	call := []string{"ca", "operator", "call", "GET", "/v1/operator/operators", "--ca", c.URL, "--key", file("a.key"), "--certificate", file("a.json")}
	code, stdout, stderr := bidsealRun(t, call...)
	if code != cli.ExitOK || !strings.Contains(stdout, operator.ID) {
		t.Fatalf("%d %s %s", code, stdout, stderr)
	}
	caLine(t, base, &made, "operator", "block", operator.ID)
	if code, _, stderr := bidsealRun(t, call...); code != cli.ExitFailed || !strings.Contains(stderr, "unauthorized") {
		t.Errorf("blocked: %d %s", code, stderr)
	}
	for name, args := range map[string][]string{
		"role": append([]string{"ca", "operator", "add", "x", "--role", "king", "--csr", file("a.csr"), "--out", file("x")}, base...),
		"csr":  append([]string{"ca", "operator", "add", "x", "--role", "audit"}, base...), "key": {"ca", "operator", "key"},
		"url": {"ca", "operator", "call", "GET", "/"}, "recovery": {"ca", "recovery", "request"}, "digest": {"ca", "recovery", "approve", "x"},
		"proof": {"ca", "transparency", "prove", "--ca", "http://127.0.0.1:1"}, "log key": {"ca", "transparency", "verify", "x"},
	} {
		if code, _, stderr := bidsealRun(t, args...); code != cli.ExitUsage {
			t.Errorf("%s: %d %s", name, code, stderr)
		}
	}
}

// TestRecoveryAndListingCommands: two operators recover a key at their desks; the
// public proves it, and the listing's head continues.
func TestRecoveryAndListingCommands(t *testing.T) {
	c := catest.New(t, catest.Options{})
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	desk := func(name string) []string {
		var made map[string]string
		caLine(t, nil, &made, "operator", "key", "--key", file(name+".key"), "--csr", file(name+".csr"))
		csr, err := readPEMBlock(file(name + ".csr"))
		if err != nil {
			t.Fatal(err)
		}
		cert, err := c.Registry.AddOperator(context.Background(), audit.Local("test"), registry.NewOperator{Name: name, Role: registry.RoleRecovery, CSR: csr})
		if err != nil {
			t.Fatal(err)
		}
		writeJSONFile(t, file(name+".json"), cert)
		return []string{"--ca", c.URL, "--key", file(name + ".key"), "--certificate", file(name + ".json")}
	}
	alice, bob := desk("alice"), desk("bob")
	writeKey(t, file("audit.pem"), c.Audit.Key())
	receiver, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	writeKey(t, file("receiver.pem"), receiver.Public())
	var head any
	caLine(t, nil, &head, "transparency", "head", "--ca", c.URL, "--out", file("head.json"))
	serial := trust.SerialHex(c.Person("李四").Encryption.SerialNumber)
	var info caapi.RecoveryInfo
	caLine(t, alice, &info, "recovery", "request", "--serial", serial, "--to", file("receiver.pem"), "--reason", "file 12")
	caLine(t, bob, &info, "recovery", "show", info.ID)
	caLine(t, bob, &info, "recovery", "approve", info.ID, "--digest", info.Digest, "--out", file("key.der"))
	raw, err := os.ReadFile(file("key.der"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sm2.ParseEnvelopedPrivateKey(receiver, raw); err != nil {
		t.Error(err)
	}
	var done map[string]any
	caLine(t, nil, &done, "transparency", "prove", "--ca", c.URL, "--serial", serial, "--out", file("proof.json"))
	caLine(t, nil, &done, "transparency", "verify", file("proof.json"), "--log-key", file("audit.pem"), "--head", file("head.json"))
	if code, _, stderr := bidsealRun(t, "ca", "transparency", "verify", file("proof.json"), "--log-key", file("receiver.pem")); code != cli.ExitFailed {
		t.Errorf("another log's key: %d %s", code, stderr)
	}
	altered, err := os.ReadFile(file("proof.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file("wrong.json"), []byte(strings.Replace(string(altered), `"index":`, `"index":1`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := bidsealRun(t, "ca", "transparency", "verify", file("wrong.json"), "--log-key", file("audit.pem")); code != cli.ExitFailed {
		t.Errorf("another index: %d %s", code, stderr)
	}
	caLine(t, nil, &done, "transparency", "prove", "--ca", c.URL, "--since", file("head.json"), "--out", file("continued.json"))
	caLine(t, nil, &done, "transparency", "verify", file("continued.json"), "--log-key", file("audit.pem"))
}

func writeJSONFile(t *testing.T, path string, v any) {
	t.Helper()
	raw, err := protocol.EncodeJSON(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func writeKey(t *testing.T, path string, key crypto.PublicKey) {
	t.Helper()
	der, err := protocol.MarshalKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
