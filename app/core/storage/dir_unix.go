//go:build unix

package storage

import (
	"errors"
	"os"
	"syscall"
)

// lockFile waits for an exclusive lock that ends with the descriptor.
func lockFile(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func syncDir(f *os.File) error { return f.Sync() }
