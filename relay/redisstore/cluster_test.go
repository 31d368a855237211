//go:build redis

package redisstore

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bidseal/bidseal/relay"
	"github.com/bidseal/bidseal/relay/redisstore/redistest"
)

// owner finds the slot of a key and its master.
func owner(t testing.TB, servers []*redistest.Server, s *Store, key string) (slot string, master *redistest.Server) {
	t.Helper()
	slot = servers[0].Do(t, "cluster", "keyslot", key)
	n, err := strconv.Atoi(slot)
	must(t, err)
	slots, err := s.client.ClusterSlots(t.Context()).Result()
	must(t, err)
	for _, part := range slots {
		if part.Start <= n && n <= part.End {
			return slot, servers[slices.Index(redistest.Addrs(servers...), part.Nodes[0].Addr)]
		}
	}
	t.Fatalf("nobody serves slot %s", slot)
	return "", nil
}

// replicaOf finds a master's replica and waits until it is up to date and both
// have a link to each other, without which a failover is not heard of.
func replicaOf(t testing.TB, servers []*redistest.Server, master *redistest.Server) *redistest.Server {
	t.Helper()
	master.WaitFor(t, "state=online", "info", "replication")
	info := master.Do(t, "info", "replication")
	i := slices.IndexFunc(servers, func(s *redistest.Server) bool { return strings.Contains(info, fmt.Sprintf("port=%d,", s.Port)) })
	if i < 0 {
		t.Fatalf("no replica in %s", info)
	}
	replica := servers[i]
	linked := func(addr, role string) func(string) bool {
		return func(nodes string) bool {
			for line := range strings.Lines(nodes) {
				if f := strings.Fields(line); len(f) > 7 && strings.HasPrefix(f[1], addr+"@") {
					return f[2] == role && f[7] == "connected"
				}
			}
			return false
		}
	}
	replica.Until(t, linked(master.Addr, "master"), "cluster", "nodes")
	master.Until(t, linked(replica.Addr, "slave"), "cluster", "nodes")
	return replica
}

// manualFailover is longer than Redis pursues a failover that it was asked for
// (CLUSTER_MF_TIMEOUT, 5 s): one without enough votes by then is given up.
const manualFailover = 6 * time.Second

// promote has a replica take its master's place, and asks again where Redis gave up.
func promote(t testing.TB, replica *redistest.Server) {
	t.Helper()
	var asked time.Time
	replica.Until(t, func(answer string) bool {
		if strings.Contains(answer, "role:master") {
			return true
		}
		if time.Since(asked) > manualFailover {
			replica.Do(t, "cluster", "failover") // refused where it is a master by now
			asked = time.Now()
		}
		return false
	}, "info", "replication")
}

// TestClusterFailover: the master of a platform's slot gives way to its replica
// while many write. Every transition happens once and the feed has all.
func TestClusterFailover(t *testing.T) {
	servers := redistest.Cluster(t)
	s := openStore(t, Config{Addresses: redistest.Addrs(servers...)})
	_, old := owner(t, servers, s, s.keys.feed("p1"))
	replica := replicaOf(t, servers, old)
	const writers, each = 8, 60
	errs := make([]error, writers)
	under := make(chan struct{}, writers)
	var group sync.WaitGroup
	for w := range writers {
		all := make([]relay.Challenge, each)
		for i := range all {
			all[i] = fresh(t, "p1")
		}
		group.Go(func() {
			for i, c := range all {
				if i == each/4 {
					under <- struct{}{}
				}
				c, made, err := s.Create(t.Context(), c, []byte("request"), plenty)
				if err == nil && !made {
					err = errors.New("made twice")
				}
				if err == nil {
					next := c
					next.Progress, err = c.Progress.Claim(c.Terms, c.CreatedAt, "d", make([]byte, 16), nil)
					if err == nil {
						_, err = s.Swap(t.Context(), c.Rev, next)
					}
				}
				if err != nil {
					errs[w] = fmt.Errorf("writer %d, challenge %d: %w", w, i, err)
					return
				}
			}
		})
	}
	<-under
	promote(t, replica)
	group.Wait()
	must(t, errors.Join(errs...))
	old.WaitFor(t, "role:slave", "info", "replication")
	seen, after := 0, int64(0)
	for {
		page, err := s.Feed(t.Context(), "p1", after, 100)
		must(t, err)
		if len(page) == 0 {
			break
		}
		for _, c := range page {
			if c.Rev <= after || c.Progress.Device != "d" {
				t.Fatalf("rev %d after %d, %+v", c.Rev, after, c.Progress)
			}
			after = c.Rev
		}
		seen += len(page)
	}
	if seen != writers*each {
		t.Errorf("the feed has %d challenges, want %d", seen, writers*each)
	}
}

// TestClusterMigration: a platform's slot moves to another master. While its keys
// lie on both a transition is refused whole, which the caller hears as
// unavailable; afterwards it follows the keys.
func TestClusterMigration(t *testing.T) {
	servers := redistest.Cluster(t)
	s := openStore(t, Config{Addresses: redistest.Addrs(servers...)})
	c := created(t, s, "p1")
	slot, from := owner(t, servers, s, s.keys.feed("p1"))
	var to *redistest.Server
	for _, candidate := range servers {
		if candidate != from && strings.Contains(candidate.Do(t, "info", "replication"), "role:master") {
			to = candidate
		}
	}
	fromID, toID := from.Do(t, "cluster", "myid"), to.Do(t, "cluster", "myid")
	to.Do(t, "cluster", "setslot", slot, "importing", fromID)
	from.Do(t, "cluster", "setslot", slot, "migrating", toID)
	migrate := func(keys ...string) {
		t.Helper()
		args := append([]string{"migrate", "127.0.0.1", strconv.Itoa(to.Port), "", "0", "5000", "keys"}, keys...)
		if answer := from.Do(t, args...); answer != "OK" {
			t.Fatalf("migrate: %s", answer)
		}
	}
	migrate(s.keys.rev("p1"), s.keys.challenge("p1", c.CID))
	if _, err := s.Swap(t.Context(), c.Rev, claimed(t, c, 1)); err == nil || !strings.Contains(err.Error(), "TRYAGAIN") {
		t.Fatalf("in the middle: %v", err)
	}
	if got, err := s.Get(t.Context(), c.CID); err != nil || got.Rev != c.Rev { // one key: asked for where it is
		t.Fatalf("in the middle: rev %d, %v", got.Rev, err)
	}
	migrate(strings.Fields(from.Do(t, "cluster", "getkeysinslot", slot, "100"))...)
	for _, server := range []*redistest.Server{to, from} {
		server.Do(t, "cluster", "setslot", slot, "node", toID)
	}
	moved, err := s.Swap(t.Context(), c.Rev, claimed(t, c, 1))
	must(t, err)
	page, err := s.Feed(t.Context(), "p1", 0, 10)
	must(t, err)
	if len(page) != 1 || page[0].Rev != moved.Rev {
		t.Errorf("feed %+v", page)
	}
}
