package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// masked is a client's frame by RFC 6455, section 5.2, written by hand.
func masked(op byte, final bool, payload []byte) []byte {
	first := op
	if final {
		first |= 0x80
	}
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := [4]byte{1, 2, 3, 4}
	b = append(b, mask[:]...)
	for i, c := range payload {
		b = append(b, c^mask[i%4])
	}
	return b
}

// talk has a connection read what a client writes in pieces of the given size;
// returns ends it and says what the client got.
func talk(t *testing.T, piece int, frames ...[]byte) (c *Conn, answers func() []byte) {
	t.Helper()
	ours, theirs := net.Pipe()
	var got bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(&got, theirs) // ends with the pipe
	}()
	go func() {
		for all := bytes.Join(frames, nil); len(all) > 0; {
			n, err := theirs.Write(all[:min(piece, len(all))])
			if err != nil {
				return
			}
			all = all[n:]
		}
	}()
	answers = func() []byte {
		ours.Close()
		<-done
		return got.Bytes()
	}
	t.Cleanup(func() { answers() })
	return &Conn{Net: ours, Limits: &Limits{FirstFrame: time.Minute, Write: time.Minute}}, answers
}

func TestFirstFrame(t *testing.T) {
	long := []byte(strings.Repeat("x", MaxMessage))
	for name, c := range map[string]struct {
		frames [][]byte
		want   string
		code   int // of a *FrameError
	}{
		"whole":              {[][]byte{masked(opText, true, []byte("hello"))}, "hello", 0},
		"binary":             {[][]byte{masked(opBinary, true, []byte("hello"))}, "hello", 0},
		"empty":              {[][]byte{masked(opText, true, nil)}, "", 0},
		"longest":            {[][]byte{masked(opText, true, long)}, string(long), 0},
		"in pieces":          {[][]byte{masked(opText, false, []byte("he")), masked(opPong, true, nil), masked(opContinuation, true, []byte("llo"))}, "hello", 0},
		"too long":           {[][]byte{masked(opText, true, append(long, 'x'))}, "", closeTooBig},
		"too long in pieces": {[][]byte{masked(opText, false, long), masked(opContinuation, true, []byte("x"))}, "", closeTooBig},
		"absurdly long":      {[][]byte{{0x81, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}}, "", closeTooBig},
		"goes on":            {[][]byte{masked(opContinuation, true, nil)}, "", closeProtocol},
		"begins within":      {[][]byte{masked(opText, false, nil), masked(opText, true, nil)}, "", closeProtocol},
		"not masked":         {[][]byte{{0x81, 1, 'x'}}, "", closeProtocol},
		"reserved bit":       {[][]byte{masked(0x40|opText, true, nil)}, "", closeProtocol},
		"unknown opcode":     {[][]byte{masked(3, true, nil)}, "", closeProtocol},
		"unknown control":    {[][]byte{masked(0xB, true, nil)}, "", closeProtocol},
		"control in pieces":  {[][]byte{masked(opPing, false, nil)}, "", closeProtocol},
		"long control":       {[][]byte{masked(opPong, true, make([]byte, 126))}, "", closeProtocol},
	} {
		for _, piece := range []int{1, 7, 4096} {
			conn, _ := talk(t, piece, c.frames...)
			got, err := conn.FirstFrame()
			var wrong *FrameError
			switch {
			case c.code == 0 && (err != nil || string(got) != c.want):
				t.Errorf("%s by %d: %.20q, %v", name, piece, got, err)
			case c.code != 0 && (!errors.As(err, &wrong) || wrong.Code != c.code):
				t.Errorf("%s by %d: %v, want %d", name, piece, err, c.code)
			}
		}
	}
}

// TestSettle: what came right behind the first message is not lost, and the
// buffer of the wait holds one control frame.
func TestSettle(t *testing.T) {
	ping := masked(opPing, true, []byte("are you there"))
	c, answers := talk(t, 4096, masked(opText, true, []byte("hello")), ping, ping, masked(opPong, true, nil)[:3])
	c.silent.Store(1)
	if _, err := c.FirstFrame(); err != nil {
		t.Fatal(err)
	}
	if err := c.Settle(); err != nil {
		t.Fatal(err)
	}
	if len(c.in.buf) != controlBuffer || c.in.have != 3 {
		t.Errorf("buffer of %d bytes with %d in it", len(c.in.buf), c.in.have)
	}
	pong := encodeFrame(opPong, []byte("are you there"))
	if got := answers(); !bytes.Equal(got, append(pong, pong...)) {
		t.Errorf("answers %x", got)
	}
	c, _ = talk(t, 4096, masked(opText, true, nil), masked(opText, true, nil))
	if _, err := c.FirstFrame(); err != nil {
		t.Fatal(err)
	}
	var wrong *FrameError
	if err := c.Settle(); !errors.As(err, &wrong) || wrong.Code != ClosePolicy {
		t.Errorf("a second message: %v", err)
	}
}

func TestCloseCodes(t *testing.T) {
	two := func(code uint16) []byte { return binary.BigEndian.AppendUint16(nil, code) }
	for want, payloads := range map[int][][]byte{
		closeNoStatus: {nil},
		closeNormal:   {two(1000), append(two(1000), "bye"...)},
		1001:          {two(1001)},
		3000:          {two(3000)},
		4999:          {two(4999)},
		closeProtocol: {{1}, two(999), two(1004), two(1005), two(1006), two(1015), two(2999), two(5000), two(0)},
	} {
		for _, p := range payloads {
			if got := closeCodeOf(p); got != want {
				t.Errorf("%x: %d, want %d", p, got, want)
			}
		}
	}
	if f := closeFrame(ClosePolicy, strings.Repeat("x", 200)); len(f) != 2+maxControlSize {
		t.Errorf("a long reason makes a frame of %d bytes", len(f))
	}
}

// FuzzFrame: whatever a client sends, in whatever pieces, nothing but a frame, a
// *FrameError or the connection's end comes out, and what is taken is what a
// frame by frame reading takes.
func FuzzFrame(f *testing.F) {
	f.Add(masked(opText, true, []byte("hello")), 1)
	f.Add(append(masked(opPing, true, nil), masked(opClose, true, []byte{3, 232})...), 3)
	f.Add([]byte{0x81, 0xFE, 0, 200}, 2)
	f.Fuzz(func(t *testing.T, sent []byte, piece int) {
		piece = min(max(piece, 1), 1<<12)
		from := &pieces{left: bytes.Clone(sent), size: piece}
		in := inbound{buf: make([]byte, MaxMessage+maxHeader)}
		rest := bytes.Clone(sent)
		for {
			got, err := in.next(from, MaxMessage)
			want, size, wantErr := parseFrame(rest, MaxMessage)
			var wrong *FrameError
			switch {
			case errors.Is(err, io.EOF):
				if size != 0 || wantErr != nil {
					t.Fatalf("ended before a frame of %d bytes, %v", size, wantErr)
				}
				return
			case err != nil:
				if !errors.As(err, &wrong) || wantErr == nil || err.Error() != wantErr.Error() {
					t.Fatalf("%v, want %v", err, wantErr)
				}
				return
			case got.op != want.op || got.final != want.final || !bytes.Equal(got.payload, want.payload) || len(got.payload) > MaxMessage:
				t.Fatalf("got %+v, want %+v", got, want)
			}
			rest = rest[size:]
		}
	})
}

// pieces is a connection of which only Read is used.
type pieces struct {
	net.Conn
	left []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, errors.New("a read of nothing")
	}
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.left[:min(p.size, len(p.left))])
	p.left = p.left[n:]
	return n, nil
}

// TestWheel: within one interval every connection is pinged once, whatever the
// ticks are, and few at a time.
func TestWheel(t *testing.T) {
	w := NewWheel(time.Minute)
	const n = 3 * wheelSlots
	var conns []*Conn
	for range n {
		ours, theirs := net.Pipe()
		theirs.Close() // a ping counts and fails
		t.Cleanup(func() { ours.Close() })
		c := &Conn{Net: ours, Limits: &Limits{}}
		if !w.Add(c) {
			t.Fatal("not taken")
		}
		conns = append(conns, c)
	}
	pinged := func() (sum int) {
		for _, c := range conns {
			sum += int(c.silent.Load())
		}
		return sum
	}
	now := time.Now()
	w.Turn(now)
	last := 0
	for range 100 {
		now = now.Add(time.Minute / 100)
		w.Turn(now)
		if sum := pinged(); sum-last > n/100+3*3 {
			t.Fatalf("%d pings in one turn", sum-last)
		} else {
			last = sum
		}
	}
	for _, c := range conns {
		if c.silent.Load() != 1 {
			t.Fatalf("pinged %d times, %d in all", c.silent.Load(), pinged())
		}
	}
	w.Turn(now.Add(time.Hour)) // the clock jumps
	if sum := pinged(); sum != 2*n {
		t.Fatalf("%d pings after a long pause, want %d", sum, 2*n)
	}
}
