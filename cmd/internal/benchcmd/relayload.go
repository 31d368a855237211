package benchcmd

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bidseal/bidseal/internal/bench"
	"github.com/bidseal/bidseal/protocol"
	"github.com/gorilla/websocket"
	"golang.org/x/sync/errgroup"
)

// The load: waiting pages, or the peer's subscribers, over real WebSockets.

// waiterKind is how one waits at a system.
type waiterKind struct {
	path        string
	subprotocol string
	hello       func(i int) ([]byte, error) // the first frame of waiter i
	ready       func(frame []byte) bool     // whether i waits once this has come
	ping        []byte                      // a ping that is a message; it is answered by itself
}

func pageWaiter() waiterKind {
	return waiterKind{path: "/v1/watch", subprotocol: protocol.WatchSubprotocol,
		hello: func(i int) ([]byte, error) { return protocol.EncodeJSON(benchWatch(i)) },
		ready: func([]byte) bool { return true }}
}

// subscriber speaks the peer's protocol in JSON: two commands, two replies, in
// one frame or two.
func subscriber() waiterKind {
	return waiterKind{path: "/", ping: []byte("{}"),
		hello: func(i int) ([]byte, error) {
			return fmt.Appendf(nil, "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"c%d\"}}", i), nil
		},
		ready: func(frame []byte) bool { return bytes.Contains(frame, []byte(`"id":2`)) }}
}

// crowd is all waiters of one session.
type crowd struct {
	kind  waiterKind
	addr  string
	dial  websocket.Dialer
	group sync.WaitGroup
	mu    sync.Mutex
	list  []*websocket.Conn
	ended atomic.Bool
	wrong atomic.Pointer[error] // the first failure
	loop  atomic.Pointer[openLoop]
}

// openLoop notes what arrives of a run of publications.
type openLoop struct {
	topics   int
	arrived  []atomic.Int64 // Unix ns by number
	rounds   []atomic.Int32 // messages so far, by waiter
	received atomic.Int64
	all      chan struct{} // closed with the last one
}

func newOpenLoop(topics, count int) *openLoop {
	return &openLoop{topics: topics, arrived: make([]atomic.Int64, count), rounds: make([]atomic.Int32, topics), all: make(chan struct{})}
}

// note takes the next message of a waiter; false where none was sent.
func (l *openLoop) note(waiter int, at time.Time) bool {
	if waiter >= l.topics {
		return false
	}
	n := waiter + l.topics*int(l.rounds[waiter].Add(1)-1)
	if n >= len(l.arrived) {
		return false
	}
	l.arrived[n].Store(at.UnixNano())
	if l.received.Add(1) == int64(len(l.arrived)) {
		close(l.all)
	}
	return true
}

func newCrowd(kind waiterKind, addr string) *crowd {
	c := &crowd{kind: kind, addr: addr}
	c.dial = websocket.Dialer{ReadBufferSize: 512, WriteBufferSize: 256, WriteBufferPool: &sync.Pool{}, HandshakeTimeout: 30 * time.Second}
	if kind.subprotocol != "" {
		c.dial.Subprotocols = []string{kind.subprotocol}
	}
	return c
}

func (c *crowd) fail(err error) {
	if !c.ended.Load() {
		c.wrong.CompareAndSwap(nil, &err)
	}
}

// err is the first failure of a waiter, which voids the run.
func (c *crowd) err() error {
	if p := c.wrong.Load(); p != nil {
		return *p
	}
	return nil
}

// dialers is how many waiters connect at a time.
const dialers = 64

// grow has waiters from..to connect, and returns when all of them wait.
func (c *crowd) grow(ctx context.Context, from, to int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(dialers)
	for i := from; i < to; i++ {
		g.Go(func() error { return c.join(ctx, i) })
	}
	return g.Wait()
}

func (c *crowd) join(ctx context.Context, i int) error {
	ws, resp, err := c.dial.DialContext(ctx, "ws://"+c.addr+c.kind.path, nil) //nolint:bodyclose // the library says: it need not be closed
	if err != nil {
		return fmt.Errorf("waiter %d: %w", i, err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("waiter %d: %s", i, resp.Status)
	}
	c.mu.Lock()
	c.list = append(c.list, ws)
	c.mu.Unlock()
	hello, err := c.kind.hello(i)
	if err != nil {
		return err
	}
	if err := ws.WriteMessage(websocket.TextMessage, hello); err != nil {
		return fmt.Errorf("waiter %d: %w", i, err)
	}
	for {
		_, frame, err := ws.ReadMessage()
		if err != nil {
			return fmt.Errorf("waiter %d: %w", i, err)
		}
		if c.kind.ready(frame) {
			break
		}
	}
	c.group.Go(func() { c.listen(i, ws) })
	return nil
}

// listen reads until the session ends. Control frames are answered by the library.
func (c *crowd) listen(i int, ws *websocket.Conn) {
	for {
		_, frame, err := ws.ReadMessage()
		at := time.Now()
		if err != nil {
			c.fail(fmt.Errorf("waiter %d: %w", i, err))
			return
		}
		for line := range bytes.Lines(frame) { // a frame of the peer may hold several messages
			if err := c.take(i, ws, bytes.TrimSpace(line), at); err != nil {
				c.fail(fmt.Errorf("waiter %d: %w", i, err))
				return
			}
		}
	}
}

func (c *crowd) take(i int, ws *websocket.Conn, message []byte, at time.Time) error {
	if c.kind.ping != nil && bytes.Equal(message, c.kind.ping) {
		return ws.WriteMessage(websocket.TextMessage, c.kind.ping)
	}
	if loop := c.loop.Load(); loop == nil || !loop.note(i, at) {
		return fmt.Errorf("got %.100q, which nobody sent", message)
	}
	return nil
}

// close resets all connections, so that no port waits for its second close.
func (c *crowd) close() {
	c.ended.Store(true)
	for _, ws := range c.list {
		if tcp, ok := ws.NetConn().(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		ws.Close()
	}
	c.group.Wait()
}

// pushed is what one run of publications found.
type pushed struct {
	sent, received int
	latency        *latencies    // from the moment a message was due
	cpu            time.Duration // of the server during the run
}

func (p pushed) perMessage() float64 { return float64(p.cpu.Nanoseconds()) / 1000 / float64(p.sent) }

// push has a publisher send count messages at a rate to topics waiters, each in
// turn, and waits at most patience after the last one was due. server is whose
// CPU time counts.
func (c *crowd) push(ctx context.Context, publish publisher, server *bench.Process, o openLoopOrder, patience time.Duration) (pushed, error) {
	loop := newOpenLoop(o.topics, o.count)
	c.loop.Store(loop)
	run, err := publish(o)
	if err != nil {
		return pushed{}, err
	}
	before, err := server.Order(bench.Order{Do: "usage"})
	if err != nil {
		return pushed{}, err
	}
	start := time.Now().Add(50 * time.Millisecond)
	if err := run(ctx, start); err != nil {
		return pushed{}, err
	}
	timer := time.NewTimer(max(0, time.Until(bench.Due(start, o.rate, o.count))) + patience)
	defer timer.Stop()
	select {
	case <-loop.all:
	case <-timer.C:
	case <-ctx.Done():
		return pushed{}, ctx.Err()
	}
	after, err := server.Order(bench.Order{Do: "usage"})
	if err != nil {
		return pushed{}, err
	}
	p := pushed{sent: o.count, received: int(loop.received.Load()), latency: newLatencies(), cpu: after.CPU - before.CPU}
	for i := range loop.arrived {
		if at := loop.arrived[i].Load(); at != 0 {
			p.latency.observe(time.Unix(0, at).Sub(bench.Due(start, o.rate, i)))
		}
	}
	return p, c.err()
}

// whole refuses a run in which something was lost.
func (p pushed) whole() error {
	if p.received != p.sent {
		return fmt.Errorf("%d of %d messages arrived", p.received, p.sent)
	}
	return nil
}

// openLoopOrder is a run of publications.
type openLoopOrder struct {
	rate          float64
	count, topics int
}

// publisher prepares a run of publications and returns the function that runs it.
type publisher func(openLoopOrder) (run func(ctx context.Context, start time.Time) error, err error)

// by is the publisher of a process that publishes by itself, told each time one
// is due.
func by(p *bench.Process) publisher {
	return func(o openLoopOrder) (func(context.Context, time.Time) error, error) {
		a, err := p.Order(bench.Order{Do: "publish", Topics: o.topics, Data: []byte(framePadding)})
		return func(ctx context.Context, start time.Time) error {
			return bench.Trigger(ctx, a.Addr, start, o.rate, o.count, o.topics)
		}, err
	}
}

// group runs calls and keeps the first failure.
type group struct {
	wg    sync.WaitGroup
	first atomic.Pointer[error]
}

func (g *group) run(f func() error) {
	g.wg.Go(func() {
		if err := f(); err != nil {
			g.first.CompareAndSwap(nil, &err)
		}
	})
}

func (g *group) err() error {
	if p := g.first.Load(); p != nil {
		return *p
	}
	return nil
}

func (g *group) wait() error {
	g.wg.Wait()
	return g.err()
}
