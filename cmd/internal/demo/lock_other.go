//go:build !unix

package demo

import (
	"fmt"
	"os"
	"path/filepath"
)

// lockFolder keeps a second process off a data folder. Where the system has no
// advisory locks, an open file that cannot be removed serves: it is held open
// and deleted at the end.
func lockFolder(dir string) (release func() error, err error) {
	name := filepath.Join(dir, "lock")
	_ = os.Remove(name)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("another demo runs on %s: %w", dir, err)
	}
	return f.Close, nil
}
