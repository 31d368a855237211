package benchcmd

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/bench"
	"github.com/bidseal/bidseal/internal/httpapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
	"github.com/bidseal/bidseal/relay/redisstore"
	"github.com/bidseal/bidseal/relay/sqlstore"
	"github.com/bidseal/bidseal/trust"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// relayServerOptions are the measured relay's flags.
type relayServerOptions struct {
	dir    string
	memory bool          // challenges stand in memory, not in the database
	redis  string        // address of a Redis for the challenges
	ping   time.Duration // between pings of one connection
}

func newBenchRelayServerCommand() *cobra.Command {
	var o relayServerOptions
	cmd := &cobra.Command{
		Use: "relay-server", Short: "The measured relay, started by bench relay", Hidden: true,
		Example: `  echo '{"do":"usage"}' | bidseal-bench relay-server --dir /tmp/bench`, Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.dir == "" {
				return cli.Usagef("--dir is needed")
			}
			if _, err := bench.RaiseFiles(); err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			g, ctx := errgroup.WithContext(ctx)
			s := &benchRelay{o: o, log: cli.NewLogger(cmd, slog.LevelError)}
			err := bench.Serve(cmd.InOrStdin(), cmd.OutOrStdout(), func(order bench.Order) (bench.Answer, error) { return s.do(ctx, g, order) }, bench.Failed)
			cancel()
			return errors.Join(err, s.common.End(), g.Wait(), s.close())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "dir", "", "folder for its data")
	f.BoolVar(&o.memory, "memory", false, "keep challenges in memory")
	f.StringVar(&o.redis, "redis", "", "keep challenges in the Redis at this address")
	f.DurationVar(&o.ping, "ping", 25*time.Second, "ping interval")
	return cmd
}

// benchRelay is one relay under measurement.
type benchRelay struct {
	o      relayServerOptions
	log    *slog.Logger
	common bench.Common
	node   *relay.Relay
	sql    *sqlstore.Store
	memory *memoryStore
	redis  *redisstore.Store
	bus    relay.Bus
	list   []relay.Challenge // by number, where this node publishes through Redis
}

// benchTrust is what the driver's keys are known by; it travels in the order "start".
type benchTrust struct {
	Root    []byte `json:"root"`     // DER
	PassKey []byte `json:"pass_key"` // SubjectPublicKeyInfo
}

const benchPlatform = "bench"

func (s *benchRelay) close() error {
	var err error
	if s.redis != nil {
		err = s.redis.Close()
	}
	if s.sql != nil {
		err = errors.Join(err, s.sql.Close())
	}
	return err
}

func (s *benchRelay) do(ctx context.Context, g *errgroup.Group, o bench.Order) (bench.Answer, error) {
	if a, known, err := s.common.Do(o); known {
		return a, err
	}
	switch o.Do {
	case "start":
		return s.start(ctx, g, o.Data)
	case "prepare":
		return bench.Answer{}, s.prepare(ctx, o.Count)
	case "claimed":
		return bench.Answer{}, s.claimed(ctx, o.Count, string(o.Data))
	case "publish":
		return s.publish(ctx, o)
	}
	return bench.Answer{}, fmt.Errorf("no such order: %q", o.Do)
}

func (s *benchRelay) start(ctx context.Context, g *errgroup.Group, data []byte) (bench.Answer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return bench.Answer{}, fmt.Errorf("listen: %w", err)
	}
	config := relay.Config{Origin: "http://" + l.Addr().String(), Clock: time.Now, Logger: s.log,
		Limits: relay.Limits{PingEvery: s.o.ping, CallsPerDevice: 1 << 30, OpenPerPlatform: 1 << 30}}
	if err := s.trusted(&config, data); err != nil {
		return bench.Answer{}, err
	}
	if err := s.open(ctx, &config); err != nil {
		return bench.Answer{}, err
	}
	if s.node, err = relay.New(ctx, config); err != nil {
		return bench.Answer{}, err
	}
	g.Go(func() error { return s.node.Run(ctx) })
	plain := plainHandler()
	cli.ServeUntil(ctx, g, l, nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, plainPrefix) {
			plain.ServeHTTP(w, r)
			return
		}
		s.node.Handler().ServeHTTP(w, r)
	}), s.log, s.node.Drain)
	return bench.Answer{Addr: l.Addr().String()}, nil
}

func (s *benchRelay) trusted(config *relay.Config, data []byte) error {
	var t benchTrust
	if err := json.Unmarshal(data, &t); err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	root, err := trust.ParseCertificate(t.Root)
	if err != nil {
		return err
	}
	if config.Anchors, err = trust.NewStore(trust.DocumentationAuthority(root)); err != nil {
		return err
	}
	key, err := protocol.ParseKey(t.PassKey)
	if err != nil {
		return err
	}
	config.PassKeys = []crypto.PublicKey{key}
	config.LedgerKey, err = newBenchKey()
	return err
}

// open opens the database and what stands in for it.
func (s *benchRelay) open(ctx context.Context, config *relay.Config) error {
	var err error
	if s.sql, err = sqlstore.Open(ctx, filepath.Join(s.o.dir, "relay.db"), time.Now); err != nil {
		return err
	}
	s.bus = relay.NewLocalBus()
	*config = config.WithStore(s.sql)
	config.Outcomes, config.Directory = s.sql, s.sql
	switch {
	case s.o.memory:
		s.memory = newMemoryStore(s.sql)
		*config = config.WithStore(s.memory)
		config.Outcomes = s.memory
	case s.o.redis != "":
		if s.redis, err = redisstore.Open(redisstore.Config{Addresses: []string{s.o.redis}, Logger: s.log}); err != nil {
			return err
		}
		if s.bus, err = s.redis.Bus(); err != nil {
			return err
		}
		*config = config.WithStore(s.redis)
	}
	config.Bus = s.bus
	return nil
}

// benchTerms let a challenge wait longer than any run.
func benchTerms() protocol.Terms {
	const day = 24 * 3600 * 1000
	return protocol.Terms{Kind: protocol.KindLogin, Pending: day, Claim: day, Ready: day, Keep: day}
}

// benchWatch names a waiting page by its number: both sides compute it.
func benchWatch(i int) protocol.WatchBody {
	var b protocol.WatchBody
	digest := protocol.H(fmt.Appendf(nil, "bench challenge %d", i))
	copy(b.CID[:], digest)
	b.Watch = digest[len(b.CID):][:protocol.WatchSize]
	return b
}

// benchClaimKey is what a phone claims challenge i with.
func benchClaimKey(i int) []byte { return protocol.H(fmt.Appendf(nil, "bench claim %d", i)) }

func benchChallenge(i int) relay.Challenge {
	w, now := benchWatch(i), time.Now().UnixMilli()
	return relay.Challenge{CID: w.CID, Platform: benchPlatform, CreateDigest: protocol.H(w.CID[:]), HClaim: protocol.H(benchClaimKey(i)), HWatch: protocol.H(w.Watch),
		Terms: benchTerms(), CreatedAt: now, ChangedAt: now, Progress: protocol.Begin(benchTerms(), now)}
}

// prepare makes count challenges, where they do not exist yet.
func (s *benchRelay) prepare(ctx context.Context, count int) error {
	var store relay.Store = s.sql
	switch {
	case s.memory != nil:
		store = s.memory
	case s.redis != nil:
		store = s.redis
	}
	s.list = make([]relay.Challenge, count)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(256) // they share commits
	for i := range count {
		g.Go(func() error {
			var err error
			if s.list[i], _, err = store.Create(ctx, benchChallenge(i), make([]byte, 600), 1<<30); err != nil {
				return err
			}
			_, err = store.Get(ctx, s.list[i].CID) // the database's cache is bounded and belongs to no connection
			return err
		})
	}
	err := g.Wait()
	if s.redis == nil {
		s.list = nil
	}
	return err
}

// publish answers where triggers are taken. Each moves a challenge, and who waits
// for it is told as after any transition.
func (s *benchRelay) publish(ctx context.Context, o bench.Order) (bench.Answer, error) {
	if s.redis == nil {
		cids := make([]protocol.CID, o.Topics)
		for i := range cids {
			cids[i] = benchWatch(i).CID
		}
		addr, err := bench.Triggers(func(i int) error {
			c, err := s.memory.touch(cids[i%o.Topics])
			if err == nil {
				s.node.Announce(ctx, c)
			}
			return err
		}, func() error { return nil })
		return bench.Answer{Addr: addr}, err
	}
	var calls errgroup.Group
	turns := make([]sync.Mutex, o.Topics)
	addr, err := bench.Triggers(func(i int) error {
		calls.Go(func() error { // the script's round trip
			turns[i%o.Topics].Lock()
			defer turns[i%o.Topics].Unlock()
			c := &s.list[i%o.Topics]
			moved, err := s.redis.Swap(ctx, c.Rev, *c)
			if err == nil {
				*c = moved
			}
			return err
		})
		return nil
	}, calls.Wait)
	return bench.Answer{Addr: addr}, err
}

// claimed makes count challenges that a device holds.
func (s *benchRelay) claimed(ctx context.Context, count int, device string) error {
	var store relay.Store = s.sql
	if s.memory != nil {
		store = s.memory
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(256)
	for i := range count {
		g.Go(func() error {
			c, _, err := store.Create(ctx, benchChallenge(i), make([]byte, 600), 1<<30)
			if err != nil {
				return err
			}
			if c.Progress, err = c.Progress.Claim(c.Terms, c.ChangedAt, device, c.CID[:], nil); err != nil {
				return err
			}
			_, err = store.Swap(ctx, c.Rev, c)
			return err
		})
	}
	return g.Wait()
}

// drainBody reads a body to its end, so that its connection serves the next call.
func drainBody(body io.ReadCloser) error {
	_, err := io.Copy(io.Discard, io.LimitReader(body, httpapi.MaxResponse))
	return errors.Join(err, body.Close())
}
