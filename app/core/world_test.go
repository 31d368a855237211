package core_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/app/core"
	"github.com/bidseal/bidseal/app/core/keystore"
	"github.com/bidseal/bidseal/app/core/storage"
)

const password = "correct-horse"

// world is an authority, a relay, a platform and a phone in one process.
type world struct {
	t         testing.TB
	clock     *clock // of everyone but the phone
	phoneSkew time.Duration
	authority *authority
	relay     *relay
	platform  signer
	files     storage.Files
	phone     *core.Core
	calls     []core.Call // as they went out
	// intercept may answer instead of the servers, or lose the answer.
	intercept func(call core.Call, serve func() core.Answer) (core.Answer, error)
}

var errLost = errors.New("connection reset")

// Do implements core.Transport.
func (w *world) Do(_ context.Context, call core.Call) (core.Answer, error) {
	w.calls = append(w.calls, call)
	serve := func() core.Answer {
		if strings.HasPrefix(call.URL, relayOrigin) {
			return w.relay.serve(call)
		}
		return w.authority.serve(call)
	}
	if w.intercept != nil {
		return w.intercept(call, serve)
	}
	return serve(), nil
}

// newWorld makes a world with a phone that is not enrolled.
func newWorld(t testing.TB) *world {
	t.Helper()
	c := newClock()
	p := newPKI(t, c, "test")
	a := newAuthority(p)
	w := &world{t: t, clock: c, authority: a, relay: newRelay(t, c, a), platform: p.platform(platformID, platformName), files: storage.NewMemory()}
	w.restart()
	return w
}

// enrolled is newWorld with an enrolled phone.
func enrolled(t testing.TB) *world {
	t.Helper()
	w := newWorld(t)
	_, err := w.phone.Enrol(t.Context(), w.authority.file(), core.Setup{}, []byte(password))
	must(t, err)
	w.calls = nil
	return w
}

// cheap is a password function for tests that are not about it.
func cheap() keystore.KDF {
	return keystore.KDF{Name: "argon2id", Time: 1, Memory: 1 << 10, Threads: 1}
}

// restart opens the phone anew over the same files: the old one was killed.
func (w *world) restart() {
	w.t.Helper()
	w.phone = w.open(w.files)
}

func (w *world) open(files storage.Files) *core.Core {
	w.t.Helper()
	keys, err := keystore.New(files, cheap())
	must(w.t, err)
	phone, err := core.Open(w.t.Context(), core.Options{Files: files, Keys: keys, Transport: w, App: "test/1",
		Now: func() time.Time { return w.clock.now.Add(w.phoneSkew) }, Log: slog.New(slog.DiscardHandler),
		Pause: func(ctx context.Context, d time.Duration) error { w.clock.add(d); return ctx.Err() }})
	must(w.t, err)
	return phone
}

// scan scans and expects a session.
func (w *world) scan(d *desk) *core.Session {
	w.t.Helper()
	s, err := w.phone.Scan(w.t.Context(), d.link)
	must(w.t, err)
	return s
}

// approve approves with the first candidate and expects success.
func (w *world) approve(s *core.Session) *core.Outcome {
	w.t.Helper()
	out, err := s.Approve(w.t.Context(), s.Review().Candidates[0].ID, []byte(password))
	must(w.t, err)
	return out
}

// sent are the calls whose path ends so.
func (w *world) sent(suffix string) []core.Call {
	var out []core.Call
	for _, c := range w.calls {
		if strings.HasSuffix(c.URL, suffix) {
			out = append(out, c)
		}
	}
	return out
}
