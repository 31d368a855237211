package bidseal

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/bidseal/bidseal/protocol"
)

// seen is a state of the relay and when it was asked for and received on our
// clock. asked is zero where the relay sent it unasked.
type seen struct {
	state           *protocol.ChallengeState
	asked, received time.Time
}

// workers handle events, several challenges at once and each challenge one
// event after the other. Newer events of a busy challenge replace each other:
// every event is the full state.
type workers struct {
	client *Client
	slots  chan struct{} // bounds the challenges worked on
	group  sync.WaitGroup

	mu   sync.Mutex
	jobs map[protocol.CID]*job
}

// job is one challenge's work.
type job struct {
	oldest int64 // rev of the first event that is not done
	next   *seen // came meanwhile
}

// workTries is how often an event is tried, over about a minute, before the
// sweeper takes over.
const workTries = 10

func newWorkers(c *Client) *workers {
	return &workers{client: c, slots: make(chan struct{}, max(8, 4*runtime.GOMAXPROCS(0))), jobs: make(map[protocol.CID]*job)}
}

// take hands an event to a worker; it waits while all are busy, which stops the
// reading of the feed.
func (w *workers) take(ctx context.Context, s seen) error {
	w.mu.Lock()
	if running := w.jobs[s.state.CID]; running != nil {
		running.next = &s
		w.mu.Unlock()
		return nil
	}
	w.jobs[s.state.CID] = &job{oldest: s.state.Rev}
	w.mu.Unlock()
	select {
	case w.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err() // the job stays, so that the cursor does not pass it
	}
	w.group.Go(func() {
		defer func() { <-w.slots }()
		for next := &s; next != nil; next = w.done(ctx, s.state.CID) {
			w.do(ctx, *next)
		}
	})
	return nil
}

// do works on one event until it is done, or left to the sweeper.
func (w *workers) do(ctx context.Context, s seen) {
	for try := range workTries {
		err := w.client.apply(ctx, s)
		if err == nil || ctx.Err() != nil {
			return
		}
		w.client.log(ctx, "handle the relay's event", s.state.CID, err)
		if refused := new(Error); errors.As(err, &refused) && !retryable(err) {
			return
		}
		if !w.client.pause(ctx, backoff(try)) {
			return
		}
	}
}

// done ends the job, or gives the event that came meanwhile. A job that ctx
// interrupted stays, so that the cursor does not pass it.
func (w *workers) done(ctx context.Context, cid protocol.CID) *seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ctx.Err() != nil {
		return nil
	}
	j := w.jobs[cid]
	next := j.next
	if next == nil {
		delete(w.jobs, cid)
		return nil
	}
	j.oldest, j.next = next.state.Rev, nil
	return next
}

// oldest is the rev of the oldest event that is not done.
func (w *workers) oldest() (rev int64, busy bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, j := range w.jobs {
		if !busy || j.oldest < rev {
			rev, busy = j.oldest, true
		}
	}
	return rev, busy
}

func (w *workers) wait() { w.group.Wait() }
