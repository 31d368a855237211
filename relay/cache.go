package relay

import (
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/bidseal/bidseal/protocol"
	lru "github.com/hashicorp/golang-lru/v2"
)

// newLRU makes a bounded map that forgets what was not used longest.
func newLRU[K comparable, V any](size int) *lru.Cache[K, V] {
	c, err := lru.New[K, V](size)
	if err != nil {
		panic(err) // a size below 1, which Limits.check refuses
	}
	return c
}

// lookup reads through to a source and believes an answer for some seconds.
type lookup[K comparable, V any] struct {
	cache  *lru.Cache[K, looked[V]]
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
	if v, ok := l.cache.Get(k); ok && now.Before(v.until) && v.until.Sub(now) <= l.ttl {
		return v.value, nil
	}
	v, err := l.source(ctx, k)
	if err == nil {
		l.cache.Add(k, looked[V]{v, now.Add(l.ttl)})
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
	cache *lru.Cache[[32]byte, *protocol.VerifiedPass]
}

func newPassCache(size int) *passCache {
	return &passCache{newLRU[[32]byte, *protocol.VerifiedPass](size)}
}

// verify checks a pass against the issuers' keys, through the gate where it is new.
func (pc *passCache) verify(ctx context.Context, g *gate, issuers []crypto.PublicKey, text string, now time.Time) (*protocol.VerifiedPass, error) {
	id := sha256.Sum256([]byte(text))
	if v, ok := pc.cache.Get(id); ok {
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
	pc.cache.Add(id, v)
	return v, nil
}

// unknown reports whether err is ErrNotFound.
func unknown(err error) bool { return errors.Is(err, ErrNotFound) }
