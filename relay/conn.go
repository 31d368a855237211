package relay

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"golang.org/x/sync/errgroup"
)

// maxControl is the time a ping or a close frame may take to write.
const maxControl = time.Second

// conn is a WebSocket connection. One goroutine reads; writers come from
// elsewhere and take turns by mu. There is no queue: who writes, writes to the
// socket, at once or with a deadline.
type conn struct {
	net    net.Conn
	in     inbound // the reader's
	mu     sync.Mutex
	slot   int32        // of the wheel
	silent atomic.Int32 // pings since the last pong
	limits *Limits
}

// write sends one text message.
func (c *conn) write(message []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writeLocked(encodeFrame(opText, message), c.limits.WriteTimeout)
}

// writeLocked writes whole frames: at once where the socket takes them,
// otherwise for as long as limit says.
func (c *conn) writeLocked(frame []byte, limit time.Duration) error {
	n, err := writeNow(c.net, frame)
	if err != nil || n == len(frame) {
		return err
	}
	if err := c.net.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	if _, err := c.net.Write(frame[n:]); err != nil {
		return err
	}
	return c.net.SetWriteDeadline(time.Time{}) // writeNow heeds it, too
}

// shut sends a close frame and closes the connection; its reader then ends.
func (c *conn) shut(code int, reason string) {
	_ = c.net.SetWriteDeadline(time.Now().Add(maxControl)) // who is writing ends soon
	c.mu.Lock()
	_ = c.writeLocked(closeFrame(code, reason), maxControl)
	c.mu.Unlock()
	c.net.Close()
}

// maxSilent is how many pings may stay unanswered.
const maxSilent = 2

// ping runs on the wheel. A connection that is being written to needs none; one
// whose pongs stay out for two rounds is gone.
func (c *conn) ping() {
	if c.silent.Add(1) > maxSilent {
		c.net.Close()
		return
	}
	if !c.mu.TryLock() {
		return
	}
	err := c.writeLocked([]byte{finBit | opPing, 0}, maxControl)
	c.mu.Unlock()
	if err != nil {
		c.net.Close()
	}
}

// control answers a control frame. The error ends the connection.
func (c *conn) control(f clientFrame) error {
	switch f.op {
	case opPong:
		c.silent.Store(0)
	case opPing:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.writeLocked(encodeFrame(opPong, f.payload), maxControl)
	case opClose:
		c.shut(closeCodeOf(f.payload), "")
		return errPeerClosed
	}
	return nil
}

// firstFrame waits for the first message, Limits.FirstFrame at most.
func (c *conn) firstFrame() ([]byte, error) {
	if err := c.net.SetReadDeadline(time.Now().Add(c.limits.FirstFrame)); err != nil {
		return nil, err
	}
	c.in = inbound{buf: make([]byte, maxPageFrame+maxHeader)}
	message, err := c.message(maxPageFrame)
	var wrong *frameError
	switch {
	case errors.As(err, &wrong):
		return nil, err
	case err != nil:
		return nil, protocol.Errorf(protocol.CodeMalformed, "no first frame: %v", err)
	}
	if err := c.net.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	return message, nil
}

// message reads one message, which may come in pieces with control frames between.
func (c *conn) message(limit int) ([]byte, error) {
	var message []byte
	for pieces := 0; ; {
		f, err := c.in.next(c.net, limit-len(message))
		if err != nil {
			return nil, err
		}
		if f.op >= opClose {
			if err := c.control(f); err != nil {
				return nil, err
			}
			continue
		}
		if (f.op == opContinuation) != (pieces > 0) {
			return nil, &frameError{closeProtocol, "a message begins within another, or goes on without one"}
		}
		message = append(message, f.payload...)
		if pieces++; f.final {
			return message, nil
		}
	}
}

// settle ends the talking: control frames that came right after the first
// message are answered, and the buffer shrinks to one of them.
func (c *conn) settle() error {
	for c.in.pending(0) {
		if err := c.listen(); err != nil {
			return err
		}
	}
	rest := c.in.buf[c.in.taken:c.in.have]
	c.in = inbound{buf: make([]byte, max(controlBuffer, len(rest))), have: len(rest)}
	copy(c.in.buf, rest)
	return nil
}

// drain reads control frames until the connection ends. It runs in a goroutine of
// its own, which has never needed a large stack.
func (c *conn) drain() {
	for {
		if err := c.listen(); err != nil {
			c.end(err)
			return
		}
	}
}

// listen takes one frame after the first message, when a peer has nothing more
// to say.
func (c *conn) listen() error {
	f, err := c.in.next(c.net, 0)
	var wrong *frameError
	if err == nil && f.op < opClose || errors.As(err, &wrong) && wrong.code == closeTooBig {
		return &frameError{closePolicy, "nothing is expected after the first frame"}
	}
	if err != nil {
		return err
	}
	return c.control(f)
}

// end closes a connection, with a word where the peer did something wrong.
func (c *conn) end(err error) {
	var wrong *frameError
	if errors.As(err, &wrong) {
		c.shut(wrong.code, wrong.what)
		return
	}
	c.net.Close()
}

// wheel pings connections in turns, so that one goroutine and one ticker serve
// all of them, few at a time: a burst of pings would be a gap in the pushes.
type wheel struct {
	every time.Duration
	mu    sync.Mutex
	slots [wheelSlots]map[*conn]struct{}
	begun time.Time // of the first turn
	at    int64     // turns so far
	next  int
	ended bool
}

const wheelSlots = 1024

// wheelTick is the shortest time between turns.
const wheelTick = 5 * time.Millisecond

func newWheel(every time.Duration) *wheel {
	w := &wheel{every: every}
	for i := range w.slots {
		w.slots[i] = map[*conn]struct{}{}
	}
	return w
}

func (w *wheel) tick() time.Duration { return max(w.every/wheelSlots, wheelTick) }

// add takes a connection in; false where the relay is draining.
func (w *wheel) add(c *conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return false
	}
	w.next = (w.next + 1) % wheelSlots
	c.slot = int32(w.next)
	w.slots[c.slot][c] = struct{}{}
	return true
}

func (w *wheel) remove(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.slots[c.slot], c)
}

// turn pings the connections of the slots that are due at the given time of the
// ticker, at most all of them once.
func (w *wheel) turn(now time.Time) {
	w.mu.Lock()
	if w.begun.IsZero() {
		w.begun = now
	}
	due := int64(now.Sub(w.begun).Seconds() / w.every.Seconds() * wheelSlots)
	var list []*conn
	for w.at = max(w.at, due-wheelSlots); w.at < due; w.at++ {
		for c := range w.slots[w.at%wheelSlots] {
			list = append(list, c)
		}
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
				return c.net.Close()
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
