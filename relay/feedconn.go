package relay

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay/wire"
)

// feedConn is a platform's feed. It has a cursor and no queue: while the
// platform reads slowly, the pump stands in a write, and goes on from the cursor.
type feedConn struct {
	wire.Conn
	relay    *Relay
	platform *platformKey
	store    string
	cursor   int64        // owned by the pump
	greeted  bool         // the first page is sent even when it is empty: it names the store
	state    atomic.Int32 // of the pump
}

const (
	pumpIdle int32 = iota
	pumpRunning
	pumpAgain // running, and woken since it last read
)

// wake starts the pump where it does not run.
func (f *feedConn) wake(int64) {
	for {
		switch s := f.state.Load(); s {
		case pumpIdle:
			if f.state.CompareAndSwap(pumpIdle, pumpRunning) {
				f.relay.inflight.Add(1)
				go f.pump()
				return
			}
		default:
			if f.state.CompareAndSwap(s, pumpAgain) {
				return
			}
		}
	}
}

// pump sends pages until the cursor has reached the newest change.
func (f *feedConn) pump() {
	defer f.relay.inflight.Done()
	for {
		more, err := f.page()
		if err != nil {
			f.relay.log.LogAttrs(context.Background(), slog.LevelDebug, "feed ends", slog.String("platform", f.platform.ID), slog.Any("error", err))
			f.Shut(wire.CloseTryAgain, string(protocol.CodeUnavailable))
			return // stays pumpRunning, so it is not started again
		}
		if more {
			continue
		}
		if f.state.CompareAndSwap(pumpRunning, pumpIdle) {
			return
		}
		f.state.Store(pumpRunning)
	}
}

// page sends one page, if there is anything beyond the cursor.
func (f *feedConn) page() (more bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), backgroundTime)
	defer cancel()
	page, err := f.relay.feed(ctx, f.platform, f.store, f.cursor, protocol.MaxFeedPage)
	if err != nil {
		return false, err
	}
	f.store, f.cursor = page.Store, page.Next
	if len(page.Events) == 0 && f.greeted {
		return false, nil
	}
	f.greeted = true
	frame, err := protocol.EncodeJSON(page)
	if err != nil {
		return false, err
	}
	f.relay.metrics.feedEvents.Add(float64(len(page.Events)))
	return page.More, f.Write(frame)
}

// serveFeed runs a feed's connection.
func (r *Relay) serveFeed(f *feedConn) {
	defer r.inflight.Done()
	hello, err := f.hello()
	if err == nil {
		err = f.Settle()
	}
	if err == nil {
		f.store, f.cursor = hello.Store, hello.After
		ctx, cancel := context.WithTimeout(context.Background(), backgroundTime)
		err = r.hub.join(ctx, topic{platform: f.platform.ID}, f, r.limits.FeedsPerKey)
		cancel()
	}
	if err != nil {
		r.closeWith(&f.Conn, err)
		r.release(&f.Conn)
		return
	}
	f.wake(0) // registered first, read then
	r.inflight.Add(1)
	go func() {
		defer r.inflight.Done()
		f.Drain()
		r.hub.leave(topic{platform: f.platform.ID}, f)
		r.release(&f.Conn)
	}()
}

func (f *feedConn) hello() (protocol.FeedHello, error) {
	var h protocol.FeedHello
	raw, err := f.FirstFrame()
	if err != nil {
		return h, err
	}
	if err := protocol.DecodeJSON(raw, &h); err != nil {
		return h, err
	}
	if h.After < 0 || len(h.Store) > 64 {
		return h, protocol.Errorf(protocol.CodeMalformed, "cursor of the feed")
	}
	return h, nil
}
