package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
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

// Triggers serves one driver: for each number that it sends on a connection to
// the answered address, do is called in turn. When the driver has sent its last
// one, wait is called, and what failed is told before the connection closes.
func Triggers(do func(i int) error, wait func() error) (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listen for triggers: %w", err)
	}
	go func() {
		defer l.Close()
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if err := errors.Join(obey(c, do), wait()); err != nil {
			fmt.Fprint(c, err)
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
// and returns when all that they began is done.
func Trigger(ctx context.Context, addr string, start time.Time, rate float64, count int) error {
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
	var number [4]byte
	if err := Pace(ctx, start, rate, count, func(i int) error {
		binary.BigEndian.PutUint32(number[:], uint32(i))
		_, err := tcp.Write(number[:])
		return err
	}); err != nil {
		return fmt.Errorf("trigger: %w", err)
	}
	if err := tcp.CloseWrite(); err != nil {
		return fmt.Errorf("trigger: %w", err)
	}
	told, err := io.ReadAll(io.LimitReader(tcp, 4096))
	if len(told) > 0 {
		err = fmt.Errorf("%s: %w", told, err)
	}
	if err != nil {
		return fmt.Errorf("trigger: %w", err)
	}
	return nil
}
