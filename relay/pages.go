package relay

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay/wire"
)

// backgroundTime bounds work that no caller waits for.
const backgroundTime = 10 * time.Second

// watched checks the secret of a page and returns the challenge. Unknown id and
// wrong secret cannot be told apart.
func (r *Relay) watched(ctx context.Context, b protocol.WatchBody, origin string) (Challenge, error) {
	c, err := r.cfg.State.Get(ctx, b.CID)
	if err != nil {
		return Challenge{}, r.storeError(ctx, err)
	}
	if len(b.Watch) != protocol.WatchSize || !protocol.Equal(protocol.H(b.Watch), c.HWatch) {
		return Challenge{}, notFound()
	}
	if origin == "" { // no browser
		return c, nil
	}
	p, err := r.platforms.get(ctx, c.Platform)
	if err != nil {
		return Challenge{}, r.storeError(ctx, err)
	}
	if !r.allowedOrigin(p, origin) {
		return Challenge{}, protocol.Errorf(protocol.CodeOriginRefused, "pages of this origin may not watch")
	}
	return c, nil
}

// pageConn is a page that watches one challenge: status only, the newest only.
type pageConn struct {
	wire.Newest
	relay *Relay
	cid   protocol.CID
}

// wake hands the challenge to the dispatcher, which reads its state once for
// all pages that watch it, unless that state is out already.
func (p *pageConn) wake(rev int64) {
	if rev == 0 || rev > p.Sent() {
		p.relay.pages.add(p.cid)
	}
}

// servePage runs a page's connection. What it needs of the stack for the first
// frame is freed before the long wait begins: that happens in a goroutine of its own.
func (r *Relay) servePage(p *pageConn, origin string) {
	defer r.inflight.Done()
	ctx, cancel := context.WithTimeout(context.Background(), backgroundTime)
	defer cancel()
	c, after, err := r.firstPageFrame(ctx, p, origin)
	if err != nil {
		r.closePage(p, err)
		return
	}
	p.cid = c.CID
	p.Begin(after)
	if err := r.hub.join(ctx, topic{cid: p.cid}, p, r.limits.WatchesPerCID); err != nil {
		r.closePage(p, err)
		return
	}
	// registered first, read then
	if c, err = r.cfg.State.Get(ctx, p.cid); err == nil {
		err = r.showChallenge(p, c)
	}
	if err == nil {
		err = p.Settle()
	}
	if err != nil {
		r.hub.leave(topic{cid: p.cid}, p)
		r.closePage(p, err)
		return
	}
	r.inflight.Add(1)
	go func() {
		defer r.inflight.Done()
		p.Drain()
		r.hub.leave(topic{cid: p.cid}, p)
		r.release(&p.Conn)
	}()
}

func (r *Relay) firstPageFrame(ctx context.Context, p *pageConn, origin string) (Challenge, int64, error) {
	raw, err := p.FirstFrame()
	if err != nil {
		return Challenge{}, 0, err
	}
	var b protocol.WatchBody
	if err := protocol.DecodeJSON(raw, &b); err != nil {
		return Challenge{}, 0, err
	}
	c, err := r.watched(ctx, b, origin)
	return c, b.After, err
}

// closePage ends a connection with the code of the error as the reason.
func (r *Relay) closePage(p *pageConn, err error) {
	r.closeWith(&p.Conn, err)
	r.release(&p.Conn)
}

func (r *Relay) closeWith(c *wire.Conn, err error) {
	var wrong *wire.FrameError
	if errors.As(err, &wrong) {
		c.Shut(wrong.Code, "")
		return
	}
	code := protocol.CodeOf(err)
	if errors.Is(err, wire.ErrNoFirstFrame) {
		code = protocol.CodeMalformed
	}
	if e := protocol.Lookup(code); e.Retryable {
		c.Shut(wire.CloseTryAgain, string(code))
		return
	}
	c.Shut(wire.ClosePolicy, string(code))
}

// release forgets a connection that has ended.
func (r *Relay) release(c *wire.Conn) {
	c.Net.Close()
	r.wheel.Remove(c)
	r.metrics.connections.Add(-1)
}

func (r *Relay) showChallenge(p *pageConn, c Challenge) error {
	frame, err := r.pageFrame(c)
	if err != nil {
		return err
	}
	return p.Show(c.Rev, frame)
}

// pageFrame is a state as pages are told it.
func (r *Relay) pageFrame(c Challenge) ([]byte, error) {
	message, err := protocol.EncodeJSON(watchView(c, r.now()))
	if err != nil {
		return nil, err
	}
	return wire.TextFrame(message), nil
}

// showHere tells the pages of this node a state that was just stored, without
// waiting for any of them and without reading it again.
func (r *Relay) showHere(c Challenge) {
	waiters := r.hub.waiters(topic{cid: c.CID})
	if len(waiters) == 0 {
		return
	}
	frame, err := r.pageFrame(c)
	if err != nil {
		return // the wake-up finds out, too, and tells the pages
	}
	for _, w := range waiters {
		if p, ok := w.(*pageConn); ok {
			p.Offer(c.Rev, frame)
		}
	}
}

// showPages reads a challenge once and shows it to all pages that watch it.
func (r *Relay) showPages(cid protocol.CID) {
	waiters := r.hub.waiters(topic{cid: cid})
	ctx, cancel := context.WithTimeout(context.Background(), backgroundTime)
	defer cancel()
	c, err := r.cfg.State.Get(ctx, cid)
	if err != nil {
		r.log.LogAttrs(ctx, slog.LevelWarn, "read for pages", slog.Any("error", err))
	}
	var frame []byte
	if err == nil {
		frame, err = r.pageFrame(c)
	}
	for _, w := range waiters {
		p, ok := w.(*pageConn)
		if !ok {
			continue
		}
		if err != nil || p.Show(c.Rev, frame) != nil {
			p.Shut(wire.CloseTryAgain, string(protocol.CodeUnavailable)) // its reader ends and cleans up
		}
	}
}

// dispatcher runs one function per dirty challenge on a few goroutines, which
// exist only while there is work. A challenge that is dirty twice is handled once.
type dispatcher struct {
	do func(protocol.CID)

	mu      sync.Mutex
	dirty   map[protocol.CID]struct{}
	queue   []protocol.CID
	workers int
}

const maxWorkers = 8

func newDispatcher(do func(protocol.CID)) *dispatcher {
	return &dispatcher{do: do, dirty: map[protocol.CID]struct{}{}}
}

func (d *dispatcher) add(cid protocol.CID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.dirty[cid]; ok {
		return
	}
	d.dirty[cid] = struct{}{}
	d.queue = append(d.queue, cid)
	if d.workers < maxWorkers {
		d.workers++
		go d.work()
	}
}

func (d *dispatcher) work() {
	for {
		d.mu.Lock()
		if len(d.queue) == 0 {
			d.workers--
			d.queue = nil
			d.mu.Unlock()
			return
		}
		cid := d.queue[0]
		d.queue = d.queue[1:]
		delete(d.dirty, cid) // before it is read: what changes from now on is dirty again
		d.mu.Unlock()
		d.do(cid)
	}
}
