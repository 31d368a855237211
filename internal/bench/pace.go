package bench

import (
	"context"
	"time"
)

// Pace is an open loop: do(i) is called for each i of count when it is due, at
// start + i/rate, whether or not the earlier ones had an effect. What is late
// is called at once, and its lateness counts, because latencies are taken from
// when it was due. It returns early only with ctx.
func Pace(ctx context.Context, start time.Time, rate float64, count int, do func(i int) error) error {
	timer := time.NewTimer(time.Until(start))
	defer timer.Stop()
	for i := range count {
		if wait := time.Until(Due(start, rate, i)); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return ctx.Err()
			}
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
