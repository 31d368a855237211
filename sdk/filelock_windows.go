//go:build windows

package bidseal

import (
	"os"

	"golang.org/x/sys/windows"
)

// lockFile waits for the lock on the first byte of the open file.
func lockFile(f *os.File) error {
	return windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK, 0, 1, 0, new(windows.Overlapped))
}

func unlockFile(f *os.File) error {
	return windows.UnlockFileEx(windows.Handle(f.Fd()), 0, 1, 0, new(windows.Overlapped))
}

// syncDir has nothing to do: NTFS journals renames.
func syncDir(string) error { return nil }
