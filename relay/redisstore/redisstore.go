// Package redisstore keeps the state of open challenges in Redis 7, so that many
// nodes carry them together: it is a relay.Store and, by Store.Bus, a relay.Bus.
// It runs on one server, behind Sentinels, or on a Cluster.
//
//	store, err := redisstore.Open(redisstore.Config{Addresses: []string{"redis.example.cn:6379"}})
//	bus, err := store.Bus()
//	r, err := relay.New(ctx, relay.Config{Bus: bus, Outcomes: results, Directory: results, ...}.WithStore(store))
//
// Every transition is one script: compare-and-swap, rev, feed, due index, and the
// message to the nodes with waiters. A script whose reply was lost is
// sent again and recognises itself by a random op.
//
// A transition is as durable as the servers make it, and a failover may lose
// the newest transitions: a claim has to be made again then. Ends are not lost,
// they stand in SQL (relay.Outcomes), and the sweeper brings the state to them.
// The servers must not evict keys (maxmemory-policy noeviction). State has no
// time to live; only entries that are no longer referenced have one.
package redisstore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
	"github.com/redis/go-redis/v9"
)

// MaxKept is the longest that a challenge, all its deadlines and its time as an
// ended one included, may stay in the store: an index without a challenge is
// forgotten after that.
const MaxKept = 30 * 24 * time.Hour

// Store is the backend. It is safe for concurrent use.
type Store struct {
	client  redis.UniversalClient
	keys    keys
	scripts scripts
	homes   *homes
	clock   func() time.Time // nil: the servers' time
	log     *slog.Logger
}

var _ relay.Store = (*Store)(nil)

// Open makes a store. It does not connect yet: relay.New asks for the ID.
func Open(config Config) (*Store, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	options, err := config.options()
	if err != nil {
		return nil, err
	}
	s := &Store{client: redis.NewUniversalClient(options), keys: keys(config.Prefix), scripts: newScripts(),
		homes: newHomes(maxHomes), clock: config.Clock, log: config.Logger}
	if s.keys == "" {
		s.keys = defaultPrefix
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s, nil
}

// Close closes the connections. What is under way fails.
func (s *Store) Close() error { return s.client.Close() }

// ID names this set of data. A Redis that lost everything gets another one.
func (s *Store) ID(ctx context.Context) (string, error) {
	id, err := randomText()
	if err != nil {
		return "", err
	}
	old, err := s.putOnce(ctx, s.client, s.keys.id(), id, 0).Result()
	if errors.Is(err, redis.Nil) {
		return id, nil
	}
	if err != nil {
		return "", fmt.Errorf("read store id: %w", err)
	}
	return old, nil
}

// putOnce sets a key where it is not set and returns what was there, redis.Nil
// for nothing. Repeated it returns the value that was set first.
func (s *Store) putOnce(ctx context.Context, c redis.Cmdable, key, value string, life time.Duration) *redis.StatusCmd {
	return c.SetArgs(ctx, key, value, redis.SetArgs{Mode: "NX", Get: true, TTL: life})
}

// micros is the time that scripts are given: 0 for the server's own.
func (s *Store) micros() int64 {
	if s.clock == nil {
		return 0
	}
	return s.clock().UnixMicro()
}

// now is this node's time.
func (s *Store) now() time.Time {
	if s.clock == nil {
		return time.Now()
	}
	return s.clock()
}

// at runs read with the platform of a cid. What is remembered may be wrong: the
// cid may have been purged and taken by another platform.
func (s *Store) at(ctx context.Context, cid protocol.CID, read func(platform string) error) error {
	if platform, ok := s.homes.get(cid); ok {
		if err := read(platform); !errors.Is(err, relay.ErrNotFound) {
			return err
		}
	}
	platform, err := s.lookUp(ctx, cid)
	if err != nil {
		return err
	}
	return read(platform)
}

// platformOf returns the platform of a cid. relay.ErrNotFound.
func (s *Store) platformOf(ctx context.Context, cid protocol.CID) (string, error) {
	if platform, ok := s.homes.get(cid); ok {
		return platform, nil
	}
	return s.lookUp(ctx, cid)
}

func (s *Store) lookUp(ctx context.Context, cid protocol.CID) (string, error) {
	platform, err := s.client.Get(ctx, s.keys.index(cid)).Result()
	if err != nil {
		return "", missing(err)
	}
	s.homes.put(cid, platform)
	return platform, nil
}

// missing turns an empty reply into relay.ErrNotFound.
func missing(err error) error {
	if errors.Is(err, redis.Nil) {
		return relay.ErrNotFound
	}
	return err
}

// randomText is 16 random bytes in hex.
func randomText() (string, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("draw random bytes: %w", err)
	}
	return hex.EncodeToString(b), nil
}
