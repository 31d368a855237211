package bench

import "syscall"

// preciseSleep has this thread's sleeps end when they are due and not up to
// 50 µs later, prctl(2) PR_SET_TIMERSLACK. Where it fails they are late, and
// that is measured.
func preciseSleep() {
	const prSetTimerslack = 29
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetTimerslack, 1, 0)
}
