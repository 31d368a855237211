package sdktest

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/bidseal/bidseal/internal/callsig"
	"github.com/bidseal/bidseal/internal/httpapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/gorilla/websocket"
)

// caller is who made a call: the platform, or a device.
type caller struct {
	device string // empty for the platform
	key    crypto.PublicKey
}

func (r *Relay) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /v1/challenges/{cid}", r.serve("create", r.create))
	mux.HandleFunc("GET /v1/challenges/{cid}", r.serve("read", r.read))
	for action, do := range map[string]endpoint{"claim": r.claim, "open": r.open, "result": r.result, "reject": r.reject,
		"fail": r.fail, "cancel": r.cancel, "ack": r.ack} {
		mux.HandleFunc("POST /v1/challenges/{cid}/"+action, r.serve(action, do))
	}
	mux.HandleFunc("PUT /v1/challenges/{cid}/ready", r.serve("ready", r.ready))
	mux.HandleFunc("GET /v1/feed", r.feed)
	mux.HandleFunc("GET /v1/feed/ws", r.socket)
	mux.HandleFunc("GET /v1/watch", r.watch)
	return r.api.Handler(mux)
}

// endpoint answers one call; the relay's lock is held while it runs.
type endpoint func(who caller, cid protocol.CID, body []byte) (any, error)

// authenticate tells who calls, as wire.go says: a signature is the platform's,
// pass and proof are a phone's.
func (r *Relay) authenticate(req *http.Request, body []byte) (caller, error) {
	r.mu.Lock()
	down := r.down
	r.mu.Unlock()
	if down {
		return caller{}, protocol.Errorf(protocol.CodeUnavailable, "set down by the test")
	}
	if req.Header.Get("Signature-Input") != "" {
		authority, err := callsig.Authority(r.server.URL)
		if err != nil {
			return caller{}, err
		}
		lookup := func(_ context.Context, id string) (crypto.PublicKey, error) {
			if id != r.platform {
				return nil, callsig.ErrKey
			}
			return r.apiKey, nil
		}
		if _, err := callsig.Verify(req, body, authority, lookup, time.Now()); err != nil {
			return caller{}, protocol.Errorf(protocol.CodeUnauthorized, "%v", err)
		}
		return caller{}, nil
	}
	pass, err := protocol.VerifyPass(r.issuer.Public(), req.Header.Get(protocol.HeaderPass), r.clock.Now())
	if err != nil {
		return caller{}, err
	}
	call := protocol.Call{Method: req.Method, URL: r.server.URL + req.URL.RequestURI(), Body: body}
	if err := protocol.VerifyProof(pass, req.Header.Get(protocol.HeaderProof), call, r.clock.Now()); err != nil {
		return caller{}, err
	}
	return caller{device: pass.Device, key: pass.Public}, nil
}

func (r *Relay) serve(action string, do endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		body, err := httpapi.Body(w, req, protocol.MaxRequestBody, 0)
		if err != nil {
			r.api.Refuse(w, req, err)
			return
		}
		who, err := r.authenticate(req, body)
		if err != nil {
			r.api.Refuse(w, req, err)
			return
		}
		cid, err := protocol.ParseCID(req.PathValue("cid"))
		if err != nil {
			r.api.Refuse(w, req, err)
			return
		}
		if action == "read" {
			if err := r.await(req, func() bool { c := r.challenges[cid]; return c == nil || c.rev > number(req, "after") }); err != nil {
				return
			}
		}
		r.mu.Lock()
		r.calls[action]++
		v, err := do(who, cid, bytes.Clone(body))
		r.mu.Unlock()
		if err != nil {
			r.api.Refuse(w, req, err)
			return
		}
		r.api.JSON(w, req, v)
	}
}

func number(req *http.Request, name string) int64 {
	n, err := strconv.ParseInt(req.URL.Query().Get(name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// await waits until done, or the call's own wait is over. done runs with the
// lock held.
func (r *Relay) await(req *http.Request, done func() bool) error {
	over := r.clock.After(time.Duration(min(number(req, "wait"), protocol.MaxWait)) * time.Second)
	for {
		r.mu.Lock()
		ready, changed := done(), r.changed
		r.mu.Unlock()
		if ready {
			return nil
		}
		select {
		case <-changed:
		case <-over:
			return nil
		case <-req.Context().Done():
			return req.Context().Err()
		}
	}
}

func (r *Relay) feed(w http.ResponseWriter, req *http.Request) {
	if who, err := r.authenticate(req, nil); err != nil || who.device != "" {
		r.api.Refuse(w, req, errors.Join(protocol.Errorf(protocol.CodeUnauthorized, "the feed is the platform's"), err))
		return
	}
	var page protocol.FeedPage
	err := r.await(req, func() bool {
		page = r.page(req.URL.Query().Get("store"), number(req, "after"))
		return len(page.Events) > 0
	})
	if err == nil {
		r.api.JSON(w, req, page)
	}
}

func (r *Relay) socket(w http.ResponseWriter, req *http.Request) {
	who, err := r.authenticate(req, nil)
	r.mu.Lock()
	refused := r.noSockets
	r.mu.Unlock()
	if err != nil || who.device != "" || refused {
		r.api.Refuse(w, req, protocol.Errorf(protocol.CodeUnauthorized, "no feed: %v", err))
		return
	}
	up := websocket.Upgrader{Subprotocols: []string{protocol.FeedSubprotocol}}
	ws, err := up.Upgrade(w, req, nil)
	if err != nil {
		return
	}
	r.set(func() { r.sockets[ws] = true })
	defer r.set(func() { delete(r.sockets, ws); ws.Close() })
	var hello protocol.FeedHello
	if _, raw, err := ws.ReadMessage(); err != nil || protocol.DecodeJSON(raw, &hello) != nil {
		return
	}
	r.set(func() { r.hello = hello })
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _, _ = ws.ReadMessage() // ends with the connection
	}()
	store, after := hello.Store, hello.After
	for first := true; ; first = false {
		r.mu.Lock()
		page, changed := r.page(store, after), r.changed
		if first || len(page.Events) > 0 {
			raw, err := protocol.EncodeJSON(page)
			if err != nil || ws.WriteMessage(websocket.TextMessage, raw) != nil {
				r.mu.Unlock()
				return
			}
			store, after = page.Store, page.Next
		}
		r.mu.Unlock()
		select {
		case <-changed:
		case <-gone:
			return
		}
	}
}

// watch tells a page the states of one challenge. The real relay compares the
// page's origin with those of the registration; this one takes every page.
func (r *Relay) watch(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	refused := r.noSockets || r.down
	r.mu.Unlock()
	if refused {
		r.api.Refuse(w, req, protocol.Errorf(protocol.CodeUnavailable, "no sockets"))
		return
	}
	up := websocket.Upgrader{Subprotocols: []string{protocol.WatchSubprotocol}, CheckOrigin: func(*http.Request) bool { return true }}
	ws, err := up.Upgrade(w, req, nil)
	if err != nil {
		return
	}
	r.set(func() { r.sockets[ws] = true })
	defer r.set(func() { delete(r.sockets, ws); ws.Close() })
	var body protocol.WatchBody
	if _, raw, err := ws.ReadMessage(); err != nil || protocol.DecodeJSON(raw, &body) != nil {
		return
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _, _ = ws.ReadMessage()
	}()
	for after := int64(0); ; {
		r.mu.Lock()
		c, changed := r.challenges[body.CID], r.changed
		if c == nil || !protocol.Equal(protocol.H(body.Watch), c.body.HWatch) {
			r.mu.Unlock()
			return
		}
		p, rev := c.progress, c.rev
		r.mu.Unlock()
		if rev > after {
			after = rev
			raw, err := protocol.EncodeJSON(protocol.WatchState{CID: body.CID, State: p.State, Rev: rev, Code: string(p.Code),
				ClaimSeq: p.ClaimSeq, SecondScans: p.SecondScans, Until: p.Due(), Now: r.now()})
			if err != nil || ws.WriteMessage(websocket.TextMessage, raw) != nil {
				return
			}
		}
		select {
		case <-changed:
		case <-gone:
			return
		}
	}
}
