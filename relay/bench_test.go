package relay_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
)

// BenchmarkCalls measures the calls of a login without a network, each with
// everything the relay does for it; callers' signatures are made outside.
func BenchmarkCalls(b *testing.B) {
	w := newWorld(b, func(c *relay.Config) { c.Limits.CallsPerDevice, c.Limits.OpenPerPlatform = 1<<40, 1<<40 })
	d := w.newDevice("张三")
	call := func(req *http.Request, body []byte) {
		in := httptest.NewRequest(req.Method, req.URL.RequestURI(), bytes.NewReader(body))
		in.Header = req.Header
		rec := httptest.NewRecorder()
		w.relay.Handler().ServeHTTP(rec, in)
		if rec.Code != http.StatusOK {
			b.Fatalf("%s %s: %d %s", req.Method, req.URL, rec.Code, rec.Body)
		}
	}
	steps := []struct {
		name string
		make func(*challenge) (*http.Request, []byte)
	}{
		{"create", func(c *challenge) (*http.Request, []byte) {
			body := encode(b, c.body)
			return w.platform.request(http.MethodPut, c.path, body), body
		}},
		{"claim", func(c *challenge) (*http.Request, []byte) {
			body := encode(b, c.claimBody())
			return d.request(http.MethodPost, c.path+"/claim", body), body
		}},
		{"result", func(c *challenge) (*http.Request, []byte) {
			body := encode(b, c.resultBody(d, 1, 3000))
			return d.request(http.MethodPost, c.path+"/result", body), body
		}},
		{"ack", func(c *challenge) (*http.Request, []byte) {
			s, err := w.store.Get(b.Context(), c.cid)
			must(b, err)
			body := encode(b, protocol.AckBody{Result: s.Progress.ResultDigest})
			return w.platform.request(http.MethodPost, c.path+"/ack", body), body
		}},
	}
	for i, step := range steps {
		b.Run(step.name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				c := w.platform.newChallenge(protocol.KindLogin, false)
				for _, before := range steps[:i] {
					call(before.make(c))
				}
				req, body := step.make(c)
				b.StartTimer()
				call(req, body)
			}
		})
	}
}
