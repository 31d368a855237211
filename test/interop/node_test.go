//go:build interop

package interop

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// nodeAnswers has folder/peer.mjs, which stands on an npm package, do its work, and reads the JSON document that it
// prints. What is not installed, or does not work as it is installed, is named with its version.
func nodeAnswers[T any](t *testing.T, folder, npmPackage string, input []byte, args ...string) (answers T) {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatalf("Node.js is needed (Debian's package nodejs): %v", err)
	}
	installed := filepath.Join(folder, "node_modules", filepath.FromSlash(npmPackage), "package.json")
	if _, err := filepath.EvalSymlinks(installed); err != nil {
		t.Fatalf("the npm package %s is needed, `make interop` installs it: %v", npmPackage, err)
	}
	cmd := exec.CommandContext(t.Context(), node, append([]string{filepath.Join(folder, "peer.mjs")}, args...)...)
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s on Node.js %s: %v\n%s", npmPackage, nodeVersion(t, node), err, said.Bytes())
	}
	if err := json.Unmarshal(out.Bytes(), &answers); err != nil {
		t.Fatalf("%s on Node.js %s printed no JSON (%v):\n%s\n%s", npmPackage, nodeVersion(t, node), err, out.Bytes(), said.Bytes())
	}
	return answers
}

func nodeVersion(t *testing.T, node string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), node, "--version").Output()
	if err != nil {
		return "of unknown version"
	}
	return strings.TrimSpace(string(out))
}
