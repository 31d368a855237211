package benchcmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"

	"github.com/bidseal/bidseal/internal/bench"
)

// nodesRate and nodesWaiters are those of the part with two nodes, where a
// Redis shares the machine, too.
const (
	nodesRate    = 1000
	nodesWaiters = 2000
)

// nodes has one node publish and the waiters of another be told, through Redis.
func (b *relayBench) nodes(ctx context.Context) error {
	addr := b.o.redis
	if addr == "" {
		started, stop, err := startRedis(ctx, b.sys.dir)
		if err != nil {
			return err
		}
		defer stop()
		addr = started
	}
	waiters, rate := min(nodesWaiters, b.o.connections), min(nodesRate, b.o.rate)
	s := newSampler(tabNodes, fmt.Sprintf(`%.0f messages a second for %d s, published on one node, %d waiters on the other, one redis-server between them. The relay's
message is a whole transition: a script that moves the state, with revision, feed and due index, and publishes to the waiter's node, which
reads the state again before it tells the page. The peer's is a publication without history: nothing is kept.`, rate, b.o.seconds, waiters))
	order := benchLoop(rate, float64(b.o.seconds), waiters)
	how := setup{ping: pushPing, redis: addr}
	err := b.rounds(ctx, b.o.third(), how, func(name string, waiting *session) error {
		return b.with(ctx, name, how, func(publishing *session) error {
			for _, node := range []*session{waiting, publishing} {
				if err := node.prepare(name, waiters); err != nil {
					return err
				}
			}
			if err := b.crowded(ctx, name, waiting, waiters); err != nil {
				return err
			}
			before, err := publishing.Order(bench.Order{Do: "usage"})
			if err != nil {
				return err
			}
			p, err := waiting.crowd.push(ctx, by(publishing.Process), waiting.Process, order, patience)
			if err = errors.Join(err, p.whole()); err != nil {
				return err
			}
			after, err := publishing.Order(bench.Order{Do: "usage"})
			if err != nil {
				return err
			}
			s.add(name, figP50, unitMilli, p.latency.ms(50))
			s.add(name, figP99, unitMilli, p.latency.ms(99))
			s.add(name, figMessage, unitMicro, p.perMessage())
			s.add(name, figSource, unitMicro, float64((after.CPU-before.CPU).Microseconds())/float64(order.count))
			return nil
		})
	})
	b.report.Tables = append(b.report.Tables, s.table(b.sys.names()))
	return err
}

// startRedis runs redis-server on a free port and waits until it serves.
func startRedis(ctx context.Context, dir string) (addr string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("listen: %w", err)
	}
	addr = l.Addr().String()
	l.Close()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", nil, fmt.Errorf("address: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, "redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no") //nolint:gosec // a free port
	out, err := cmd.StdoutPipe()
	if err != nil {
		cancel()
		return "", nil, fmt.Errorf("redis-server: %w", err)
	}
	if err := cmd.Start(); err != nil {
		cancel()
		return "", nil, fmt.Errorf("redis-server (Debian package redis-server): %w", err)
	}
	stop = func() { cancel(); _ = cmd.Wait() }
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "Ready to accept connections") {
			go drainLines(lines) // until it ends
			return addr, stop, nil
		}
	}
	stop()
	return "", nil, errors.New("redis-server ended before it served")
}

func drainLines(lines *bufio.Scanner) {
	for lines.Scan() {
	}
}
