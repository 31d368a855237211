//go:build unix

package assist

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"os"
	osexec "os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/internal/sqldb"
	"github.com/bidseal/bidseal/protocol"
)

// childCall is what a killed process is told.
type childCall struct {
	Source   sqldb.Source
	KEK      []byte
	RealName []byte
	Device   Device
	Step     string
	Call     Call
	Now      int64
}

const childVariable = "BIDSEAL_TEST_KILL"

// TestKilledChild is the process that the tests below kill; run alone it has
// nothing to do.
func TestKilledChild(t *testing.T) {
	told := os.Getenv(childVariable)
	if told == "" {
		return
	}
	var c childCall
	must(t, json.Unmarshal([]byte(told), &c))
	db, err := sqldb.Open(t.Context(), c.Source)
	must(t, err)
	realName, err := protocol.ParseKey(c.RealName)
	must(t, err)
	s, err := New(Options{
		DB: db, KEK: c.KEK, URL: testURL, RealName: []crypto.PublicKey{realName}, Now: func() time.Time { return time.Unix(c.Now, 0) },
		Device: func(context.Context, Querier, string) (*Device, error) { return &c.Device, nil },
		Audit:  func(context.Context, Querier, Event) error { return nil },
	})
	must(t, err)
	s.stop = func(step string) error {
		if step == c.Step {
			must(t, syscall.Kill(os.Getpid(), syscall.SIGKILL))
			select {} // the signal ends it
		}
		return nil
	}
	switch c.Call.Path {
	case assistapi.PathBegin:
		_, err = s.Begin(t.Context(), c.Call)
	case assistapi.PathEvaluate:
		_, err = s.Evaluate(t.Context(), c.Call)
	case assistapi.PathProve:
		_, err = s.Prove(t.Context(), c.Call)
	case assistapi.PathReset:
		_, err = s.Reset(t.Context(), c.Call)
	}
	t.Fatalf("the process outlived step %s: %v", c.Step, err)
}

// killed has a server process answer a call and kills it at a step.
func (p *phone) killed(step string, c Call) {
	p.w.t.Helper()
	realName, err := protocol.MarshalKey(&p.w.realName.PublicKey)
	must(p.w.t, err)
	told, err := json.Marshal(childCall{Source: p.w.source, KEK: p.w.kek, RealName: realName, Device: *p.w.devices[p.id], Step: step, Call: c, Now: p.w.clock().Unix()})
	must(p.w.t, err)
	self, err := os.Executable()
	must(p.w.t, err)
	child := osexec.CommandContext(p.w.t.Context(), self, "-test.run=^TestKilledChild$", "-test.count=1")
	child.Env = append(os.Environ(), childVariable+"="+string(told))
	said, err := child.CombinedOutput()
	var exit *osexec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		p.w.t.Fatalf("the child was not killed: %v\n%s", err, said)
	}
}

// Killed between count and answer: the try comes again, counts once, and the
// right password opens.
func TestKilledBetweenCountAndAnswer(t *testing.T) {
	for _, step := range []string{stepCounted, stepEvaluated, stepWritten, stepStored} {
		t.Run(step, func(t *testing.T) {
			w := newWorld(t)
			p, dataKey := w.enrolled()
			for range 3 {
				try := p.try(right)
				p.killed(step, p.call(assistapi.PathEvaluate, try.body))
				if n := p.failures(); n != 0 && n != 1 || (n == 1) != (step == stepStored) {
					t.Fatalf("%d counted", n)
				}
				a, err := p.send(try)
				must(t, err)
				if got := xor(p.slotKey(try, a), p.masked); !bytes.Equal(got, dataKey) || p.failures() != 1 {
					t.Fatalf("another key, or %d counted", p.failures())
				}
				must(t, p.prove(dataKey, try))
			}
		})
	}
}

// Killed between the new epoch and its confirmation: the old or the new password
// is valid, never neither.
func TestKilledBetweenNewEpochAndConfirmation(t *testing.T) {
	for _, step := range []string{stepWritten, stepStored} {
		t.Run(step, func(t *testing.T) {
			w := newWorld(t)
			p, dataKey := w.enrolled()
			body, _ := p.beginBody(dataKey, random(t, 16))
			p.killed(step, p.call(assistapi.PathBegin, body))
			first, err := w.Begin(t.Context(), p.call(assistapi.PathBegin, body))
			must(t, err)
			if n := w.count(`SELECT count(*) FROM assist_epochs WHERE epoch = $1`, first.Epoch); n != 1 {
				t.Errorf("%d epochs of one begin", n)
			}
			old := *p
			next, try, _ := p.set(dataKey, "a new password")
			p.killed(step, p.call(assistapi.PathProve, p.proof(next, p.epoch, try.body.Attempt)))
			if step == stepWritten {
				got, _, err := old.open(right)
				must(t, err)
				if !bytes.Equal(got, dataKey) {
					t.Error("the old password is not valid")
				}
			}
			got, _, err := p.open("a new password")
			must(t, err)
			if !bytes.Equal(got, next) {
				t.Error("the new password is not valid")
			}
			must(t, p.prove(next, try))
			_, _, err = old.open(right)
			wantCode(t, err, protocol.CodeKeystoreGone)
		})
	}
}

// Killed at the release of a share: the token is used by this request, which
// gets the share when it comes again, and by no other.
func TestKilledAtReset(t *testing.T) {
	for _, step := range []string{stepWritten, stepStored} {
		t.Run(step, func(t *testing.T) {
			w := newWorld(t)
			p, _, share := w.withShare()
			token := p.token()
			r, ephemeral := p.ask(token)
			p.killed(step, p.call(assistapi.PathReset, r))
			if step == stepStored {
				other, _ := p.ask(token)
				_, err := p.reset(other)
				wantCode(t, err, protocol.CodeRealNameToken)
			}
			a, err := p.reset(r)
			must(t, err)
			got, err := assistapi.OpenShare(ephemeral, a.Share, p.keystore, p.epoch)
			must(t, err)
			if !bytes.Equal(got, share) {
				t.Error("another share")
			}
			if got, _, err := p.open(right); err != nil || got == nil {
				t.Errorf("the old password: %v", err)
			}
		})
	}
}
