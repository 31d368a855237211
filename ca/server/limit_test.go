package server_test

import (
	"fmt"
	"math"
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
	clock := func() time.Time { return now }
	allow := server.Allow(server.Limits{PerSecond: 1, Burst: 1, Addresses: 10}, clock)
	address := func(i int) string { return fmt.Sprintf("10.0.%d.%d", i/256, i%256) }
	for i := range 1000 {
		if err := allow(address(i)); err != nil {
			t.Fatalf("address %d: %v", i, err)
		}
	}
	for i := 990; i < 1000; i++ {
		if allow(address(i)) == nil {
			t.Errorf("address %d is forgotten", i)
		}
	}
	if err := allow(address(989)); err != nil {
		t.Errorf("more than ten addresses are remembered: %v", err)
	}
	for _, same := range []struct{ first, second, why string }{
		{"2001:db8::1", "2001:db8::2", "a second address of the same network"},
		{"::ffff:192.0.2.7", "192.0.2.7", "the same IPv4 address in another spelling"},
		{"no address", "none either", "what cannot be told apart is one caller"},
	} {
		if err := allow(same.first); err != nil {
			t.Errorf("%s: %v", same.first, err)
		}
		if allow(same.second) == nil {
			t.Error(same.why)
		}
	}
	if err := allow("2001:db8:0:1::1"); err != nil {
		t.Errorf("another network: %v", err)
	}
	none := server.Allow(server.Limits{PerSecond: -1}, clock)
	for range 1000 {
		if none("10.0.0.1") != nil {
			t.Fatal("a limit where none is wanted")
		}
	}
}

// TestLimitsWithoutANumber: what is no rate is said, and takes the default where
// nobody listened.
func TestLimitsWithoutANumber(t *testing.T) {
	for _, perSecond := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		limits := server.Limits{PerSecond: perSecond, Burst: 1}
		if limits.Check() == nil {
			t.Errorf("%v calls per second pass the check", perSecond)
		}
		allow := server.Allow(limits, func() time.Time { return time.Unix(1, 0) })
		if allow("10.0.0.1") != nil || allow("10.0.0.1") == nil {
			t.Errorf("%v calls per second are no limit", perSecond)
		}
	}
}
