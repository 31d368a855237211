package evidencecmd

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/sdk/sdktest"
)

// evidenceFiles signs somebody in and writes the evidence, an altered copy and the root.
func evidenceFiles(t *testing.T) (file, altered, root string) {
	t.Helper()
	env := sdktest.New(t)
	ch, err := env.Client().Login(t.Context(), bidseal.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := env.Phone("张三").Approve(t.Context(), ch.Payload()); err != nil {
		t.Fatal(err)
	}
	login, err := ch.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	changed := bytes.Replace(login.Evidence, []byte("操作：登录"), []byte("操作：签章"), 1)
	return write("evidence.json", login.Evidence), write("altered.json", changed),
		write("root.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: env.Authority.Root().Raw}))
}

func TestEvidenceVerify(t *testing.T) {
	file, altered, root := evidenceFiles(t)
	_, _, otherRoot := evidenceFiles(t)

	code, stdout, stderr := bidsealRun(t, "evidence", "verify", file, "--trust", root, "--json")
	var report bidseal.Report
	if err := json.Unmarshal([]byte(stdout), &report); code != cli.ExitOK || err != nil || report.Holder.Person != "张三" || report.Kind != "login" {
		t.Fatalf("exit %d, %v: %s %s", code, err, stdout, stderr)
	}
	if code, stdout, _ = bidsealRun(t, "evidence", "verify", file, "--trust", root); code != cli.ExitOK || !strings.Contains(stdout, "证据有效") || !strings.Contains(stdout, "张三") {
		t.Errorf("exit %d: %s", code, stdout)
	}
	if report.Timestamp == nil || !strings.Contains(stdout, report.Timestamp.Serial) {
		t.Errorf("timestamp %+v: %s", report.Timestamp, stdout)
	}
	for _, c := range []struct{ file, root, part string }{{altered, root, bidseal.PartShown}, {file, otherRoot, bidseal.PartPlatformChain}} {
		code, stdout, stderr = bidsealRun(t, "evidence", "verify", c.file, "--trust", c.root, "--json")
		var p protocol.Problem
		if err := json.Unmarshal([]byte(stdout), &p); code != cli.ExitFailed || err != nil || p.Code != protocol.CodeEvidenceInvalid || !strings.Contains(p.Detail, c.part) {
			t.Errorf("want a refusal for %q, got exit %d, %v: %s %s", c.part, code, err, stdout, stderr)
		}
	}
	if code, _, _ = bidsealRun(t, "evidence", "verify", file); code != cli.ExitUsage {
		t.Errorf("without roots: exit %d", code)
	}
	if code, _, _ = bidsealRun(t, "evidence", "verify", file+".none", "--trust", root); code != cli.ExitFailed {
		t.Errorf("a file that is not there: exit %d", code)
	}
}

func TestEvidenceStamp(t *testing.T) {
	env := sdktest.New(t)
	env.Authority.SetTimestampsDown(true)
	ch, err := env.Client().Login(t.Context(), bidseal.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := env.Phone("张三").Approve(t.Context(), ch.Payload()); err != nil {
		t.Fatal(err)
	}
	login, err := ch.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	in, root, out := filepath.Join(dir, "in.json"), filepath.Join(dir, "root.pem"), filepath.Join(dir, "out.json")
	for path, data := range map[string][]byte{in: login.Evidence, root: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: env.Authority.Root().Raw})} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code, stdout, _ := bidsealRun(t, "evidence", "verify", in, "--trust", root); code != cli.ExitOK || !strings.Contains(stdout, "时间戳 / timestamp: 无") {
		t.Errorf("exit %d: %s", code, stdout)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		answer, err := env.Authority.Timestamp(r.Context(), body)
		if err != nil {
			http.Error(w, "", http.StatusServiceUnavailable)
			return
		}
		if _, err := w.Write(answer); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	stamp := []string{"evidence", "stamp", in, "--trust", root, "--tsa", server.URL, "--out", out}
	if code, _, _ := bidsealRun(t, stamp...); code != cli.ExitFailed {
		t.Errorf("stamped by an authority that is down: exit %d", code)
	}
	if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a file was written")
	}
	env.Authority.SetTimestampsDown(false)
	if code, stdout, stderr := bidsealRun(t, stamp...); code != cli.ExitOK {
		t.Errorf("exit %d: %s %s", code, stdout, stderr)
	}
	if code, stdout, _ := bidsealRun(t, "evidence", "verify", out, "--trust", root); code != cli.ExitOK || !strings.Contains(stdout, "sdktest timestamps") {
		t.Errorf("exit %d: %s", code, stdout)
	}
}
