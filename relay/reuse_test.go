package relay_test

import (
	"errors"
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

// TestForeignDeviceIsNotTold: somebody who got hold of a result's bytes, but never held
// the challenge, learns neither how it ended nor the promise: not while the relay has
// the challenge, and not when it has purged it.
func TestForeignDeviceIsNotTold(t *testing.T) {
	w := newWorld(t)
	d, stranger := w.newDevice("张三"), w.newDevice("李四")
	c := w.platform.created(protocol.KindLogin, false)
	body := c.resultBody(d, c.claimed(d).ClaimSeq, 100)
	first, err := c.result(d, body)
	must(t, err)
	answer, err := c.result(stranger, body)
	var refused *protocol.Error
	if !errors.As(err, &refused) || refused.Winner != nil || answer.Promise != nil {
		t.Errorf("a stranger was told %+v, %+v", answer, refused)
	}
	_, err = c.ack(protocol.ResultDigest(c.cid, 1, body.KEM, body.Box))
	must(t, err)
	w.clock.advance(2 * time.Hour)
	must(t, w.relay.Sweep(t.Context()))
	again, err := c.result(d, body)
	must(t, err)
	if !protocol.Equal(again.Promise.Head, first.Promise.Head) {
		t.Error("the holder got another promise")
	}
	answer, err = c.result(stranger, body)
	if protocol.CodeOf(err) != protocol.CodeNotFound || answer.Promise != nil {
		t.Errorf("a stranger was told %+v, %v", answer, err)
	}
}
