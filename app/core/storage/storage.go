// Package storage is the small set of files that a phone keeps, and where they
// may lie: a folder of the operating system, or memory in tests. A browser or a
// native shell brings its own.
package storage

import (
	"context"
	"fmt"
)

// MaxFile is the largest file in bytes; reading and writing more is refused.
const MaxFile = 4 << 20

// Files is what a phone needs of a storage. Names are flat, 1 to 96 characters
// of a-z, 0-9, dot and hyphen, and do not start with a dot.
//
// All methods are safe for concurrent use, also by several processes where the
// storage can be shared by them.
type Files interface {
	// Read returns the whole file. A missing one gives an error that wraps
	// fs.ErrNotExist.
	Read(ctx context.Context, name string) ([]byte, error)
	// Write replaces the whole file. After a crash at any moment the file holds
	// either the old or the new content, and once Write has returned nil it
	// holds the new one. Only the owner of the storage can read it.
	Write(ctx context.Context, name string, data []byte) error
	// Remove deletes a file as durably as Write; a missing one is not an error.
	Remove(ctx context.Context, name string) error
	// List returns the names that start with prefix, sorted.
	List(ctx context.Context, prefix string) ([]string, error)
	// Lock waits until nobody else holds the named lock, and holds it until
	// release is called. Locks are for short sections: read, change, write.
	Lock(ctx context.Context, name string) (release func(), err error)
}

// CheckName holds the rule of names.
func CheckName(name string) error {
	if name == "" || len(name) > 96 || name[0] == '.' {
		return fmt.Errorf("file name %q is not allowed", name)
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' {
			return fmt.Errorf("file name %q is not allowed", name)
		}
	}
	return nil
}

func checkWrite(name string, data []byte) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if len(data) > MaxFile {
		return fmt.Errorf("file %s: %d bytes, at most %d", name, len(data), MaxFile)
	}
	return nil
}
