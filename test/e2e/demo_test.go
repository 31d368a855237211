//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary is the program under test, set by TestMain.
var binary string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

// run finds or builds the binary, then runs the tests.
func run(m *testing.M) int {
	binary = os.Getenv("BIDSEAL_BIN")
	if binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "bidseal-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "bidseal")
	build := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-o", binary, "github.com/bidseal/bidseal/cmd/bidseal")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "e2e: build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// demo is one running `bidseal demo`; its fields are the ready line's.
type demo struct {
	Platform string `json:"platform"`
	Relay    string `json:"relay"`
	CA       string `json:"ca"`
	App      string `json:"app"`
	Data     string `json:"data"`
	Root     string `json:"root"` // PEM file of the authority's root
	Phones   []struct {
		Name         string `json:"name"`
		State        string `json:"state"`
		PasswordFile string `json:"password_file"`
		Organisation string `json:"organisation"`
		Role         string `json:"role"`
	} `json:"phones"`

	t    *testing.T
	cmd  *exec.Cmd
	logs *lockedBuffer
}

// lockedBuffer collects a process's log while the test may already read it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// startDemo starts a demo on free ports in the given folder (a fresh one when empty), waits for its ready line, and
// ends it with the test. Ending must be clean.
func startDemo(t *testing.T, data string, flags ...string) *demo {
	t.Helper()
	if data == "" {
		data = t.TempDir()
	}
	d := &demo{t: t, logs: &lockedBuffer{}}
	args := append([]string{"demo", "--json", "--port", "0", "--data", data}, flags...)
	d.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), binary, args...)
	d.cmd.Stderr = d.logs
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.stop()
		if t.Failed() {
			t.Logf("the demo's log:\n%s", d.logs)
		}
	})
	// A demo that never gets ready is killed, which ends the read below.
	watchdog := time.AfterFunc(patience, func() { _ = d.cmd.Process.Kill() })
	defer watchdog.Stop()
	reader := bufio.NewReader(stdout)
	line, err := reader.ReadBytes('\n')
	if err != nil {
		t.Fatalf("the demo gave no ready line: %v\n%s", err, d.logs)
	}
	if err := json.Unmarshal(line, d); err != nil {
		t.Fatalf("ready line %q: %v", line, err)
	}
	if d.Platform == "" || len(d.Phones) == 0 {
		t.Fatalf("ready line without platform or phones: %s", line)
	}
	go func() {
		// Nothing more is expected on stdout; draining keeps the process from blocking on it.
		_, _ = reader.WriteTo(d.logs)
	}()
	return d
}

// stop asks the demo to end and checks that it does so cleanly; a second call does nothing.
func (d *demo) stop() {
	if d.cmd.ProcessState != nil {
		return
	}
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		d.t.Errorf("SIGTERM: %v", err)
	}
	watchdog := time.AfterFunc(patience, func() { _ = d.cmd.Process.Kill() })
	defer watchdog.Stop()
	if err := d.cmd.Wait(); err != nil {
		d.t.Errorf("the demo did not end cleanly on SIGTERM: %v", err)
	}
}
