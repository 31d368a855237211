package limit_test

import (
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bidseal/bidseal/internal/httpapi/limit"
	"github.com/bidseal/bidseal/protocol"
)

func TestLimiter(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	l, err := limit.New[string](0.5, 3, 2, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	spend := func(key string, n int) {
		t.Helper()
		for range n {
			if err := l.Allow(key); err != nil {
				t.Fatal(err)
			}
		}
	}
	spend("a", 3)
	for range 5 { // refused calls push the next allowed one no further away
		var refused *protocol.Error
		if err := l.Allow("a"); !errors.As(err, &refused) || refused.Code != protocol.CodeRateLimited || refused.RetryAfter != 2 {
			t.Fatalf("the fourth call: %v", err)
		}
	}
	spend("b", 3)
	now = now.Add(2 * time.Second)
	spend("a", 1)
	if l.Allow("a") == nil {
		t.Error("one token was taken twice")
	}
	now = now.Add(-time.Hour) // the clock jumps back
	if l.Allow("a") == nil {
		t.Error("a clock that goes back fills a bucket")
	}
	spend("c", 1) // the third of two keys: "b" called longest ago
	spend("b", 3)
}

func TestLimiterSharesOneBucket(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	l, err := limit.New[int](1, 10, 8, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	var allowed atomic.Int32
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if l.Allow(1) == nil {
				allowed.Add(1)
			}
		})
	}
	wg.Wait()
	if allowed.Load() != 10 {
		t.Errorf("%d calls allowed", allowed.Load())
	}
}

func TestNonsenseIsRefused(t *testing.T) {
	for _, c := range []struct {
		perSecond   float64
		burst, keys int
	}{{0, 1, 1}, {-1, 1, 1}, {math.NaN(), 1, 1}, {math.Inf(1), 1, 1}, {1, 0, 1}, {1, 1, 0}} {
		if _, err := limit.New[int](c.perSecond, c.burst, c.keys, time.Now); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}
