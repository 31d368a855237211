package main

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/bidseal/bidseal/internal/bench"
)

// What a completion costs.

const (
	figRaw      = "raw SM2 verification"
	figPlain    = "handler without cryptography"
	figCached   = "completion, certificate cached"
	figUncached = "completion, certificate not cached"
	figDurable  = "completion, certificate cached, durable in SQLite"
)

// completionsASecond sizes a round by --seconds.
const completionsASecond = 400

// workers send completions at a time.
const workers = 8

func (b *relayBench) completion(ctx context.Context) error {
	count := completionsASecond * b.o.seconds
	s := newSampler("Completion", fmt.Sprintf(`CPU of the server process per call, %d calls over %d kept connections. The completion is a phone's POST of a result: it verifies the
device's proof and the receipt (two SM2 verifications), hashes the box, decides, appends to the ledger and signs the promise (one SM2
signature). The handler without cryptography binds the same JSON with gin and answers as many bytes. State stands in memory, but for
the last line.`, count, workers))
	device, err := b.keys.deviceID()
	if err != nil {
		return err
	}
	for range b.o.third() {
		raw, err := rawVerify()
		if err != nil {
			return err
		}
		s.add(sysOurs, figRaw, unitMicro, raw)
		for _, kind := range []struct {
			figure string
			how    setup
			path   string
			fresh  bool // each call with a certificate of its own
		}{
			{figPlain, setup{memory: true, ping: pushPing}, plainPrefix, false},
			{figCached, setup{memory: true, ping: pushPing}, "", false},
			{figUncached, setup{memory: true, ping: pushPing}, "", true},
			{figDurable, setup{fresh: true, ping: pushPing}, "", false},
		} {
			err := b.with(ctx, sysOurs, kind.how, func(session *session) error {
				if _, err := session.Order(bench.Order{Do: "claimed", Count: count, Data: []byte(device)}); err != nil {
					return err
				}
				calls, err := b.completions(ctx, session.addr, kind.path, count, kind.fresh, device)
				if err != nil {
					return err
				}
				return b.profiling(session, kind.figure, func() error {
					cost, err := b.cost(session, calls)
					s.add(sysOurs, kind.figure, unitMicro, cost)
					return err
				})
			})
			if err != nil {
				return err
			}
		}
	}
	b.report.Tables = append(b.report.Tables, s.table([]string{sysOurs}))
	return nil
}

// completions prepares all calls, so that the load only sends.
func (b *relayBench) completions(ctx context.Context, addr, path string, count int, fresh bool, device string) ([]*http.Request, error) {
	calls := make([]*http.Request, count)
	chain := b.keys.phone.chain
	for i := range calls {
		url := "http://" + addr + path + benchWatch(i).CID.String()
		if path == "" {
			url = "http://" + addr + "/v1/challenges/" + benchWatch(i).CID.String() + "/result"
		}
		if fresh {
			var err error
			if chain, err = b.keys.issue(int64(i) + 2); err != nil {
				return nil, err
			}
		}
		var err error
		if calls[i], err = b.keys.completion(ctx, url, i, chain, device); err != nil {
			return nil, err
		}
	}
	return calls, nil
}

// cost sends all calls and answers the server's CPU time per call, in microseconds.
func (b *relayBench) cost(s *session, calls []*http.Request) (float64, error) {
	before, err := s.Order(bench.Order{Do: "collect"})
	if err != nil {
		return 0, err
	}
	var next atomic.Int64
	var g group
	for range workers {
		g.run(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(calls) {
					return nil
				}
				if err := send(b.client, calls[i]); err != nil {
					return err
				}
			}
		})
	}
	if err := g.wait(); err != nil {
		return 0, err
	}
	after, err := s.Order(bench.Order{Do: "usage"})
	if err != nil {
		return 0, err
	}
	return float64((after.CPU - before.CPU).Nanoseconds()) / 1000 / float64(len(calls)), nil
}
