// Package wire is the server's side of WebSockets (RFC 6455) whose peers send one
// message and then wait for minutes. It is made to keep little memory for a silent
// connection: a buffer of one control frame, and a reader whose stack stays at its
// smallest, 4.8 KiB in all.
//
// Handshake takes a connection over from the HTTP server. The goroutine of the
// connection then reads the first message, settles, and hands the rest of the
// wait to another one with a small stack:
//
//	c := &wire.Conn{Net: taken, Limits: &limits}
//	wheel.Add(c) // pings it
//	message, err := c.FirstFrame()
//	err = c.Settle()
//	go func() {
//		c.Drain() // until the connection ends
//		wheel.Remove(c)
//	}()
//
// Anybody may Write meanwhile, or Shut the connection with a code. Newest is a
// Conn for a peer that wants nothing but the newest state of one thing.
//
// What a peer did wrong is a *FrameError; every other error is the connection's.
package wire

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// maxControl is the time a ping or a close frame may take to write.
const maxControl = time.Second

// Limits of connections.
type Limits struct {
	FirstFrame time.Duration // until the first message
	Write      time.Duration // to write one message
}

// ErrNoFirstFrame: the peer went away, or sent nothing in time.
var ErrNoFirstFrame = errors.New("no first frame")

// MaxMessage bounds the first message of a client, in bytes.
const MaxMessage = 1024

// Conn is a WebSocket connection. One goroutine reads; writers come from
// elsewhere and take turns by mu. There is no queue: a writer writes to the
// socket, at once or with a deadline.
type Conn struct {
	Net    net.Conn // set before use
	Limits *Limits  // set before use

	in     inbound // the reader's
	mu     sync.Mutex
	slot   int32        // of the wheel
	silent atomic.Int32 // pings since the last pong
}

// Write sends one text message.
func (c *Conn) Write(message []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writeLocked(encodeFrame(opText, message), c.Limits.Write)
}

// writeLocked writes whole frames: at once where the socket takes them,
// otherwise for as long as limit says.
func (c *Conn) writeLocked(frame []byte, limit time.Duration) error {
	n, err := writeNow(c.Net, frame)
	if err != nil || n == len(frame) {
		return err
	}
	if err := c.Net.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	if _, err := c.Net.Write(frame[n:]); err != nil {
		return err
	}
	return c.Net.SetWriteDeadline(time.Time{}) // writeNow heeds it, too
}

// Shut sends a close frame and closes the connection; its reader then ends.
func (c *Conn) Shut(code int, reason string) {
	_ = c.Net.SetWriteDeadline(time.Now().Add(maxControl)) // who is writing ends soon
	c.mu.Lock()
	_ = c.writeLocked(closeFrame(code, reason), maxControl)
	c.mu.Unlock()
	c.Net.Close()
}

// maxSilent is how many pings may stay unanswered.
const maxSilent = 2

// ping runs on the wheel. A connection that is being written to needs none; one
// whose pongs stay out for two rounds is gone.
func (c *Conn) ping() {
	if c.silent.Add(1) > maxSilent {
		c.Net.Close()
		return
	}
	if !c.mu.TryLock() {
		return
	}
	err := c.writeLocked([]byte{finBit | opPing, 0}, maxControl)
	c.mu.Unlock()
	if err != nil {
		c.Net.Close()
	}
}

// control answers a control frame. The error ends the connection.
func (c *Conn) control(f clientFrame) error {
	switch f.op {
	case opPong:
		c.silent.Store(0)
	case opPing:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.writeLocked(encodeFrame(opPong, f.payload), maxControl)
	case opClose:
		c.Shut(closeCodeOf(f.payload), "")
		return errPeerClosed
	}
	return nil
}

// FirstFrame waits for the first message, Limits.FirstFrame at most. Errors: a
// *FrameError, or ErrNoFirstFrame.
func (c *Conn) FirstFrame() ([]byte, error) {
	if err := c.Net.SetReadDeadline(time.Now().Add(c.Limits.FirstFrame)); err != nil {
		return nil, err
	}
	c.in = inbound{buf: make([]byte, MaxMessage+maxHeader)}
	message, err := c.message(MaxMessage)
	var wrong *FrameError
	switch {
	case errors.As(err, &wrong):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrNoFirstFrame, err)
	}
	if err := c.Net.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	return message, nil
}

// message reads one message, which may come in pieces with control frames between.
func (c *Conn) message(limit int) ([]byte, error) {
	var message []byte
	for pieces := 0; ; {
		f, err := c.in.next(c.Net, limit-len(message))
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
			return nil, &FrameError{closeProtocol, "a message begins within another, or goes on without one"}
		}
		message = append(message, f.payload...)
		if pieces++; f.final {
			return message, nil
		}
	}
}

// Settle ends the reading: control frames that came right after the first
// message are answered, and the buffer shrinks to one of them.
func (c *Conn) Settle() error {
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

// Drain reads control frames until the connection ends. It runs in a goroutine of
// its own, which has never needed a large stack.
func (c *Conn) Drain() {
	for {
		if err := c.listen(); err != nil {
			c.end(err)
			return
		}
	}
}

// listen takes one frame after the first message, when a peer has nothing more
// to say.
func (c *Conn) listen() error {
	f, err := c.in.next(c.Net, 0)
	var wrong *FrameError
	if err == nil && f.op < opClose || errors.As(err, &wrong) && wrong.Code == closeTooBig {
		return &FrameError{ClosePolicy, "nothing is expected after the first frame"}
	}
	if err != nil {
		return err
	}
	return c.control(f)
}

// end closes a connection, with a close frame if the peer did something wrong.
func (c *Conn) end(err error) {
	var wrong *FrameError
	if errors.As(err, &wrong) {
		c.Shut(wrong.Code, wrong.What)
		return
	}
	c.Net.Close()
}
