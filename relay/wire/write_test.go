package wire

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// tcpPair is a connection over loopback whose sender has a small buffer.
func tcpPair(t *testing.T) (ours, theirs *net.TCPConn) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed, err := net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	taken, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialed.Close(); taken.Close() })
	if err := taken.SetWriteBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	return taken, dialed
}

// TestWriteBeyondTheSocket: what the socket does not take at once is written with
// a deadline, in order and whole, and the deadline is gone afterwards.
func TestWriteBeyondTheSocket(t *testing.T) {
	ours, theirs := tcpPair(t)
	c := &Conn{Net: ours, Limits: &Limits{Write: time.Minute}}
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB: beyond what the sender holds
	got := make(chan []byte, 1)
	go func() {
		b, err := io.ReadAll(theirs)
		if err != nil {
			t.Error(err)
		}
		got <- b
	}()
	c.mu.Lock()
	err := c.writeLocked(big, time.Minute)
	c.mu.Unlock()
	if err == nil {
		err = c.Write([]byte("last"))
	}
	if err != nil {
		t.Fatal(err)
	}
	ours.Close()
	if b := <-got; !bytes.Equal(b, append(big, encodeFrame(opText, []byte("last"))...)) {
		t.Fatalf("%d bytes arrived", len(b))
	}
}

// TestOffer: an offer never waits. A page whose socket is full is closed where a
// frame is torn, and left to the wake-up where nothing of it was written.
func TestOffer(t *testing.T) {
	ours, theirs := tcpPair(t)
	p := &Newest{Conn: Conn{Net: ours, Limits: &Limits{Write: time.Minute}}}
	small := encodeFrame(opText, []byte("state"))
	p.Offer(7, small)
	b := make([]byte, len(small))
	if _, err := io.ReadFull(theirs, b); err != nil || !bytes.Equal(b, small) || p.sent.Load() != 7 {
		t.Fatalf("%x, %v, sent %d", b, err, p.sent.Load())
	}
	p.Offer(7, small) // old news
	p.Offer(6, small)
	p.mu.Lock()
	p.Offer(8, small) // somebody is writing
	p.mu.Unlock()
	if p.sent.Load() != 7 {
		t.Fatalf("sent %d", p.sent.Load())
	}
	large := encodeFrame(opText, make([]byte, 64<<10))
	for rev := int64(8); ; rev++ { // nobody reads: both sockets fill, and the offer returns all the same
		p.Offer(rev, large)
		if p.sent.Load() != rev {
			break
		}
	}

	ours, _ = tcpPair(t)
	p = &Newest{Conn: Conn{Net: ours, Limits: &Limits{Write: time.Minute}}}
	p.Offer(1, make([]byte, 32<<20))
	if _, err := writeNow(ours, small); err == nil {
		t.Fatal("a torn frame was left on the wire")
	}

	piped, other := net.Pipe() // like TLS: nothing can be asked without waiting
	defer other.Close()
	p = &Newest{Conn: Conn{Net: piped, Limits: &Limits{Write: time.Minute}}}
	p.Offer(1, small)
	if p.sent.Load() != 0 {
		t.Fatal("a connection without a socket took a frame")
	}
}
