package sdktest

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"sync"
	"time"

	"github.com/bidseal/bidseal/internal/httpapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/gorilla/websocket"
)

// Relay is a relay in memory for one platform. Its hooks make it hostile; set
// them before the traffic they are for.
type Relay struct {
	clock    *Clock
	platform string
	apiKey   crypto.PublicKey
	ledger   *ecdsa.PrivateKey
	issuer   *ecdsa.PrivateKey // of device passes
	api      *httpapi.API
	server   *httptest.Server

	mu         sync.Mutex
	store      string
	rev        int64
	challenges map[protocol.CID]*challenge
	entries    int
	head       []byte
	changed    chan struct{} // closed and replaced at every change
	sockets    map[*websocket.Conn]bool
	calls      map[string]int
	hello      protocol.FeedHello
	noSockets  bool
	down       bool
	onClaim    func(*protocol.ClaimAnswer)
	onState    func(*protocol.ChallengeState)
}

// challenge is what the relay keeps of one.
type challenge struct {
	raw      []byte // the PUT's body
	body     protocol.CreateBody
	progress protocol.Progress
	rev      int64
	open     *protocol.KEMBox
	ready    *protocol.ReadyBody
	result   *protocol.StoredResult
	receipt  *protocol.SignedReceipt
	promise  *protocol.Promise
}

func newRelay(clock *Clock, platform string, apiKey crypto.PublicKey) (*Relay, error) {
	r := &Relay{clock: clock, platform: platform, apiKey: apiKey, api: httpapi.New(slog.New(slog.DiscardHandler)), challenges: make(map[protocol.CID]*challenge),
		head: make([]byte, protocol.HashSize), changed: make(chan struct{}), sockets: make(map[*websocket.Conn]bool), calls: make(map[string]int)}
	var err error
	if r.ledger, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("draw ledger key: %w", err)
	}
	if r.issuer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("draw issuer key: %w", err)
	}
	if err := r.newStore(); err != nil {
		return nil, err
	}
	r.server = httptest.NewServer(r.handler())
	return r, nil
}

func (r *Relay) close() {
	r.Disconnect()
	r.server.Close()
}

func (r *Relay) newStore() error {
	id, err := protocol.Random(8)
	r.store = hex.EncodeToString(id)
	return err
}

// URL is the relay's origin.
func (r *Relay) URL() string { return r.server.URL }

// LedgerKey is the key of its promises.
func (r *Relay) LedgerKey() crypto.PublicKey { return r.ledger.Public() }

// OnClaim sets what happens to the answer to a claim before a phone gets it.
func (r *Relay) OnClaim(f func(*protocol.ClaimAnswer)) { r.set(func() { r.onClaim = f }) }

// OnState sets what happens to a state before the platform gets it.
func (r *Relay) OnState(f func(*protocol.ChallengeState)) { r.set(func() { r.onState = f }) }

// RefuseSockets takes the WebSocket away, or gives it back.
func (r *Relay) RefuseSockets(refuse bool) { r.set(func() { r.noSockets = refuse }) }

// SetDown answers every call with "unavailable", or serves again.
func (r *Relay) SetDown(down bool) { r.set(func() { r.down = down }) }

func (r *Relay) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// Disconnect ends every WebSocket as a relay does that restarts.
func (r *Relay) Disconnect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ws := range r.sockets {
		_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseServiceRestart, "retry_ms=1"), time.Now().Add(time.Second))
		ws.Close()
	}
}

// Forget loses every challenge, as a relay does whose store was emptied.
func (r *Relay) Forget() error {
	r.mu.Lock()
	r.challenges = make(map[protocol.CID]*challenge)
	err := r.newStore()
	r.mu.Unlock()
	r.Disconnect()
	return err
}

// Calls counts the calls of an action: create, read, ready, fail, cancel, ack,
// claim, open, result, reject.
func (r *Relay) Calls(action string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls[action]
}

// LastHello is the cursor with which the newest feed began.
func (r *Relay) LastHello() protocol.FeedHello {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hello
}

// LedgerEntries counts the ends that the ledger holds.
func (r *Relay) LedgerEntries() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.entries
}

// State is the public state of a challenge, as it is and not as a hook says.
func (r *Relay) State(cid protocol.CID) (protocol.ChallengeState, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, found := r.challenges[cid]
	if !found {
		return protocol.ChallengeState{}, false
	}
	return r.view(cid, c), true
}

// Await waits until a challenge stands as fits says, or ctx ends.
func (r *Relay) Await(ctx context.Context, cid protocol.CID, fits func(protocol.ChallengeState) bool) error {
	for {
		r.mu.Lock()
		c, changed := r.challenges[cid], r.changed
		done := c != nil && fits(r.view(cid, c))
		r.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// BoxR is the sealed request of a challenge, as phones get it.
func (r *Relay) BoxR(cid protocol.CID) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.challenges[cid]; c != nil {
		return c.body.BoxR
	}
	return nil
}

// Touch tells the platform of a challenge again, as if something had changed.
func (r *Relay) Touch(cid protocol.CID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.challenges[cid]
	if c == nil {
		return protocol.Errorf(protocol.CodeNotFound, "no such challenge")
	}
	r.moved(c, c.progress)
	return nil
}

// Sweep expires what is due.
func (r *Relay) Sweep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.challenges {
		if next, changed := c.progress.Expire(r.now()); changed {
			r.moved(c, next)
		}
	}
}

func (r *Relay) now() int64 { return r.clock.Now().UnixMilli() }

// moved stores a transition and wakes everybody. The caller holds mu.
func (r *Relay) moved(c *challenge, next protocol.Progress) {
	r.rev = max(r.rev+1, r.clock.Now().UnixMicro())
	c.progress, c.rev = next, r.rev
	close(r.changed)
	r.changed = make(chan struct{})
}

// promise enters a receipt into the ledger. The caller holds mu.
func (r *Relay) enter(receipt []byte) (*protocol.Promise, error) {
	salt, err := protocol.Random(32)
	if err != nil {
		return nil, err
	}
	p := &protocol.Promise{Index: uint64(r.entries), Salt: salt, Entry: protocol.LedgerEntry(receipt, salt)}
	p.Head = protocol.LedgerHead(r.head, p.Index, p.Entry)
	if p.Signature, err = protocol.Sign(r.ledger, protocol.PromiseMessage(p)); err != nil {
		return nil, err
	}
	r.entries, r.head = r.entries+1, p.Head
	return p, nil
}

// view is the public state. The caller holds mu.
func (r *Relay) view(cid protocol.CID, c *challenge) protocol.ChallengeState {
	p := c.progress
	st := protocol.ChallengeState{
		CID: cid, Kind: c.body.Kind, State: p.State, Rev: c.rev, Code: string(p.Code), ClaimSeq: p.ClaimSeq, Frame: p.Frame,
		Device: p.Device, SecondScans: p.SecondScans, Open: c.open, Ready: c.ready, Result: c.result, Receipt: c.receipt, Promise: c.promise,
		PendingUntil: p.PendingUntil, ClaimUntil: p.ClaimUntil, ReadyUntil: p.ReadyUntil, KeepUntil: p.KeepUntil, Now: r.now(),
	}
	if p.ClaimedAt != 0 {
		st.AgeMS = st.Now - p.ClaimedAt
	}
	return st
}

// told is the view as the platform gets it: through the hook, on a copy. The
// caller holds mu.
func (r *Relay) told(cid protocol.CID, c *challenge) protocol.ChallengeState {
	st := r.view(cid, c)
	if r.onState == nil {
		return st
	}
	if st.Result != nil {
		result := *st.Result
		st.Result = &result
	}
	if st.Promise != nil {
		promise := *st.Promise
		st.Promise = &promise
	}
	r.onState(&st)
	return st
}

// page is the feed beyond a cursor. The caller holds mu.
func (r *Relay) page(store string, after int64) protocol.FeedPage {
	if store != r.store {
		after = 0
	}
	page := protocol.FeedPage{Store: r.store, Next: after}
	for cid, c := range r.challenges {
		if c.rev > after {
			page.Events = append(page.Events, r.told(cid, c))
		}
	}
	slices.SortFunc(page.Events, func(a, b protocol.ChallengeState) int { return cmp.Compare(a.Rev, b.Rev) })
	if n := len(page.Events); n > protocol.MaxFeedPage {
		page.Events, page.More = page.Events[:protocol.MaxFeedPage], true
	}
	if n := len(page.Events); n > 0 {
		page.Next = page.Events[n-1].Rev
	}
	return page
}
