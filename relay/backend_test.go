//go:build !redis

package relay_test

import (
	"testing"

	"github.com/bidseal/bidseal/relay"
	"github.com/bidseal/bidseal/relay/sqlstore"
)

// newState makes room for the state of a world: here it is in the database of the
// ends, with the build tag redis on a server of its own.
func newState(testing.TB) (address string) { return "" }

// openState opens the state of a node.
func openState(_ string, ends *sqlstore.Store, _ *clock) (relay.Store, relay.Bus, func() error, error) {
	return ends, relay.NewLocalBus(), func() error { return nil }, nil
}
