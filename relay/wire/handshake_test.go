package wire

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// TestHandshake: a client of another implementation says its one thing, is told
// states, and is sent away when the server drains.
func TestHandshake(t *testing.T) {
	h, wheel := NewHandshake("states"), NewWheel(time.Minute)
	served := make(chan error, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.Wanted(r) {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		taken, err := h.Take(w, r)
		if err != nil {
			t.Error(err)
			return
		}
		c := &Newest{Conn: Conn{Net: taken, Limits: &Limits{FirstFrame: time.Minute, Write: time.Minute}}}
		if !wheel.Add(&c.Conn) {
			t.Error("the wheel takes nobody")
		}
		go func() {
			served <- func() error {
				hello, err := c.FirstFrame()
				if err != nil || string(hello) != "hello" {
					return errors.Join(err, errors.New("first frame "+string(hello)))
				}
				if err := errors.Join(c.Show(2, TextFrame([]byte("two"))), c.Show(1, TextFrame([]byte("one"))), c.Settle()); err != nil {
					return err
				}
				c.Drain()
				wheel.Remove(&c.Conn)
				return nil
			}()
		}()
	}))
	defer s.Close()
	url := "ws" + strings.TrimPrefix(s.URL, "http")
	for _, other := range [][]string{nil, {"feed"}} {
		_, resp, err := (&websocket.Dialer{Subprotocols: other}).Dial(url, nil)
		if err == nil || resp.StatusCode != http.StatusBadRequest {
			t.Errorf("subprotocols %v: %v", other, err)
		}
	}
	ws, resp, err := (&websocket.Dialer{Subprotocols: []string{"feed", "states"}}).Dial(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	if got := resp.Header.Get("Sec-WebSocket-Protocol"); got != "states" {
		t.Errorf("subprotocol %q", got)
	}
	if err := ws.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, message, err := ws.ReadMessage(); err != nil || string(message) != "two" {
		t.Fatalf("%q, %v", message, err)
	}
	wheel.CloseAll(t.Context())
	_, message, err := ws.ReadMessage() // not the older state
	var closed *websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != CloseDrain || !strings.HasPrefix(closed.Text, "retry_ms=") {
		t.Fatalf("%q, %v", message, err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if wheel.Add(&Conn{}) {
		t.Error("a wheel that has ended takes a connection")
	}
}
