package benchcmd

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/bidseal/bidseal/internal/bench"
)

// What waiting costs: memory and pings.

const (
	figAtRest    = "memory per waiting connection, at rest"
	figCollected = "memory per waiting connection, after a collection"
	figStack     = "of that stacks of goroutines"
	figHeap      = "of that heap"
	figPing      = "CPU per ping and pong"
	unitKiB      = "KiB"
	unitMicro    = "µs"
	unitMilli    = "ms"
)

// restPing is the ping interval of the memory part: at rest means that every
// connection has seen a ping.
func (o relayBenchOptions) restPing() time.Duration {
	if o.connections < 1000 {
		return time.Second
	}
	return 5 * time.Second
}

func (b *relayBench) memory(ctx context.Context) error {
	restPing := b.o.restPing()
	s := newSampler(tabMemory, fmt.Sprintf(`%d connections, each one waiting over a WebSocket: at the relay a page with a challenge of its own in SQLite, at the
peer a client subscribed to a channel of its own. Pings every %s on both sides; at rest is after one round of them.
Resident memory of the server process less that before the first connection.`, b.o.connections, restPing))
	err := b.rounds(ctx, b.o.third(), setup{ping: restPing}, func(name string, session *session) error {
		if err := session.prepare(name, b.o.connections); err != nil {
			return err
		}
		base, err := session.Order(bench.Order{Do: "collect"})
		if err != nil {
			return err
		}
		if err := session.crowd.grow(ctx, 0, b.o.connections); err != nil {
			return err
		}
		connected, err := session.Order(bench.Order{Do: "usage"})
		if err != nil {
			return err
		}
		const windows = 1.2
		if err := pause(ctx, time.Duration(windows*float64(restPing))); err != nil {
			return err
		}
		rest, err := session.Order(bench.Order{Do: "usage"})
		if err != nil {
			return err
		}
		collected, err := session.Order(bench.Order{Do: "collect"})
		if err != nil {
			return err
		}
		n := float64(b.o.connections)
		s.add(name, figAtRest, unitKiB, float64(rest.RSS-base.RSS)/1024/n)
		s.add(name, figCollected, unitKiB, float64(collected.RSS-base.RSS)/1024/n)
		s.add(name, figStack, unitKiB, float64(collected.Stack-base.Stack)/1024/n)
		s.add(name, figHeap, unitKiB, float64(collected.Heap-base.Heap)/1024/n)
		s.add(name, figPing, unitMicro, float64(rest.CPU-connected.CPU)/1000/n/windows)
		if b.o.profile != "" {
			if _, err := session.Order(bench.Order{Do: "heap", Path: b.profilePath("heap-" + name)}); err != nil {
				return err
			}
		}
		return session.crowd.err()
	})
	b.report.Tables = append(b.report.Tables, s.table(b.sys.names()))
	return err
}

// benchLine is one system's memory against connections.
type benchLine struct {
	System string       `json:"system"`
	Points []benchPoint `json:"points"`
}

type benchPoint struct {
	Connections int   `json:"connections"`
	AtRest      int64 `json:"at_rest"`   // bytes beyond those of no connection
	Collected   int64 `json:"collected"` // the same after a collection
}

// seriesSteps are shares of what the open-file limit allows.
func seriesSteps(limit int) []int {
	var steps []int
	for _, n := range []int{1000, 2000, 5000, 10_000, 15_000, 20_000, 40_000, 60_000, 80_000, 100_000} {
		if n < limit {
			steps = append(steps, n)
		}
	}
	return append(steps, limit)
}

func (b *relayBench) series(ctx context.Context) error {
	restPing := b.o.restPing()
	limit := min(int(b.report.Files)-spareFiles, 100_000)
	if b.o.connections < 10_000 { // a small run stays small
		limit = min(limit, b.o.connections)
	}
	return b.rounds(ctx, 1, setup{ping: restPing}, func(name string, session *session) error {
		if err := session.prepare(name, limit); err != nil {
			return err
		}
		base, err := session.Order(bench.Order{Do: "collect"})
		if err != nil {
			return err
		}
		line, from := benchLine{System: name}, 0
		for _, n := range seriesSteps(limit) {
			if err := session.crowd.grow(ctx, from, n); err != nil {
				return err
			}
			from = n
			if err := pause(ctx, restPing/2); err != nil {
				return err
			}
			rest, err := session.Order(bench.Order{Do: "usage"})
			if err != nil {
				return err
			}
			collected, err := session.Order(bench.Order{Do: "collect"})
			if err != nil {
				return err
			}
			line.Points = append(line.Points, benchPoint{n, rest.RSS - base.RSS, collected.RSS - base.RSS})
		}
		b.report.Series = append(b.report.Series, line)
		return session.crowd.err()
	})
}

// profiling has a server write a CPU profile while do runs, where one is wanted.
func (b *relayBench) profiling(s *session, name string, do func() error) error {
	if b.o.profile == "" {
		return do()
	}
	if _, err := s.Order(bench.Order{Do: "profile", Path: b.profilePath(name)}); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	_, err := s.Order(bench.Order{Do: "profiled"})
	return err
}

func (b *relayBench) profilePath(name string) string {
	return filepath.Join(b.o.profile, strings.NewReplacer(" ", "-", ",", "").Replace(name)+".prof")
}
