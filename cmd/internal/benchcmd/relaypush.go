package benchcmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/internal/bench"
)

// What a push costs and how long it takes.

const (
	figP50     = "due to received, p50"
	figP99     = "due to received, p99"
	figMessage = "CPU per message, server"
	figSource  = "CPU per message, publishing node"
	figMax     = "highest rate without loss, p99 below 100 ms"
	figClaim50 = "claim due to page told, p50"
	figClaim99 = "claim due to page told, p99"
	figClaim   = "CPU per claim and push, server"
	unitRate   = "1/s"
)

// pushPing is the ping interval wherever messages are timed.
const pushPing = 25 * time.Second

// patience is how long a message may take before it is lost.
const patience = 5 * time.Second

// framePadding makes the peer's payload as long as a page's state.
const framePadding = `,"cid":"AAAAAAAAAAAAAAAAAAAAAA","state":"pending","until":1700000000000,"now":1700000000000}`

func benchLoop(rate float64, seconds float64, topics int) openLoopOrder {
	return openLoopOrder{rate: rate, count: max(1, int(rate*seconds)), topics: topics}
}

func (b *relayBench) push(ctx context.Context) error {
	s := newSampler(tabPush, fmt.Sprintf(`%.0f messages a second in an open loop for %d s to %d waiters in turn, a latency counting from when a message was due.
The load tells the server's process over four connections when a message is due. The relay then stores a new revision of a challenge
in memory and announces it as after any transition: state encoded, pages told, bus and hub. The peer calls Node.Publish with a payload
of the same length. CPU is user and system time of the server's process, reading the trigger and pings every %s included.`, b.o.rate, b.o.seconds, b.o.connections, pushPing))
	order := benchLoop(b.o.rate, float64(b.o.seconds), b.o.connections)
	err := b.rounds(ctx, b.o.pairs, setup{ping: pushPing, memory: true}, func(name string, session *session) error {
		if err := b.crowded(ctx, name, session, b.o.connections); err != nil {
			return err
		}
		return b.profiling(session, "push-"+name, func() error {
			p, err := session.crowd.push(ctx, by(session.Process), session.Process, order, patience)
			if err = errors.Join(err, p.whole()); err != nil {
				return err
			}
			s.add(name, figP50, unitMilli, p.latency.ms(50))
			s.add(name, figP99, unitMilli, p.latency.ms(99))
			s.add(name, figMessage, unitMicro, p.perMessage())
			return nil
		})
	})
	if err == nil {
		err = b.claims(ctx, s)
	}
	b.report.Tables = append(b.report.Tables, s.table(b.sys.names()))
	return err
}

// crowded has n waiters wait, and collects what connecting left behind.
func (b *relayBench) crowded(ctx context.Context, name string, s *session, n int) error {
	if err := s.prepare(name, n); err != nil {
		return err
	}
	if err := s.crowd.grow(ctx, 0, n); err != nil {
		return err
	}
	_, err := s.Order(bench.Order{Do: "collect"})
	return err
}

// claimRate is far below what durable commits allow.
const claimRate = 100

// claims is the whole way: a phone's claim over HTTP, with pass and proof, its
// durable commit in SQLite, and the push to the page.
func (b *relayBench) claims(ctx context.Context, s *sampler) error {
	order := benchLoop(claimRate, float64(b.o.seconds), b.o.connections)
	order.topics = min(order.count, b.o.connections)
	order.count = order.topics // a challenge is claimed once
	for range b.o.third() {
		err := b.with(ctx, sysOurs, setup{ping: pushPing, fresh: true}, func(session *session) error {
			if err := b.crowded(ctx, sysOurs, session, order.topics); err != nil {
				return err
			}
			p, err := session.crowd.push(ctx, b.keys.claims(b.client, session.addr), session.Process, order, patience)
			if err = errors.Join(err, p.whole()); err != nil {
				return err
			}
			s.add(sysOurs, figClaim50, unitMilli, p.latency.ms(50))
			s.add(sysOurs, figClaim99, unitMilli, p.latency.ms(99))
			s.add(sysOurs, figClaim, unitMicro, p.perMessage())
			return nil
		})
		if err != nil {
			return fmt.Errorf("claims: %w", err)
		}
	}
	return nil
}

// Saturation: a rate is sustained where nothing is lost and p99 stays below this.
const sustainedP99 = 100 // ms

// saturationStep is by how much the rate grows, from saturationFrom times the
// rate of the push part to at most saturationTo times.
const (
	saturationStep = 1.5
	saturationFrom = 2
	saturationTo   = 60
)

func (b *relayBench) saturation(ctx context.Context) error {
	s := newSampler(tabSaturation, fmt.Sprintf(`The rate grows by half until a message is lost or the p99 reaches %d ms. Load and server share the machine, so this is a
comparison under equal conditions and no rate of either alone.`, sustainedP99))
	err := b.rounds(ctx, b.o.third(), setup{ping: pushPing, memory: true}, func(name string, session *session) error {
		if err := b.crowded(ctx, name, session, b.o.connections); err != nil {
			return err
		}
		best := 0.0
		for rate := saturationFrom * b.o.rate; rate < saturationTo*b.o.rate; rate *= saturationStep {
			p, err := session.crowd.push(ctx, by(session.Process), session.Process, benchLoop(rate, 1, b.o.connections), patience)
			if err != nil {
				return err
			}
			if p.whole() != nil || p.latency.ms(99) >= sustainedP99 {
				break
			}
			best = rate
		}
		s.add(name, figMax, unitRate, best)
		return nil
	})
	b.report.Tables = append(b.report.Tables, s.table(b.sys.names()))
	return err
}
