//go:build redis

package relay_test

import (
	"testing"

	"github.com/bidseal/bidseal/relay"
	"github.com/bidseal/bidseal/relay/redisstore"
	"github.com/bidseal/bidseal/relay/redisstore/redistest"
	"github.com/bidseal/bidseal/relay/sqlstore"
)

// newState starts a Redis for the state of a world.
func newState(t testing.TB) (address string) {
	t.Helper()
	return redistest.Start(t).Addr
}

// openState opens the state of a node.
func openState(address string, _ *sqlstore.Store, c *clock) (relay.Store, relay.Bus, func() error, error) {
	store, err := redisstore.Open(redisstore.Config{Addresses: []string{address}, Clock: c.now})
	if err != nil {
		return nil, nil, nil, err
	}
	bus, err := store.Bus()
	return store, bus, store.Close, err
}
