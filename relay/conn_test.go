package relay_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
	"github.com/gorilla/websocket"
)

// TestDrain: long-polls are answered, connections told to come back, readiness is off.
func TestDrain(t *testing.T) {
	w := newWorld(t)
	c := w.platform.created(protocol.KindLogin, false)
	feed := w.platform.subscribe(protocol.FeedHello{})
	next[protocol.FeedPage](t, feed)
	page := c.watchPage(pageOrigin, protocol.WatchBody{CID: c.cid, Watch: c.watch})
	next[protocol.WatchState](t, page)
	status := func(path string) int {
		t.Helper()
		resp, err := http.Get(w.server.URL + path)
		must(t, err)
		resp.Body.Close()
		return resp.StatusCode
	}
	if status("/readyz") != http.StatusOK || status("/healthz") != http.StatusOK {
		t.Fatal("not ready before the drain")
	}
	polled := make(chan error, 1)
	go func() {
		_, _, err := c.poll("", protocol.WatchBody{CID: c.cid, Watch: c.watch, After: c.read().Rev, Wait: 25})
		polled <- err
	}()
	w.relay.Drain(t.Context())
	for _, ws := range []*websocket.Conn{feed, page} {
		if code, reason := closeCode(t, ws); code != websocket.CloseServiceRestart || !strings.HasPrefix(reason, "retry_ms=") {
			t.Errorf("closed with %d %s", code, reason)
		}
	}
	must(t, <-polled)
	if status("/readyz") != http.StatusServiceUnavailable || status("/healthz") != http.StatusOK {
		t.Fatal("ready after the drain")
	}
	_, resp, err := w.dial("/v1/watch", protocol.WatchSubprotocol, nil)
	if err == nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Fatalf("a connection after the drain: %v", err)
	}
}

// scrape reads the metrics where the operator does.
func scrape(w *world) string {
	rec := httptest.NewRecorder()
	w.relay.AdminHandler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return rec.Body.String()
}

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	c := w.platform.created(protocol.KindLogin, false)
	next[protocol.WatchState](t, c.watchPage("", protocol.WatchBody{CID: c.cid, Watch: c.watch}))
	text := scrape(w)
	for _, line := range []string{`bidseal_relay_transitions_total{kind="login",state="pending"} 1`, "bidseal_relay_connections 1",
		`bidseal_relay_requests_total{code="ok",method="PUT",route="/v1/challenges/:cid"} 1`} {
		if !strings.Contains(text, line) {
			t.Errorf("no %s", line)
		}
	}
}

// TestMetricsArePrivate: the public handler has them only where the operator said so.
func TestMetricsArePrivate(t *testing.T) {
	for public, want := range map[bool]int{false: http.StatusNotFound, true: http.StatusOK} {
		w := newWorld(t, func(c *relay.Config) { c.PublicMetrics = public })
		resp, err := http.Get(w.server.URL + "/metrics")
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("public %v: %s", public, resp.Status)
		}
	}
}

// TestStrangersMakeNoSeries: methods and paths that a caller invents take no
// memory in the metrics.
func TestStrangersMakeNoSeries(t *testing.T) {
	w := newWorld(t)
	series := func() (n int) {
		for line := range strings.Lines(scrape(w)) {
			if strings.HasPrefix(line, "bidseal_relay_request") {
				n++
			}
		}
		return n
	}
	call := func(i int) {
		word := fmt.Sprintf("INVENTED%d", i)
		for _, path := range []string{"/v1/" + word, "/v1/challenges/" + word} {
			w.relay.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(word, path, nil))
			w.relay.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
		}
	}
	call(0)
	before := series()
	for i := range 10_000 {
		call(i)
	}
	if after := series(); after != before || before == 0 {
		t.Errorf("%d series, then %d", before, after)
	}
}

// TestPings: a connection that answers pings stays, one that does not goes.
func TestPings(t *testing.T) {
	w := newWorld(t, func(c *relay.Config) {
		c.Limits.PingEvery, c.Limits.WriteTimeout = 100*time.Millisecond, time.Second
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go w.relay.Run(ctx)
	c := w.platform.created(protocol.KindLogin, false)
	b := protocol.WatchBody{CID: c.cid, Watch: c.watch}
	deaf, alive := c.watchPage("", b), c.watchPage("", b)
	deaf.SetPingHandler(func(string) error { return nil })
	pings := make(chan struct{}, 16)
	alive.SetPingHandler(func(data string) error {
		select {
		case pings <- struct{}{}:
		default:
		}
		return alive.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(time.Second))
	})
	next[protocol.WatchState](t, deaf)
	next[protocol.WatchState](t, alive)
	gone, kept := make(chan error, 1), make(chan protocol.WatchState, 1)
	go func() {
		_, _, err := deaf.ReadMessage()
		gone <- err
	}()
	go func() {
		_, raw, err := alive.ReadMessage()
		var s protocol.WatchState
		if err != nil || protocol.DecodeJSON(raw, &s) != nil {
			t.Errorf("the living connection ended: %v", err)
		}
		kept <- s
	}()
	if err := <-gone; err == nil {
		t.Fatal("a connection without pongs got a message")
	}
	for range 3 {
		<-pings
	}
	c.claimed(w.newDevice("张三"))
	if s := <-kept; s.State != protocol.StateClaimed {
		t.Fatalf("state %+v", s)
	}
}
