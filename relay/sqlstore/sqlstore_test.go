package sqlstore

import (
	"testing"
	"time"

	"github.com/bidseal/bidseal/relay/storetest"
)

func backend(t *testing.T, location string, clock func() time.Time) storetest.Backend {
	t.Helper()
	s, err := Open(t.Context(), location, clock)
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	shut := func() {
		if closed {
			return
		}
		closed = true
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(shut)
	return storetest.Backend{State: s, Nonces: s, Counters: s, Outcomes: s, Reopen: func(t *testing.T) storetest.Backend {
		shut()
		return backend(t, location, clock)
	}}
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T, clock func() time.Time) storetest.Backend {
		return backend(t, newLocation(t), clock)
	})
}
