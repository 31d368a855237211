package server_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/server"
)

// TestHTTPShedsLoad: with every slot taken a call is refused at once, with a
// time to come back.
func TestHTTPShedsLoad(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	handler := server.BoundedRoute(1, func() { close(entered); <-leave })
	done := make(chan int)
	go func() {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequest("POST", "/", nil))
		done <- recorder.Code
	}()
	<-entered
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest("POST", "/", nil))
	if recorder.Code != http.StatusServiceUnavailable || recorder.Header().Get("Retry-After") != "1" {
		t.Errorf("status %d, %v", recorder.Code, recorder.Header())
	}
	close(leave)
	if code := <-done; code != http.StatusOK {
		t.Errorf("the first call got %d", code)
	}
}

// TestLimiterForgets: a flood of addresses costs bounded memory, and an IPv6
// network is one caller.
func TestLimiterForgets(t *testing.T) {
	now := time.Unix(1, 0)
	l := server.NewLimiter(server.Limits{PerSecond: 1, Burst: 1, Addresses: 10}, func() time.Time { return now })
	for i := range 1000 {
		l.Allow(fmt.Sprintf("10.0.%d.%d", i/256, i%256))
	}
	if l.Remembered() != 10 {
		t.Errorf("%d addresses are remembered", l.Remembered())
	}
	l.Allow("2001:db8::1")
	if _, ok := l.Allow("2001:db8::2"); ok {
		t.Error("a second address of the same network")
	}
	if _, ok := l.Allow("2001:db8:0:1::1"); !ok {
		t.Error("another network")
	}
	l.Allow("::ffff:192.0.2.7")
	if _, ok := l.Allow("192.0.2.7"); ok {
		t.Error("the same IPv4 address in another spelling")
	}
	l.Allow("no address")
	if _, ok := l.Allow("none either"); ok {
		t.Error("what cannot be told apart is one caller")
	}
	none := server.NewLimiter(server.Limits{PerSecond: -1}, func() time.Time { return now })
	for range 1000 {
		if _, ok := none.Allow("10.0.0.1"); !ok {
			t.Fatal("a limit where none is wanted")
		}
	}
}
