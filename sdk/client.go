package bidseal

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/gorilla/websocket"
)

// Client is a platform's connection to the relay. It is safe for concurrent
// use.
type Client struct {
	config Config
	own    *trust.Verified  // the platform's chain up to its anchor
	chain  []protocol.Bytes // of the platform, without the anchor, as it goes into requests
	keyID  []byte           // KeyID of the request key
	vault  *vault
	relay  *relayClient
	status *statusCache
	stamps *stamper
	dialer *websocket.Dialer
	hub    hub
	node   string // names this client in leases
}

// New checks the configuration and makes a client. It opens no connection.
func New(config Config) (*Client, error) {
	config, own, err := config.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("bidseal configuration: %w", err)
	}
	v, err := newVault(config.Store, config.StoreKey)
	if err != nil {
		return nil, err
	}
	node, err := protocol.Random(8)
	if err != nil {
		return nil, err
	}
	spki, err := protocol.MarshalKey(config.RequestKey.Public())
	if err != nil {
		return nil, err
	}
	c := &Client{
		config: config, own: own, keyID: protocol.KeyID(spki), vault: v, node: hex.EncodeToString(node),
		relay:  &relayClient{origin: config.Relay, key: config.APIKey, keyID: config.APIKeyID, http: config.HTTP},
		status: newStatusCache(config.OCSP, config.Clock),
		stamps: &stamper{source: config.TSA, anchors: config.Anchors, clock: config.Clock},
		dialer: newDialer(config.HTTP),
	}
	for _, cert := range own.Chain[:len(own.Chain)-1] {
		c.chain = append(c.chain, cert.Raw)
	}
	return c, nil
}

// Run follows the relay's feed, answers phones and verifies results until ctx
// ends; it then returns nil. Several processes may run on one Store.
func (c *Client) Run(ctx context.Context) error {
	var loops sync.WaitGroup
	f := newFeed(c)
	loops.Go(func() { c.sweep(ctx, f) })
	f.run(ctx)
	loops.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shortCall)
	defer cancel()
	c.logSweep(last, "save the feed's cursor", f.save(last))
	return nil
}

// Login makes a login challenge and registers it at the relay. Run must be
// running for it to come to an end. Until ctx ends the challenge is followed
// and its code renewed.
func (c *Client) Login(ctx context.Context, options LoginOptions) (*Challenge, error) {
	s, _, err := c.start(ctx, options.terms(), nil)
	if err != nil {
		return nil, err
	}
	return c.Challenge(ctx, s.v.ID)
}

// Challenge takes up a challenge that Login made, also in another process, and
// follows it until ctx ends. Errors: ErrNotFound.
func (c *Client) Challenge(ctx context.Context, id string) (*Challenge, error) {
	if !hexID(id) {
		return nil, ErrNotFound
	}
	ch := &Challenge{client: c, id: id, events: make(chan Event, 1)}
	changes, stop := c.hub.subscribe(id)
	if _, err := ch.refresh(ctx); err != nil {
		stop()
		return nil, err
	}
	go func() {
		defer stop()
		ch.follow(ctx, changes)
	}()
	return ch, nil
}

// SecurePage sets the headers of a page that shows the waiting element: a
// content security policy that forbids framing and allows the relay's watch
// connection, X-Frame-Options, X-Content-Type-Options and Referrer-Policy. A
// page that needs more sets Content-Security-Policy afterwards itself.
func (c *Client) SecurePage(h http.Header) {
	socket := "ws" + strings.TrimPrefix(c.config.Relay, "http")
	h.Set("Content-Security-Policy", "default-src 'self'; connect-src 'self' "+c.config.Relay+" "+socket+
		"; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
}

// log writes what went wrong with a challenge, without its contents.
func (c *Client) log(ctx context.Context, message string, cid protocol.CID, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	c.config.Logger.LogAttrs(ctx, slog.LevelWarn, message,
		slog.String("cid", cid.String()), slog.String("code", string(protocol.CodeOf(err))), slog.Any("error", err))
}

// pause waits for d or until ctx ends, and reports whether to go on.
func (c *Client) pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-c.config.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// hub wakes those who wait for a change of a session.
type hub struct {
	mu      sync.Mutex
	waiting map[string]map[chan struct{}]bool
}

// subscribe gives a channel that holds a token after each change.
func (h *hub) subscribe(session string) (<-chan struct{}, func()) {
	changed := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting == nil {
		h.waiting = make(map[string]map[chan struct{}]bool)
	}
	if h.waiting[session] == nil {
		h.waiting[session] = make(map[chan struct{}]bool)
	}
	h.waiting[session][changed] = true
	return changed, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.waiting[session], changed)
		if len(h.waiting[session]) == 0 {
			delete(h.waiting, session)
		}
	}
}

func (h *hub) notify(session string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	wake(h.waiting[session])
}

func (h *hub) notifyAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, waiting := range h.waiting {
		wake(waiting)
	}
}

func wake(waiting map[chan struct{}]bool) {
	for changed := range waiting {
		select {
		case changed <- struct{}{}:
		default: // a token is there already
		}
	}
}

// hexID accepts the 32 lower-case hex digits of a session's id.
func hexID(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}

// isGone reports whether the relay does not know the challenge.
func isGone(err error) bool { return errors.Is(err, &Error{Code: protocol.CodeNotFound}) }
