package relay

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bidseal/bidseal/internal/callsig"
	"github.com/bidseal/bidseal/internal/httpapi"
	"github.com/bidseal/bidseal/internal/httpapi/limit"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay/wire"
	"github.com/bidseal/bidseal/trust"
)

// Config is what a relay is made of. Everything but Limits, Origins and Logger
// is required. One backend may be several of State, Nonces, Counters, Outcomes and
// Directory.
type Config struct {
	Origin    string             // scheme://host[:port] under which callers know the relay
	Anchors   *trust.Store       // roots of the users' certificates
	PassKeys  []crypto.PublicKey // issuers of device passes
	LedgerKey crypto.Signer      // signs promises and the relay's own receipts
	State     State
	Nonces    Nonces
	Counters  Counters
	Outcomes  Outcomes
	Directory Directory
	Bus       Bus
	Clock     func() time.Time
	Logger    *slog.Logger
	Origins   []string // web origins whose pages may watch any platform's challenges
	Limits    Limits
	// PublicMetrics serves /metrics on Handler, too; AdminHandler always does.
	PublicMetrics bool
}

// WithStore returns the configuration with s as State, Nonces and Counters.
func (c Config) WithStore(s Store) Config {
	c.State, c.Nonces, c.Counters = s, s, s
	return c
}

// Relay carries challenges between platforms and phones. It is safe for
// concurrent use; several nodes may share its backends.
type Relay struct {
	cfg       Config
	authority string // "@authority" of the origin
	ledgerKey []byte // SubjectPublicKeyInfo
	joint     Joint  // nil where end and state are different databases
	sign      PromiseSigner
	storeID   atomic.Pointer[string]
	log       *slog.Logger
	limits    Limits

	hub        *hub
	gate       *gate
	turns      *turns
	certs      *certCache
	passes     *passCache
	platforms  *platformCache
	denied     *lookup[string, bool]
	origins    *lookup[struct{}, []string]
	rates      *limit.Limiter[string]
	metrics    *metrics
	api        *httpapi.API
	wire       wire.Limits
	wheel      *wire.Wheel
	handshakes handshakes
	pages      *dispatcher
	handler    http.Handler
	admin      http.Handler

	detach   func()
	stop     chan struct{} // closed by Drain: long-polls end, connections close
	stopOnce sync.Once
	draining atomic.Bool
	inflight sync.WaitGroup // goroutines beyond HTTP handlers
}

// New checks the configuration and connects the relay to its bus. Run has to be
// called for challenges to expire.
func New(ctx context.Context, cfg Config) (*Relay, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Logger = httpapi.Logger(cfg.Logger)
	if cfg.Anchors == nil || cfg.LedgerKey == nil || cfg.State == nil || cfg.Nonces == nil || cfg.Counters == nil || cfg.Outcomes == nil || cfg.Directory == nil ||
		cfg.Bus == nil || cfg.Clock == nil || len(cfg.PassKeys) == 0 {
		return nil, errors.New("relay: anchors, pass keys, ledger key, state, nonces, counters, outcomes, directory, bus and clock are required")
	}
	if !protocol.IsOrigin(cfg.Origin) {
		return nil, fmt.Errorf("relay: origin %q, want scheme://host[:port]", cfg.Origin)
	}
	for _, origin := range cfg.Origins {
		if !protocol.IsOrigin(origin) {
			return nil, fmt.Errorf("relay: allowed origin %q, want scheme://host[:port]", origin)
		}
	}
	cfg.Limits = cfg.Limits.withDefaults()
	if err := cfg.Limits.check(); err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	return build(ctx, cfg)
}

func build(ctx context.Context, cfg Config) (*Relay, error) {
	authority, err := callsig.Authority(cfg.Origin)
	if err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	key, err := protocol.MarshalKey(cfg.LedgerKey.Public())
	if err != nil {
		return nil, fmt.Errorf("relay: ledger key: %w", err)
	}
	for _, k := range cfg.PassKeys {
		if _, err := protocol.AlgOf(k); err != nil {
			return nil, fmt.Errorf("relay: pass key: %w", err)
		}
	}
	id, err := cfg.State.ID(ctx)
	if err != nil {
		return nil, fmt.Errorf("relay: read store id: %w", err)
	}
	l := cfg.Limits
	rates, err := limit.New[string](float64(l.CallsPerDevice)/l.RateWindow.Seconds(), l.CallsPerDevice, l.CachedCerts, cfg.Clock)
	if err != nil {
		return nil, fmt.Errorf("relay: calls per device: %w", err)
	}
	r := &Relay{
		cfg: cfg, authority: authority, ledgerKey: key, sign: SignPromises(cfg.LedgerKey), log: cfg.Logger, limits: l,
		hub: newHub(cfg.Bus), gate: newGate(l.Verifications, l.Queue), turns: newTurns(),
		platforms: newPlatformCache(cfg.Directory, cfg.Clock, l.LookupTTL),
		denied:    newLookup(l.CachedCerts, l.LookupTTL, cfg.Clock, cfg.Directory.Denied),
		origins:   newLookup(1, l.LookupTTL, cfg.Clock, allOrigins(cfg.Directory)),
		rates:     rates,
		wire:      wire.Limits{FirstFrame: l.FirstFrame, Write: l.WriteTimeout},
		wheel:     wire.NewWheel(l.PingEvery), stop: make(chan struct{}),
	}
	r.storeID.Store(&id)
	r.certs, r.passes = newCertCache(cfg.Anchors, l.CachedCerts), newPassCache(l.CachedCerts)
	if j, ok := cfg.State.(Joint); ok && any(cfg.State) == any(cfg.Outcomes) {
		r.joint = j
	}
	r.pages = newDispatcher(r.showPages)
	r.handshakes = newHandshakes()
	r.handler, r.admin = r.routes()
	r.detach = cfg.Bus.Attach(r)
	return r, nil
}

// Handler serves the API of package protocol, health and readiness.
func (r *Relay) Handler() http.Handler { return r.handler }

// AdminHandler serves /metrics, /healthz and /readyz for a listener of their own.
func (r *Relay) AdminHandler() http.Handler { return r.admin }

// Run sweeps and pings until ctx ends, then returns nil. Several nodes may
// sweep one store.
func (r *Relay) Run(ctx context.Context) error {
	sweep := time.NewTicker(r.limits.SweepEvery)
	defer sweep.Stop()
	ping := time.NewTicker(r.wheel.Tick())
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.stop:
			return nil
		case now := <-ping.C:
			r.wheel.Turn(now)
		case <-sweep.C:
			if err := r.Sweep(ctx); err != nil && ctx.Err() == nil {
				r.log.LogAttrs(ctx, slog.LevelError, "sweep", slog.Any("error", err))
			}
		}
	}
}

// Drain ends what does not end by itself: readiness turns false, long-polls are
// answered, WebSockets are closed with a hint when to come back. It returns when
// that is done or ctx ends. The caller then shuts its http.Server down.
func (r *Relay) Drain(ctx context.Context) {
	r.draining.Store(true)
	r.stopOnce.Do(func() { close(r.stop) })
	r.detach()
	r.wheel.CloseAll(ctx)
	done := make(chan struct{})
	go func() {
		r.inflight.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// now is the relay's time in Unix milliseconds.
func (r *Relay) now() int64 { return r.cfg.Clock().UnixMilli() }

// Wake implements Receiver.
func (r *Relay) Wake(w Wake) { r.hub.wake(w) }

// Resync implements Receiver.
func (r *Relay) Resync() { r.hub.resync() }

// Waiting implements Receiver.
func (r *Relay) Waiting(name string) bool {
	t, ok := parseTopic(name)
	return ok && len(r.hub.waiters(t)) > 0
}

// Info is the public description.
func (r *Relay) Info() protocol.RelayInfo {
	return protocol.RelayInfo{Version: protocol.Version, Origin: r.cfg.Origin, LedgerKey: r.ledgerKey, ServerTime: r.now()}
}

// allowedOrigin reports whether a page of origin may watch challenges of p.
func (r *Relay) allowedOrigin(p *platformKey, origin string) bool {
	return slices.Contains(p.Origins, origin) || slices.Contains(r.cfg.Origins, origin)
}
