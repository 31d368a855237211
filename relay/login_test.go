package relay_test

import (
	"net/http"
	"testing"

	"github.com/bidseal/bidseal/protocol"
)

func TestLogin(t *testing.T) {
	w := newWorld(t)
	d := w.newDevice("张三")
	c := w.platform.newChallenge(protocol.KindLogin, false)
	var first, second protocol.ChallengeState
	must(t, c.create(&first))
	must(t, c.create(&second))
	if first.State != protocol.StatePending || second.Rev != first.Rev || first.CID != c.cid {
		t.Fatalf("created %+v, repeated %+v", first, second)
	}

	claim := c.claimBody()
	claim.Frame = []byte("0123456789")
	a, err := c.claim(d, claim)
	must(t, err)
	again, err := c.claim(d, claim)
	must(t, err)
	if !protocol.Equal(a.BoxR, c.body.BoxR) || a.ClaimSeq != 1 || again.ClaimSeq != 1 || again.Rev != a.Rev || a.ServerTime == 0 {
		t.Fatalf("claimed %+v, repeated %+v", a, again)
	}
	if s := c.wantState(protocol.StateClaimed); s.Device != d.id || string(s.Frame) != "0123456789" || s.ClaimUntil != a.ClaimUntil {
		t.Fatalf("claimed %+v", s)
	}

	b := c.resultBody(d, 1, 700)
	done, err := c.result(d, b)
	must(t, err)
	same, err := c.result(d, b)
	must(t, err)
	must(t, protocol.VerifyPromise(w.ledgerKey.Public(), done.Promise, b.Receipt.Bytes))
	if done.State != protocol.StateFulfilled || same.Rev != done.Rev || same.Promise.Index != done.Promise.Index || !protocol.Equal(same.Promise.Head, done.Promise.Head) {
		t.Fatalf("result %+v, repeated %+v", done, same)
	}

	page := w.platform.feed("", 0)
	if len(page.Events) != 1 || page.Next != done.Rev || page.Store == "" || page.More {
		t.Fatalf("feed %+v", page)
	}
	e := page.Events[0]
	if e.State != protocol.StateFulfilled || !protocol.Equal(e.Result.Box, b.Box) || !protocol.Equal(e.Result.KEM, b.KEM) || e.Promise == nil ||
		!protocol.Equal(e.Result.Digest, protocol.ResultDigest(c.cid, 1, b.KEM, b.Box)) {
		t.Fatalf("event %+v", e)
	}

	acked, err := c.ack(e.Result.Digest)
	must(t, err)
	repeated, err := c.ack(e.Result.Digest)
	must(t, err)
	if acked.State != protocol.StateCompleted || repeated.Rev != acked.Rev {
		t.Fatalf("acked %+v, repeated %+v", acked, repeated)
	}
	late, err := c.result(d, b)
	must(t, err)
	if late.State != protocol.StateCompleted || !protocol.Equal(late.Promise.Head, done.Promise.Head) {
		t.Fatalf("result after the ack %+v", late)
	}
	_, err = c.result(d, c.resultBody(d, 1, 700))
	if e := wantCode(t, err, protocol.CodeAlreadyEnded); e.Winner == nil || !protocol.Equal(e.Winner.Result.Digest, acked.Result.Digest) {
		t.Fatalf("loser got %+v", e)
	}
}

func TestInfo(t *testing.T) {
	w := newWorld(t)
	resp, err := http.Get(w.server.URL + "/v1/info")
	must(t, err)
	var info protocol.RelayInfo
	must(t, answer(resp, &info))
	key, err := protocol.ParseKey(info.LedgerKey)
	must(t, err)
	if info.Origin != w.origin || !w.ledgerKey.PublicKey.Equal(key) {
		t.Fatalf("info %+v", info)
	}
}
