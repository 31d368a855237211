//go:build !unix

package storage

import "os"

// Without flock the lock holds within the process alone; folders cannot be
// synchronised there either, the system orders renames itself.
func lockFile(*os.File) error { return nil }

func syncDir(*os.File) error { return nil }
