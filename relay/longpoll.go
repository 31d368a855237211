package relay

import (
	"context"
	"time"

	"github.com/bidseal/bidseal/protocol"
)

// await calls read until it reports that there is something to answer, the wait
// is over, or the relay drains. read runs once more after each wake-up, and for
// the first time after the registration. limit bounds who waits for the topic;
// 0 is for callers that are counted elsewhere.
func (r *Relay) await(ctx context.Context, t topic, limit int, wait time.Duration, read func() (done bool, err error)) error {
	if wait <= 0 {
		_, err := read()
		return err
	}
	if n := r.metrics.polling.Add(1); n > int64(r.limits.Waiters) {
		r.metrics.polling.Add(-1)
		return &protocol.Error{Code: protocol.CodeOverloaded, Detail: "too many long-polls", RetryAfter: 2}
	}
	defer r.metrics.polling.Add(-1)
	p := newPoll()
	if err := r.hub.join(ctx, t, p, limit); err != nil {
		return r.storeError(ctx, err)
	}
	defer r.hub.leave(t, p)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		if done, err := read(); done || err != nil {
			return err
		}
		select {
		case <-p:
		case <-timer.C:
			return nil
		case <-r.stop:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// waitOf reads the wait of a long-poll in seconds.
func waitOf(seconds int) (time.Duration, error) {
	if seconds < 0 || seconds > protocol.MaxWait {
		return 0, protocol.Errorf(protocol.CodeMalformed, "wait of %d s, want 0 to %d", seconds, protocol.MaxWait)
	}
	return time.Duration(seconds) * time.Second, nil
}
