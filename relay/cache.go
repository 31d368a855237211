package relay

import (
	"container/list"
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/bidseal/bidseal/protocol"
)

// lru is a bounded map that forgets what was not used longest.
type lru[K comparable, V any] struct {
	mu    sync.Mutex
	size  int
	order *list.List // of *lruEntry, newest first
	index map[K]*list.Element
}

type lruEntry[K comparable, V any] struct {
	key   K
	value V
}

func newLRU[K comparable, V any](size int) *lru[K, V] {
	return &lru[K, V]{size: size, order: list.New(), index: map[K]*list.Element{}}
}

func (c *lru[K, V]) get(k K) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.index[k]
	if !ok {
		return v, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*lruEntry[K, V]).value, true
}

func (c *lru[K, V]) put(k K, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.index[k]; ok {
		e.Value.(*lruEntry[K, V]).value = v
		c.order.MoveToFront(e)
		return
	}
	c.index[k] = c.order.PushFront(&lruEntry[K, V]{k, v})
	for len(c.index) > c.size {
		last := c.order.Back()
		c.order.Remove(last)
		delete(c.index, last.Value.(*lruEntry[K, V]).key)
	}
}

// lookup reads through to a source and believes an answer for some seconds.
type lookup[K comparable, V any] struct {
	cache  *lru[K, looked[V]]
	ttl    time.Duration
	clock  func() time.Time
	source func(context.Context, K) (V, error)
}

type looked[V any] struct {
	value V
	until time.Time
}

func newLookup[K comparable, V any](size int, ttl time.Duration, clock func() time.Time, source func(context.Context, K) (V, error)) *lookup[K, V] {
	return &lookup[K, V]{cache: newLRU[K, looked[V]](size), ttl: ttl, clock: clock, source: source}
}

func (l *lookup[K, V]) get(ctx context.Context, k K) (V, error) {
	now := l.clock()
	if v, ok := l.cache.get(k); ok && now.Before(v.until) && v.until.Sub(now) <= l.ttl {
		return v.value, nil
	}
	v, err := l.source(ctx, k)
	if err == nil {
		l.cache.put(k, looked[V]{v, now.Add(l.ttl)})
	}
	return v, err
}

// platformCache holds registered platforms with their parsed keys. Unknown ids
// are not kept: they would let strangers push known ones out.
type platformCache struct {
	*lookup[string, *platformKey]
}

const cachedPlatforms = 4096

func newPlatformCache(d Directory, clock func() time.Time, ttl time.Duration) *platformCache {
	source := func(ctx context.Context, id string) (*platformKey, error) {
		p, err := d.Platform(ctx, id)
		if err != nil {
			return nil, err
		}
		key, err := protocol.ParseKey(p.APIKey)
		if err != nil {
			return nil, err
		}
		return &platformKey{Platform: p, key: key}, nil
	}
	return &platformCache{newLookup(cachedPlatforms, ttl, clock, source)}
}

// passCache remembers device passes whose issuer's signature was verified. A
// pass is the certificate of a device key: its dates are checked every time.
type passCache struct {
	cache *lru[[32]byte, *protocol.VerifiedPass]
}

func newPassCache(size int) *passCache {
	return &passCache{newLRU[[32]byte, *protocol.VerifiedPass](size)}
}

// verify checks a pass against the issuers' keys, through the gate where it is new.
func (pc *passCache) verify(ctx context.Context, g *gate, issuers []crypto.PublicKey, text string, now time.Time) (*protocol.VerifiedPass, error) {
	id := sha256.Sum256([]byte(text))
	if v, ok := pc.cache.get(id); ok {
		skew := int64(protocol.MaxSkew / time.Second)
		if t := now.Unix(); t < v.IAT-skew || t >= v.EXP {
			return nil, protocol.Errorf(protocol.CodeUnauthorized, "device pass has expired")
		}
		return v, nil
	}
	var v *protocol.VerifiedPass
	err := g.do(ctx, func() error {
		var err error
		for _, issuer := range issuers {
			if v, err = protocol.VerifyPass(issuer, text, now); err == nil {
				return nil
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	pc.cache.put(id, v)
	return v, nil
}

// rateLimiter counts calls per key in fixed windows, on this node.
type rateLimiter struct {
	clock  func() time.Time
	window time.Duration
	cache  *lru[string, *rateWindow]
}

type rateWindow struct {
	mu    sync.Mutex
	start time.Time
	n     int
}

func newRateLimiter(clock func() time.Time, window time.Duration, size int) *rateLimiter {
	return &rateLimiter{clock: clock, window: window, cache: newLRU[string, *rateWindow](size)}
}

// allow counts one call and reports whether it is within the limit.
func (l *rateLimiter) allow(key string, limit int) error {
	w, ok := l.cache.get(key)
	if !ok {
		w = &rateWindow{}
		l.cache.put(key, w)
	}
	now := l.clock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if age := now.Sub(w.start); age >= l.window || age < 0 {
		w.start, w.n = now, 0
	}
	if w.n++; w.n > limit {
		return &protocol.Error{Code: protocol.CodeRateLimited, Detail: "too many calls", RetryAfter: int((l.window - now.Sub(w.start)).Seconds()) + 1}
	}
	return nil
}

// unknown reports whether err is ErrNotFound.
func unknown(err error) bool { return errors.Is(err, ErrNotFound) }
