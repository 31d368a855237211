package bench

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Usage is what a process has cost so far.
type Usage struct {
	CPU        time.Duration `json:"cpu,omitempty"`   // user and system
	RSS        int64         `json:"rss,omitempty"`   // bytes, of /proc/self/statm
	Heap       uint64        `json:"heap,omitempty"`  // bytes of spans in use
	Stack      uint64        `json:"stack,omitempty"` // bytes of goroutines' stacks
	Goroutines int           `json:"goroutines,omitempty"`
	Files      uint64        `json:"files,omitempty"` // how many it may have open
}

// Measure reads this process's usage.
func Measure() (Usage, error) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u := Usage{Goroutines: runtime.NumGoroutine(), Heap: m.HeapInuse, Stack: m.StackInuse}
	var err error
	if u.CPU, err = CPU(); err != nil {
		return u, err
	}
	if u.RSS, err = rss(); err != nil {
		return u, err
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return u, fmt.Errorf("read the open-file limit: %w", err)
	}
	u.Files = limit.Cur
	return u, nil
}

// MeasureCollected is Measure after a collection that gives free memory back
// to the system.
func MeasureCollected() (Usage, error) {
	debug.FreeOSMemory()
	return Measure()
}

// CPU is the user and system time of this process so far.
func CPU() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

func rss() (int64, error) {
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, fmt.Errorf("read resident memory: %w", err)
	}
	fields := strings.Fields(string(raw))
	if len(fields) < 2 {
		return 0, fmt.Errorf("read resident memory: %q", raw)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read resident memory: %w", err)
	}
	return pages * int64(os.Getpagesize()), nil
}

// RaiseFiles lifts this process's open-file limit to the hard one and returns it.
func RaiseFiles() (uint64, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read the open-file limit: %w", err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("raise the open-file limit: %w", err)
	}
	return limit.Cur, nil
}
