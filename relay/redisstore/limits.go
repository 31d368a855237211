package redisstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// nonceMargin keeps nonces for nodes whose clocks are behind.
const nonceMargin = 5 * time.Minute

// UseNonce remembers a nonce. Sent again after a lost answer it reports a nonce
// as used: the caller signs anew.
func (s *Store) UseNonce(ctx context.Context, nonce string, until time.Time) (bool, error) {
	life := max(until.Sub(s.now()), 0) + nonceMargin
	err := s.client.SetArgs(ctx, s.keys.nonce(nonce), "", redis.SetArgs{Mode: "NX", TTL: life}).Err()
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("remember nonce: %w", err)
	}
	return true, nil
}

// Hit adds one to a counter that all nodes share. Sent again after a lost answer
// it may count twice.
func (s *Store) Hit(ctx context.Context, key string, window time.Duration) (int, error) {
	n, err := s.scripts.hit.Run(ctx, s.client, []string{s.keys.hit(key)}, s.micros(), window.Microseconds()).Int()
	if err != nil {
		return 0, fmt.Errorf("count: %w", err)
	}
	return n, nil
}
