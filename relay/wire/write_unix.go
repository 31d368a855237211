//go:build unix

package wire

import (
	"errors"
	"net"
	"syscall"
)

// writeNow writes what the socket takes at once and never waits: n is less than
// len(b) where its buffer is full, and 0 where there is no socket to ask (TLS).
func writeNow(c net.Conn, b []byte) (n int, err error) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return 0, nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		for {
			n, failed = syscall.Write(int(fd), b)
			if !errors.Is(failed, syscall.EINTR) {
				return true
			}
		}
	})
	if n = max(n, 0); err == nil && !errors.Is(failed, syscall.EAGAIN) {
		err = failed
	}
	return n, err
}
