//go:build !linux

package bench

// preciseSleep does nothing where the system sleeps as it does.
func preciseSleep() {}
