package relay

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/gorilla/websocket"
	"golang.org/x/sync/errgroup"
)

// Close codes of the relay beyond those of RFC 6455.
const (
	closeDrain    = websocket.CloseServiceRestart // 1012, reason "retry_ms=N"
	closePolicy   = websocket.ClosePolicyViolation
	closeTryAgain = websocket.CloseTryAgainLater
)

// maxControl is the time a ping or a close frame may take to write.
const maxControl = time.Second

// conn is a WebSocket connection. One goroutine reads; writers come from
// elsewhere and take turns by mu. There is no queue: who writes, writes to the
// socket, with a deadline.
type conn struct {
	ws     *websocket.Conn
	mu     sync.Mutex
	slot   int // of the wheel
	limits *Limits
}

// write sends one text frame.
func (c *conn) write(frame []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writeLocked(frame, c.limits.WriteTimeout)
}

func (c *conn) writeLocked(frame []byte, limit time.Duration) error {
	if err := c.ws.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	return c.ws.WriteMessage(websocket.TextMessage, frame)
}

// shut sends a close frame and closes the connection; its reader then ends.
func (c *conn) shut(code int, reason string) {
	_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(maxControl))
	c.ws.Close()
}

// alive moves the read deadline: a connection whose pongs stay out for two
// rounds is gone.
func (c *conn) alive() error {
	return c.ws.SetReadDeadline(time.Now().Add(2*c.limits.PingEvery + c.limits.WriteTimeout))
}

// ping runs on the wheel. A connection that is being written to needs none.
func (c *conn) ping() {
	if !c.mu.TryLock() {
		return
	}
	err := c.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(maxControl))
	c.mu.Unlock()
	if err != nil {
		c.ws.Close()
	}
}

// drain reads and drops until the connection ends. After the first frame a peer
// has nothing more to say.
func (c *conn) drain() {
	c.ws.SetPongHandler(func(string) error { return c.alive() })
	if c.alive() != nil {
		return
	}
	if _, _, err := c.ws.NextReader(); err == nil {
		c.shut(closePolicy, "nothing is expected after the first frame")
	}
}

// wheel pings connections in turns, so that one goroutine and one ticker serve
// all of them.
type wheel struct {
	every time.Duration
	mu    sync.Mutex
	slots [wheelSlots]map[*conn]struct{}
	at    int
	next  int
	ended bool
}

const wheelSlots = 64

func newWheel(every time.Duration) *wheel {
	w := &wheel{every: every}
	for i := range w.slots {
		w.slots[i] = map[*conn]struct{}{}
	}
	return w
}

func (w *wheel) tick() time.Duration { return max(w.every/wheelSlots, time.Millisecond) }

// add takes a connection in; false where the relay is draining.
func (w *wheel) add(c *conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return false
	}
	w.next = (w.next + 1) % wheelSlots
	c.slot = w.next
	w.slots[c.slot][c] = struct{}{}
	return true
}

func (w *wheel) remove(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.slots[c.slot], c)
}

// turn pings the connections of the next slot.
func (w *wheel) turn() {
	w.mu.Lock()
	w.at = (w.at + 1) % wheelSlots
	list := make([]*conn, 0, len(w.slots[w.at]))
	for c := range w.slots[w.at] {
		list = append(list, c)
	}
	w.mu.Unlock()
	for _, c := range list {
		c.ping()
	}
}

// closeAll ends every connection with a hint when to come back, spread so that
// they do not all come at once. When ctx ends the rest is closed without a word.
func (w *wheel) closeAll(ctx context.Context) {
	w.mu.Lock()
	w.ended = true
	var list []*conn
	for _, slot := range w.slots {
		for c := range slot {
			list = append(list, c)
		}
	}
	w.mu.Unlock()
	var group errgroup.Group
	group.SetLimit(closers)
	for _, c := range list {
		group.Go(func() error {
			if ctx.Err() != nil {
				return c.ws.Close()
			}
			c.shut(closeDrain, fmt.Sprintf("retry_ms=%d", jitter()))
			return nil
		})
	}
	_ = group.Wait() // that a connection was closed already is no failure
}

// closers is how many connections are closed at a time: one whose peer does not
// read takes maxControl.
const closers = 64

// jitter is 200 to 5000 ms.
func jitter() int {
	b, err := protocol.Random(2)
	if err != nil {
		return 1000
	}
	return 200 + int(binary.BigEndian.Uint16(b))%4801
}
