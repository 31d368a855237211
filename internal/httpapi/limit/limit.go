// Package limit bounds how often each caller may call: one token bucket for each
// key, for as many keys as memory is given to.
package limit

import (
	"fmt"
	"math"
	"time"

	"github.com/bidseal/bidseal/protocol"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// Limiter holds the buckets. It is safe for concurrent use.
type Limiter[K comparable] struct {
	now     func() time.Time
	rate    rate.Limit
	burst   int
	buckets *lru.Cache[K, *rate.Limiter]
}

// New makes a limiter that allows each key burst calls at once and refills
// perSecond of them a second. It remembers that many keys; for a new one it
// forgets the key that called longest ago, which then has a full bucket.
func New[K comparable](perSecond float64, burst, keys int, now func() time.Time) (*Limiter[K], error) {
	if !(perSecond > 0) || math.IsInf(perSecond, 0) || burst < 1 {
		return nil, fmt.Errorf("limit of %v calls per second, %d at once", perSecond, burst)
	}
	buckets, err := lru.New[K, *rate.Limiter](keys)
	if err != nil {
		return nil, fmt.Errorf("limit for %d keys: %w", keys, err)
	}
	return &Limiter[K]{now: now, rate: rate.Limit(perSecond), burst: burst, buckets: buckets}, nil
}

// Allow counts one call. Error: CodeRateLimited with the seconds until the next
// one is allowed; a refused call costs nothing.
func (l *Limiter[K]) Allow(key K) error {
	bucket, ok := l.buckets.Get(key)
	if !ok {
		bucket = rate.NewLimiter(l.rate, l.burst)
		if other, found, _ := l.buckets.PeekOrAdd(key, bucket); found {
			bucket = other
		}
	}
	now := l.now()
	r := bucket.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait == 0 {
		return nil
	}
	r.CancelAt(now)
	return &protocol.Error{Code: protocol.CodeRateLimited, Detail: "too many calls", RetryAfter: max(1, int(math.Ceil(wait.Seconds())))}
}
