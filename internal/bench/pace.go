package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Pace is an open loop: do(i) is called for each i of count when it is due, at
// start + i/rate, whether or not the earlier ones had an effect. What is late
// is called at once, and its lateness counts, because latencies are taken from
// when it was due. It returns early only with ctx or an error of do.
//
// It sleeps in the system on a thread of its own: the runtime's timers are as
// coarse as a millisecond where nothing else runs.
func Pace(ctx context.Context, start time.Time, rate float64, count int, do func(i int) error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	preciseSleep()
	const nap = 100 * time.Millisecond // ctx is looked at that often
	for i := range count {
		for ctx.Err() == nil {
			wait := min(time.Until(Due(start, rate, i)), nap)
			if wait <= 0 {
				break
			}
			ts := syscall.NsecToTimespec(wait.Nanoseconds())
			if err := syscall.Nanosleep(&ts, nil); err != nil && !errors.Is(err, syscall.EINTR) {
				return fmt.Errorf("sleep: %w", err)
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := do(i); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Due is when number i of an open loop is due.
func Due(start time.Time, rate float64, i int) time.Time {
	return start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
}

// sources is how many connections carry triggers, each served by a goroutine, as
// calls of different callers are.
const sources = 4

// Triggers serves one driver: for each number that it sends on its connections to
// the answered address, do is called, concurrently for different connections.
// When the driver has sent its last one, wait is called, and what failed is told
// before a connection closes.
func Triggers(do func(i int) error, wait func() error) (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listen for triggers: %w", err)
	}
	var obeyed sync.WaitGroup
	obeyed.Add(sources)
	wait = sync.OnceValue(wait)
	go func() {
		defer l.Close()
		for range sources {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				err := obey(c, do)
				obeyed.Done()
				obeyed.Wait() // nothing is begun any more
				if err := errors.Join(err, wait()); err != nil {
					fmt.Fprint(c, err)
				}
			}()
		}
	}()
	return l.Addr().String(), nil
}

func obey(from io.Reader, do func(i int) error) error {
	buf := make([]byte, 4096)
	have := 0
	for {
		n, err := from.Read(buf[have:])
		have += n
		at := 0
		for ; have-at >= 4; at += 4 {
			if err := do(int(binary.BigEndian.Uint32(buf[at:]))); err != nil {
				return err
			}
		}
		have = copy(buf, buf[at:have])
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("triggers: %w", err)
		}
	}
}

// Trigger sends numbers below count when they are due to where Triggers listens,
// those of one topic (the number modulo topics) on one connection, and returns
// when all that they began is done.
func Trigger(ctx context.Context, addr string, start time.Time, rate float64, count, topics int) error {
	var list []*net.TCPConn
	for range sources {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return fmt.Errorf("trigger: %w", err)
		}
		defer c.Close()
		tcp, ok := c.(*net.TCPConn)
		if !ok {
			return errors.New("trigger: not a TCP connection")
		}
		list = append(list, tcp)
	}
	var number [4]byte
	err := Pace(ctx, start, rate, count, func(i int) error {
		binary.BigEndian.PutUint32(number[:], uint32(i))
		_, err := list[i%topics%sources].Write(number[:])
		return err
	})
	for _, c := range list {
		err = errors.Join(err, c.CloseWrite())
	}
	for _, c := range list {
		err = errors.Join(err, told(c))
	}
	if err != nil {
		return fmt.Errorf("trigger: %w", err)
	}
	return nil
}

// told reads what failed, until the connection is closed.
func told(c *net.TCPConn) error {
	text, err := io.ReadAll(io.LimitReader(c, 4096))
	if len(text) > 0 {
		err = errors.Join(err, errors.New(string(text)))
	}
	return err
}
