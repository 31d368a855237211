//go:build unix

package ca_test

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	osexec "os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/life"
)

// childCall is what a killed process is told.
type childCall struct {
	Dir  string
	Step string
	Call life.SignedCall
	Now  int64
}

const childVariable = "BIDSEAL_TEST_KILL"

// TestKilledChild is the process that TestKillAtEachStep kills; run alone it
// has nothing to do.
func TestKilledChild(t *testing.T) {
	told := os.Getenv(childVariable)
	if told == "" {
		return
	}
	var c childCall
	must(t, json.Unmarshal([]byte(told), &c))
	a, err := ca.Open(t.Context(), c.Dir, ca.Options{
		Passphrase: []byte(testPassphrase), Now: func() time.Time { return time.Unix(c.Now, 0) }, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	must(t, err)
	a.StopWith(func(step string) error {
		if step == c.Step {
			must(t, syscall.Kill(os.Getpid(), syscall.SIGKILL))
			select {} // the signal ends it
		}
		return nil
	})
	_, err = a.Life.Enrol(t.Context(), c.Call)
	t.Fatalf("the process outlived step %s: %v", c.Step, err)
}

// TestKillAtEachStep does with a real process and a real signal what
// TestCrashAtEachStep does in one.
func TestKillAtEachStep(t *testing.T) {
	for _, step := range steps() {
		t.Run(step, func(t *testing.T) {
			f := newFixture(t)
			p := newPhone(t, f.clock, f.code(t, 0))
			f.killAt(t, step, p.call(t))
			f.afterCrash(t, p, step == stepIssued)
		})
	}
}

// killAt has another process make the call and kills it at the step.
func (f *fixture) killAt(t *testing.T, step string, call life.SignedCall) {
	t.Helper()
	told, err := json.Marshal(childCall{Dir: f.dir, Step: step, Call: call, Now: f.clock.Now().Unix()})
	must(t, err)
	self, err := os.Executable()
	must(t, err)
	child := osexec.CommandContext(t.Context(), self, "-test.run=^TestKilledChild$", "-test.count=1")
	child.Dir = filepath.Dir(f.dir)
	child.Env = append(os.Environ(), childVariable+"="+string(told))
	said, err := child.CombinedOutput()
	var exit *osexec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the child was not killed: %v\n%s", err, said)
	}
}

// TestKillTheLifeAtEachStep: renewal, change of name and reissue by a process
// that is killed at each of its steps.
func TestKillTheLifeAtEachStep(t *testing.T) {
	for _, operation := range operations() {
		for _, step := range steps() {
			t.Run(operation.name+" "+step, func(t *testing.T) {
				f := newFixture(t)
				e, p := operation.begin(t, f)
				f.killAt(t, step, p.call(t))
				f.afterLifeCrash(t, e, p, operation.name, step == stepIssued)
			})
		}
	}
}
