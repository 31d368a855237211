package bidseal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/gorilla/websocket"
)

// feed follows the platform's challenges at the relay: through a WebSocket,
// where that is not to be had by long-polls.
type feed struct {
	client  *Client
	workers *workers
	name    string // of the cursor's record

	mu    sync.Mutex
	store string // the relay's store
	read  int64  // cursor of what was read
	saved int64  // cursor in our Store
}

// cursor is what the Store keeps of a feed, so that a restart goes on where
// everything before was done. Nodes share it: what one has done is done.
type cursor struct {
	Store string `json:"store"`
	After int64  `json:"after"`
}

const (
	// cursorLife is how long an unused cursor is kept; without it the feed
	// starts at the beginning, which costs time and changes nothing.
	cursorLife = 30 * 24 * time.Hour
	// pollSpell is how long long-polls stand in before the socket is tried again.
	pollSpell = time.Minute
	// pongTime is how long a silent connection is believed in; the relay pings.
	pongTime = 90 * time.Second
	// maxComeBack is the longest wait that a draining relay may ask for.
	maxComeBack = 30 * time.Second
)

func newFeed(c *Client) *feed {
	return &feed{client: c, workers: newWorkers(c), name: "f/" + fmt.Sprintf("%x", protocol.H([]byte(c.config.Relay))[:16])}
}

// run reads until ctx ends.
func (f *feed) run(ctx context.Context) {
	defer f.workers.wait()
	c := f.client
	for tries := 0; ctx.Err() == nil; {
		if err := f.load(ctx); err != nil {
			c.config.Logger.WarnContext(ctx, "read the feed's cursor", "error", err)
			c.pause(ctx, backoff(tries))
			tries++
			continue
		}
		break
	}
	for tries := 0; ctx.Err() == nil; tries++ {
		before := f.position()
		err := f.socket(ctx)
		if ctx.Err() != nil {
			return
		}
		c.config.Logger.InfoContext(ctx, "feed's connection ended", "error", err)
		if f.position() != before {
			tries = 0
		}
		wait, asked := comeBack(err)
		if !asked {
			wait = backoff(tries)
		}
		if !c.pause(ctx, wait) {
			return
		}
		var refused *handshakeError
		if errors.As(err, &refused) && f.poll(ctx) {
			tries = 0
		}
	}
}

// backoff is how long to wait before another try: full jitter up to 30 s.
func backoff(tries int) time.Duration {
	limit := min(100*time.Millisecond<<min(tries, 10), 30*time.Second)
	raw, err := protocol.Random(4)
	if err != nil {
		return limit
	}
	return time.Millisecond + limit*time.Duration(binary.BigEndian.Uint32(raw)>>1)/(1<<31)
}

// comeBack is when the relay asked to be called again as it closed the feed for
// a restart: close code 1012 with the reason "retry_ms=N".
func comeBack(err error) (time.Duration, bool) {
	var closed *websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != websocket.CloseServiceRestart {
		return 0, false
	}
	ms, err := strconv.Atoi(strings.TrimPrefix(closed.Text, "retry_ms="))
	if err != nil || ms < 0 || ms > int(maxComeBack/time.Millisecond) {
		return 0, false
	}
	return time.Duration(ms) * time.Millisecond, true
}

func (f *feed) position() cursor {
	f.mu.Lock()
	defer f.mu.Unlock()
	return cursor{f.store, f.read}
}

// storedCursor is a cursor as the Store has it.
type storedCursor struct {
	form
	cursor
}

// load takes the cursor out of the Store.
func (f *feed) load(ctx context.Context) error {
	saved, err := get[storedCursor](ctx, f.client.vault, f.name)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.store, f.read, f.saved = saved.v.Store, saved.v.After, saved.v.After
	return nil
}

// save puts the cursor of what is done into the Store, never backwards.
func (f *feed) save(ctx context.Context) error {
	at := f.position()
	if oldest, busy := f.workers.oldest(); busy {
		at.After = min(at.After, oldest-1)
	}
	f.mu.Lock()
	unchanged := at.Store == "" || at.After == f.saved
	f.mu.Unlock()
	if unchanged {
		return nil
	}
	expires := f.client.config.Clock().Add(cursorLife)
	_, err := update(ctx, f.client.vault, f.name, func(s *stored[storedCursor]) (bool, error) {
		if s.v.Store == at.Store && s.v.After >= at.After {
			return false, nil
		}
		s.v.cursor, s.record.Expires = at, expires
		return true, nil
	})
	if errors.Is(err, ErrNotFound) {
		_, err = put(ctx, f.client.vault, f.name, storedCursor{cursor: at}, time.Time{}, expires)
	}
	if err == nil {
		f.mu.Lock()
		f.saved = at.After
		f.mu.Unlock()
	}
	return err
}

// handshakeError says that there is no WebSocket to be had.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return "feed's handshake: " + e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }

// socket reads pages from a WebSocket until it ends.
func (f *feed) socket(ctx context.Context) error {
	ws, err := f.dial(ctx)
	if err != nil {
		return &handshakeError{err}
	}
	stop := context.AfterFunc(ctx, func() { ws.Close() })
	defer stop()
	defer ws.Close()
	ws.SetReadLimit(maxAnswer)
	at := f.position()
	hello, err := protocol.EncodeJSON(protocol.FeedHello{Store: at.Store, After: at.After})
	if err != nil {
		return err
	}
	alive := func() error { return ws.SetReadDeadline(time.Now().Add(pongTime)) }
	ws.SetPingHandler(func(data string) error {
		if err := alive(); err != nil {
			return err
		}
		return ws.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(shortCall))
	})
	if err := errors.Join(alive(), ws.SetWriteDeadline(time.Now().Add(shortCall)), ws.WriteMessage(websocket.TextMessage, hello)); err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	for {
		_, frame, err := ws.ReadMessage()
		if err != nil {
			return fmt.Errorf("feed: %w", err)
		}
		received := f.client.config.Clock()
		var page protocol.FeedPage
		if err := errors.Join(alive(), protocol.DecodeJSON(frame, &page)); err != nil {
			return fmt.Errorf("feed: %w", err)
		}
		if err := f.page(ctx, &page, received); err != nil {
			return err
		}
	}
}

// newDialer connects the way that the HTTP client does. It is made before the
// client is first used, which alters its transport.
func newDialer(client *http.Client) *websocket.Dialer {
	d := &websocket.Dialer{Subprotocols: []string{protocol.FeedSubprotocol}, HandshakeTimeout: shortCall, Proxy: http.ProxyFromEnvironment}
	if t, ok := client.Transport.(*http.Transport); ok {
		d.NetDialContext, d.TLSClientConfig, d.Proxy = t.DialContext, t.TLSClientConfig.Clone(), t.Proxy
	}
	return d
}

// dial opens the WebSocket with a signed upgrade.
func (f *feed) dial(ctx context.Context) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, shortCall)
	defer cancel()
	c := f.client
	req, err := c.relay.request(ctx, http.MethodGet, "/v1/feed/ws", nil)
	if err != nil {
		return nil, err
	}
	header := http.Header{}
	for _, name := range []string{"Signature", "Signature-Input"} {
		header.Set(name, req.Header.Get(name))
	}
	header.Set("Host", req.Host)
	ws, resp, err := c.dialer.DialContext(ctx, "ws"+strings.TrimPrefix(req.URL.String(), "http"), header)
	if resp != nil {
		resp.Body.Close()
	}
	if err != nil {
		return nil, err
	}
	return ws, nil
}

// poll reads pages by long-polls for a spell, and reports whether it got any.
func (f *feed) poll(ctx context.Context) bool {
	c, got := f.client, false
	for end := c.config.Clock().Add(pollSpell); ctx.Err() == nil && c.config.Clock().Before(end); {
		at := f.position()
		page, err := c.relay.feed(ctx, at.Store, at.After, protocol.MaxWait)
		received := c.config.Clock()
		if err == nil {
			err = f.page(ctx, page, received)
		}
		if err != nil {
			c.config.Logger.InfoContext(ctx, "feed by long-poll", "error", err)
			return got
		}
		got = true
	}
	return got
}

// page hands the events on and then moves the cursor: what save finds has been
// handed on, and a page that failed is asked for again.
func (f *feed) page(ctx context.Context, page *protocol.FeedPage, received time.Time) error {
	if page.Store == "" || len(page.Events) > protocol.MaxFeedPage {
		return protocol.Errorf(protocol.CodeMalformed, "a page of the feed without store or too long")
	}
	if f.position().Store != page.Store { // or never seen: what was registered before may be gone
		f.client.config.Logger.InfoContext(ctx, "the relay's store is new to us; open challenges are read again")
		if err := f.client.lookAtAll(ctx); err != nil {
			return err
		}
	}
	for i := range page.Events {
		if err := f.workers.take(ctx, seen{state: &page.Events[i], received: received}); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.store, f.read = page.Store, page.Next
	return nil
}
