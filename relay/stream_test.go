package relay_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
	"github.com/gorilla/websocket"
)

// dial opens a WebSocket with the headers of a signed request, or none.
func (w *world) dial(path, subprotocol string, header http.Header) (*websocket.Conn, *http.Response, error) {
	w.t.Helper()
	d := websocket.Dialer{Subprotocols: []string{subprotocol}, HandshakeTimeout: 10 * time.Second}
	h := header.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Set("Host", strings.TrimPrefix(w.origin, "http://"))
	ws, resp, err := d.DialContext(w.t.Context(), "ws://"+w.server.Listener.Addr().String()+path, h)
	if err == nil {
		w.t.Cleanup(func() { ws.Close() })
		must(w.t, ws.SetReadDeadline(time.Now().Add(20*time.Second))) // a broken relay fails the test instead of hanging it
	}
	return ws, resp, err
}

// subscribe opens a platform's feed.
func (p *platform) subscribe(hello protocol.FeedHello) *websocket.Conn {
	t := p.w.t
	t.Helper()
	ws, _, err := p.w.dial("/v1/feed/ws", protocol.FeedSubprotocol, p.request(http.MethodGet, "/v1/feed/ws", nil).Header)
	must(t, err)
	must(t, ws.WriteMessage(websocket.TextMessage, encode(t, hello)))
	return ws
}

func next[T any](t testing.TB, ws *websocket.Conn) T {
	t.Helper()
	_, raw, err := ws.ReadMessage()
	must(t, err)
	var v T
	must(t, protocol.DecodeJSON(raw, &v))
	return v
}

// until reads feed pages up to the event that is wanted, in order of rev.
func until(t testing.TB, ws *websocket.Conn, cid protocol.CID, state protocol.State) (protocol.ChallengeState, protocol.FeedPage) {
	t.Helper()
	var last int64
	for {
		page := next[protocol.FeedPage](t, ws)
		for _, e := range page.Events {
			if e.Rev <= last {
				t.Fatalf("rev %d after %d", e.Rev, last)
			}
			last = e.Rev
			if e.CID == cid && e.State == state {
				return e, page
			}
		}
	}
}

func closeCode(t testing.TB, ws *websocket.Conn) (int, string) {
	t.Helper()
	for {
		_, _, err := ws.ReadMessage()
		var closed *websocket.CloseError
		if errors.As(err, &closed) {
			return closed.Code, closed.Text
		}
		must(t, err)
	}
}

func TestFeedSocket(t *testing.T) {
	w := newWorld(t)
	d := w.newDevice("张三")
	ws := w.platform.subscribe(protocol.FeedHello{})
	if page := next[protocol.FeedPage](t, ws); page.Store == "" || len(page.Events) != 0 {
		t.Fatalf("first page %+v", page)
	}
	c := w.platform.created(protocol.KindLogin, false)
	until(t, ws, c.cid, protocol.StatePending)
	c.claimed(d)
	e, page := until(t, ws, c.cid, protocol.StateClaimed)
	if e.Device != d.id || page.Next != e.Rev {
		t.Fatalf("event %+v", e)
	}
	// away while the result comes; back with the cursor
	ws.Close()
	b := c.resultBody(d, 1, 100)
	_, err := c.result(d, b)
	must(t, err)
	ws = w.platform.subscribe(protocol.FeedHello{Store: page.Store, After: page.Next})
	e, page = until(t, ws, c.cid, protocol.StateFulfilled)
	if !protocol.Equal(e.Result.Box, b.Box) || e.Promise == nil {
		t.Fatalf("event %+v", e)
	}
	// restart of the relay: same store, the cursor holds
	ws.Close()
	w.restart()
	later := w.platform.created(protocol.KindLogin, false)
	ws = w.platform.subscribe(protocol.FeedHello{Store: page.Store, After: page.Next})
	if p := next[protocol.FeedPage](t, ws); len(p.Events) != 1 || p.Events[0].CID != later.cid || p.Store != page.Store {
		t.Fatalf("after the restart %+v", p)
	}
	// another store id starts at 0
	other := w.platform.subscribe(protocol.FeedHello{Store: "another", After: page.Next})
	if p := next[protocol.FeedPage](t, other); len(p.Events) != 2 || p.Events[0].CID != c.cid {
		t.Fatalf("from the start %+v", p)
	}
	_, err = c.ack(e.Result.Digest)
	must(t, err)
	until(t, ws, c.cid, protocol.StateCompleted)
	until(t, other, c.cid, protocol.StateCompleted)
}

// TestFeedPages: many challenges come in pages, each once, also to a feed that
// starts late, and pages stay below the size of a document.
func TestFeedPages(t *testing.T) {
	w := newWorld(t)
	d := w.newDevice("张三")
	const n = 60
	seen := map[protocol.CID]bool{}
	for range n {
		c := w.platform.created(protocol.KindLogin, false)
		c.claimed(d)
		_, err := c.result(d, c.resultBody(d, 1, protocol.MaxInlineBox))
		must(t, err)
	}
	ws := w.platform.subscribe(protocol.FeedHello{})
	pages := 0
	for len(seen) < n {
		_, raw, err := ws.ReadMessage()
		must(t, err)
		if len(raw) > protocol.MaxJSON {
			t.Fatalf("page of %d bytes", len(raw))
		}
		var page protocol.FeedPage
		must(t, protocol.DecodeJSON(raw, &page))
		for _, e := range page.Events {
			if seen[e.CID] {
				t.Fatal("an event came twice")
			}
			seen[e.CID] = true
		}
		pages++
		if last := len(seen) == n; last == page.More {
			t.Fatalf("%d of %d, more: %t", len(seen), n, page.More)
		}
	}
	if pages < 2 {
		t.Fatalf("%d pages", pages)
	}
	var limited protocol.FeedPage
	must(t, w.platform.call(http.MethodGet, "/v1/feed?limit=7", nil, &limited))
	if len(limited.Events) != 7 || !limited.More {
		t.Fatalf("%d events, more: %t", len(limited.Events), limited.More)
	}
}

func TestFeedSocketRefused(t *testing.T) {
	w := newWorld(t)
	refused := func(header http.Header, subprotocol string, want int) {
		t.Helper()
		ws, resp, err := w.dial("/v1/feed/ws", subprotocol, header)
		if err == nil {
			ws.Close()
			t.Fatal("the upgrade was accepted")
		}
		if resp == nil || resp.StatusCode != want {
			t.Fatalf("%v, %v, want %d", resp, err, want)
		}
	}
	refused(nil, protocol.FeedSubprotocol, http.StatusUnauthorized)
	refused(w.platform.request(http.MethodGet, "/v1/feed", nil).Header, protocol.FeedSubprotocol, http.StatusUnauthorized)
	refused(w.platform.request(http.MethodGet, "/v1/feed/ws", nil).Header, "other.v1", http.StatusBadRequest)
	header := w.platform.request(http.MethodGet, "/v1/feed/ws", nil).Header
	ws, _, err := w.dial("/v1/feed/ws", protocol.FeedSubprotocol, header)
	must(t, err)
	refused(header, protocol.FeedSubprotocol, http.StatusUnauthorized) // the nonce is used
	must(t, ws.WriteMessage(websocket.TextMessage, []byte(`{"after":-1}`)))
	if code, reason := closeCode(t, ws); code != websocket.ClosePolicyViolation || reason != string(protocol.CodeMalformed) {
		t.Fatalf("closed with %d %s", code, reason)
	}
	ws = w.platform.subscribe(protocol.FeedHello{})
	next[protocol.FeedPage](t, ws)
	must(t, ws.WriteMessage(websocket.TextMessage, []byte(`{}`)))
	if code, _ := closeCode(t, ws); code != websocket.ClosePolicyViolation {
		t.Fatalf("a second frame: closed with %d", code)
	}
}

// watchPage opens a page's connection.
func (c *challenge) watchPage(origin string, b protocol.WatchBody) *websocket.Conn {
	t := c.w.t
	t.Helper()
	h := http.Header{}
	if origin != "" {
		h.Set("Origin", origin)
	}
	ws, _, err := c.w.dial("/v1/watch", protocol.WatchSubprotocol, h)
	must(t, err)
	must(t, ws.WriteMessage(websocket.TextMessage, encode(t, b)))
	return ws
}

const pageOrigin = "https://bid.example.cn"

func TestPageSocket(t *testing.T) {
	w := newWorld(t)
	d := w.newDevice("张三")
	c := w.platform.created(protocol.KindLogin, false)
	page := c.watchPage(pageOrigin, protocol.WatchBody{CID: c.cid, Watch: c.watch})
	client := c.watchPage("", protocol.WatchBody{CID: c.cid, Watch: c.watch}) // a desktop client has no origin
	for _, ws := range []*websocket.Conn{page, client} {
		if s := next[protocol.WatchState](t, ws); s.State != protocol.StatePending || s.CID != c.cid || s.Until == 0 {
			t.Fatalf("first state %+v", s)
		}
	}
	c.claimed(d)
	c.claimed2(w.newDevice("李四"), protocol.CodeClaimedByOther)
	for _, ws := range []*websocket.Conn{page, client} {
		s := next[protocol.WatchState](t, ws)
		if s.SecondScans == 0 { // the claim was shown by itself before the second scan
			s = next[protocol.WatchState](t, ws)
		}
		if s.State != protocol.StateClaimed || s.ClaimSeq != 1 || s.SecondScans != 1 {
			t.Fatalf("state %+v", s)
		}
	}
	_, err := c.result(d, c.resultBody(d, 1, 100))
	must(t, err)
	for _, ws := range []*websocket.Conn{page, client} {
		_, raw, err := ws.ReadMessage()
		must(t, err)
		for _, secret := range []string{"result", "box", "receipt", "device", "promise", d.id} {
			if bytes.Contains(raw, []byte(secret)) {
				t.Fatalf("a page sees %s", raw)
			}
		}
	}
	// a page that comes late sees the newest state only, and nothing where it has it
	rev := c.read().Rev
	late := c.watchPage(pageOrigin, protocol.WatchBody{CID: c.cid, Watch: c.watch, After: rev - 1})
	if s := next[protocol.WatchState](t, late); s.State != protocol.StateFulfilled || s.Rev != rev {
		t.Fatalf("late page %+v", s)
	}
	have := c.watchPage(pageOrigin, protocol.WatchBody{CID: c.cid, Watch: c.watch, After: rev})
	_, err = c.ack(c.read().Result.Digest)
	must(t, err)
	if s := next[protocol.WatchState](t, have); s.State != protocol.StateCompleted {
		t.Fatalf("page with the state %+v", s)
	}
}

func TestPageRefused(t *testing.T) {
	w := newWorld(t, func(c *relay.Config) { c.Limits.FirstFrame = 50 * time.Millisecond; c.Limits.WatchesPerCID = 2 })
	other := w.newPlatform("p2", "https://other.example.cn")
	c := w.platform.created(protocol.KindLogin, false)
	none := w.platform.newChallenge(protocol.KindLogin, false)
	good := protocol.WatchBody{CID: c.cid, Watch: c.watch}

	ws, resp, err := w.dial("/v1/watch", protocol.WatchSubprotocol, http.Header{"Origin": {"https://evil.example"}})
	if err == nil {
		ws.Close()
	}
	if err == nil || resp.StatusCode != http.StatusForbidden {
		t.Fatalf("foreign origin: %v", err)
	}
	closed := func(name, origin string, frame []byte, wantCode int, wantReason protocol.Code) {
		t.Helper()
		h := http.Header{}
		if origin != "" {
			h.Set("Origin", origin)
		}
		ws, _, err := w.dial("/v1/watch", protocol.WatchSubprotocol, h)
		must(t, err)
		if frame != nil {
			must(t, ws.WriteMessage(websocket.TextMessage, frame))
		}
		if code, reason := closeCode(t, ws); code != wantCode || reason != string(wantReason) {
			t.Errorf("%s: closed with %d %s", name, code, reason)
		}
	}
	const policy = websocket.ClosePolicyViolation
	closed("another platform's origin", other.origin(), encode(t, good), policy, protocol.CodeOriginRefused)
	wrong := good
	wrong.Watch = make([]byte, protocol.WatchSize)
	closed("wrong secret", pageOrigin, encode(t, wrong), policy, protocol.CodeNotFound)
	closed("unknown challenge", pageOrigin, encode(t, protocol.WatchBody{CID: none.cid, Watch: c.watch}), policy, protocol.CodeNotFound)
	closed("no json", pageOrigin, []byte("hello"), policy, protocol.CodeMalformed)
	closed("no first frame", pageOrigin, nil, policy, protocol.CodeMalformed)
	closed("too long a frame", pageOrigin, make([]byte, 2000), websocket.CloseMessageTooBig, "")

	for range 2 {
		next[protocol.WatchState](t, c.watchPage(pageOrigin, good))
	}
	closed("too many pages", pageOrigin, encode(t, good), websocket.CloseTryAgainLater, protocol.CodeRateLimited)
}

func (p *platform) origin() string { return "https://other.example.cn" }

// poll posts a page's long-poll.
func (c *challenge) poll(origin string, b protocol.WatchBody) (protocol.WatchState, *http.Response, error) {
	t := c.w.t
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.w.origin+"/v1/watch", bytes.NewReader(encode(t, b)))
	must(t, err)
	if origin != "" {
		req.Header.Set("Origin", origin)
	}
	resp, err := c.w.do(req)
	must(t, err)
	var s protocol.WatchState
	return s, resp, answer(resp, &s)
}

func TestPageLongPoll(t *testing.T) {
	w := newWorld(t)
	d := w.newDevice("张三")
	c := w.platform.created(protocol.KindLogin, false)
	good := protocol.WatchBody{CID: c.cid, Watch: c.watch}
	s, resp, err := c.poll(pageOrigin, good)
	must(t, err)
	if s.State != protocol.StatePending || resp.Header.Get("Access-Control-Allow-Origin") != pageOrigin || resp.Header.Get("Vary") != "Origin" {
		t.Fatalf("state %+v, headers %v", s, resp.Header)
	}
	_, resp, err = c.poll("https://evil.example", good)
	wantCode(t, err, protocol.CodeOriginRefused)
	if resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Fatal("a foreign origin may read the answer")
	}
	wrong := good
	wrong.Watch = make([]byte, 16)
	_, _, err = c.poll("", wrong)
	wantCode(t, err, protocol.CodeNotFound)
	wrong = good
	wrong.Wait = 26
	_, _, err = c.poll("", wrong)
	wantCode(t, err, protocol.CodeMalformed)

	after := good
	after.After, after.Wait = s.Rev, 25
	done := make(chan protocol.WatchState, 1)
	go func() {
		s, _, err := c.poll(pageOrigin, after)
		if err != nil {
			t.Error(err)
		}
		done <- s
	}()
	c.claimed(d)
	if s := <-done; s.State != protocol.StateClaimed {
		t.Fatalf("state %+v", s)
	}
	same := after // nothing happens: the wait ends with the state as it is
	same.After, same.Wait = c.read().Rev, 1
	s, _, err = c.poll(pageOrigin, same)
	must(t, err)
	if s.Rev != same.After || s.State != protocol.StateClaimed {
		t.Fatalf("state %+v", s)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, w.origin+"/v1/watch", nil)
	must(t, err)
	req.Header.Set("Origin", pageOrigin)
	resp, err = w.do(req)
	must(t, err)
	if resp.Body.Close(); resp.StatusCode != http.StatusNoContent || resp.Header.Get("Access-Control-Allow-Origin") != pageOrigin {
		t.Fatalf("preflight %s %v", resp.Status, resp.Header)
	}
}

// TestLongPolls: platform and phone wait for the state, the platform for its feed.
func TestLongPolls(t *testing.T) {
	w := newWorld(t)
	d := w.newDevice("张三")
	c := w.platform.created(protocol.KindLogin, true)
	a := c.claimed(d)
	cursor := w.platform.feed("", 0)
	var group sync.WaitGroup
	wait := "?wait=25&after=" + itoa(a.Rev)
	var states [2]protocol.ChallengeState
	var page protocol.FeedPage
	errs := make([]error, 3)
	ready := make(chan struct{}, 3)
	for i, req := range []*http.Request{w.platform.request(http.MethodGet, c.path+wait, nil), d.request(http.MethodGet, c.path+wait, nil),
		w.platform.request(http.MethodGet, "/v1/feed?wait=25&store="+cursor.Store+"&after="+itoa(cursor.Next), nil)} {
		group.Go(func() {
			ready <- struct{}{}
			resp, err := w.do(req)
			if err != nil {
				errs[i] = err
				return
			}
			if i == 2 {
				errs[i] = answer(resp, &page)
				return
			}
			errs[i] = answer(resp, &states[i])
		})
	}
	for range 3 {
		<-ready
	}
	must(t, d.call(http.MethodPost, c.path+"/open", protocol.OpenBody{ClaimSeq: 1, KEM: make([]byte, 140), Box: make([]byte, 40)}, nil))
	group.Wait()
	must(t, errors.Join(errs...))
	for _, s := range states {
		if s.State != protocol.StateOpened || s.Rev <= a.Rev {
			t.Fatalf("state %+v", s)
		}
	}
	if len(page.Events) != 1 || page.Events[0].State != protocol.StateOpened {
		t.Fatalf("page %+v", page)
	}
}

// TestPageOverTLS: where the relay serves TLS itself, pages are told by the slower way.
func TestPageOverTLS(t *testing.T) {
	w := newWorld(t)
	c := w.platform.created(protocol.KindLogin, false)
	server := httptest.NewTLSServer(w.relay.Handler())
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	d := websocket.Dialer{Subprotocols: []string{protocol.WatchSubprotocol}, TLSClientConfig: &tls.Config{RootCAs: roots}}
	ws, _, err := d.DialContext(t.Context(), "wss://"+server.Listener.Addr().String()+"/v1/watch", nil)
	must(t, err)
	defer ws.Close()
	must(t, ws.WriteMessage(websocket.TextMessage, encode(t, protocol.WatchBody{CID: c.cid, Watch: c.watch})))
	if s := next[protocol.WatchState](t, ws); s.State != protocol.StatePending {
		t.Fatalf("%+v", s)
	}
	c.claimed(w.newDevice("张三"))
	if s := next[protocol.WatchState](t, ws); s.State != protocol.StateClaimed {
		t.Fatalf("%+v", s)
	}
}
