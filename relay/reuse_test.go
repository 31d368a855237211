package relay_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
)

// Whoever saw a code knows its cid. A platform that registers it anew, after
// the relay has forgotten the challenge, learns nothing of how that one ended.
func TestForeignEndIsNotTold(t *testing.T) {
	w := newWorld(t)
	d := w.newDevice("张三")
	c := w.platform.created(protocol.KindLogin, false)
	body := c.resultBody(d, c.claimed(d).ClaimSeq, 100)
	_, err := c.result(d, body)
	must(t, err)
	_, err = c.ack(protocol.ResultDigest(c.cid, 1, body.KEM, body.Box))
	must(t, err)
	w.clock.advance(2 * time.Hour)
	must(t, w.relay.Sweep(t.Context()))

	curious := w.newPlatform("p2", "https://p2.example.cn")
	again := *c
	again.p = curious
	must(t, again.create(nil))
	again.claimed(w.newDevice("李四"))
	var s protocol.ChallengeState
	err = curious.call(http.MethodPost, again.path+"/cancel", nil, &s)
	if err == nil && s.State != protocol.StateCanceled {
		t.Fatalf("canceled: %+v", s)
	}
	s = protocol.ChallengeState{}
	must(t, curious.call(http.MethodGet, again.path, nil, &s))
	if s.State != protocol.StateCanceled || s.Result != nil || s.Receipt != nil || s.Promise != nil || s.Device == d.id {
		t.Fatalf("told another platform: %+v", s)
	}
}
