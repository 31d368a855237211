package benchcmd

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/bidseal/bidseal/internal/bench"
	"github.com/bidseal/bidseal/protocol"
)

// What a completion costs.

const (
	figRaw      = "raw SM2 verification"
	figRawProof = "raw P-256 verification"
	figRawSign  = "raw SM2 signature"
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
	s := newSampler(tabCompletion, fmt.Sprintf(`CPU of the server process per call, %d calls over %d kept connections. The completion is a phone's POST of a result: it verifies the
device's proof (P-256) and the receipt (SM2), hashes the box, decides, appends to the ledger and signs the promise (SM2). The handler without cryptography binds the same JSON with gin and answers as many bytes. State stands in memory, but for
the last line.`, count, workers))
	device, err := b.keys.deviceID()
	if err != nil {
		return err
	}
	for range b.o.third() {
		if err := rawCosts(s); err != nil {
			return err
		}
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

// rawCosts measures each cryptographic operation of a completion alone, by the CPU
// time of this process, which does nothing else meanwhile.
func rawCosts(s *sampler) error {
	const times = 2000
	key, err := newBenchKey()
	if err != nil {
		return err
	}
	device, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	message := make([]byte, 256)
	sig, err := protocol.Sign(key, message)
	if err != nil {
		return err
	}
	proof, err := protocol.Sign(device, message)
	if err != nil {
		return err
	}
	verify := func(key crypto.PublicKey, sig []byte) func() error {
		return func() error {
			if !protocol.Verify(key, message, sig) {
				return errors.New("a good signature was refused")
			}
			return nil
		}
	}
	for _, raw := range []struct {
		figure string
		do     func() error
	}{
		{figRaw, verify(key.Public(), sig)},
		{figRawProof, verify(device.Public(), proof)},
		{figRawSign, func() error {
			_, err := protocol.Sign(key, message)
			return err
		}},
	} {
		before, err := bench.CPU()
		if err != nil {
			return err
		}
		for range times {
			if err := raw.do(); err != nil {
				return err
			}
		}
		after, err := bench.CPU()
		if err != nil {
			return err
		}
		s.add(sysOurs, raw.figure, unitMicro, float64((after-before).Nanoseconds())/1000/times)
	}
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

// cost sends all calls and returns the server's CPU time per call, in microseconds.
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
