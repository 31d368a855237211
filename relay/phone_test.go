package relay_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
)

func TestPhoneRefused(t *testing.T) {
	w := newWorld(t)
	c := w.platform.created(protocol.KindLogin, false)
	other := w.newDevice("李四")
	foreign := newWorld(t).newDevice("王五") // its pass is from another issuer
	body := encode(t, c.claimBody())
	path := c.path + "/claim"
	for _, tc := range []struct {
		name  string
		alter func(*protocol.Call)
		edit  func(*http.Request)
		want  protocol.Code
	}{
		{"proof of another method", func(c *protocol.Call) { c.Method = http.MethodPut }, nil, protocol.CodeUnauthorized},
		{"proof of another path", func(c *protocol.Call) { c.URL += "x" }, nil, protocol.CodeUnauthorized},
		{"proof of another origin", func(c *protocol.Call) { c.URL = "https://relay.example.cn" + path }, nil, protocol.CodeUnauthorized},
		{"proof of another body", func(c *protocol.Call) { c.Body = nil }, nil, protocol.CodeUnauthorized},
		{"altered body", nil, func(r *http.Request) { setBody(r, append(bytes.Clone(body), ' ')) }, protocol.CodeUnauthorized},
		{"query added", nil, func(r *http.Request) { r.URL.RawQuery = "a=1" }, protocol.CodeUnauthorized},
		{"no proof", nil, func(r *http.Request) { r.Header.Del(protocol.HeaderProof) }, protocol.CodeUnauthorized},
		{"no pass", nil, func(r *http.Request) { r.Header.Del(protocol.HeaderPass) }, protocol.CodeUnauthorized},
		{"two passes", nil, func(r *http.Request) { r.Header.Add(protocol.HeaderPass, r.Header.Get(protocol.HeaderPass)) }, protocol.CodeUnauthorized},
		{"two proofs", nil, func(r *http.Request) { r.Header.Add(protocol.HeaderProof, "x") }, protocol.CodeUnauthorized},
		{"another device's pass", nil, func(r *http.Request) { r.Header.Set(protocol.HeaderPass, other.pass) }, protocol.CodeUnauthorized},
		{"another issuer's pass", nil, func(r *http.Request) { r.Header.Set(protocol.HeaderPass, foreign.pass) }, protocol.CodeUnauthorized},
		{"garbage", nil, func(r *http.Request) { r.Header.Set(protocol.HeaderPass, "..") }, protocol.CodeUnauthorized},
		{"huge pass", nil, func(r *http.Request) { r.Header.Set(protocol.HeaderPass, strings.Repeat("A", 20_000)) }, protocol.CodeUnauthorized},
		{"signature, too", nil, func(r *http.Request) { r.Header.Set("Signature-Input", "sig1=()") }, protocol.CodeUnauthorized},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := w.newDevice("张三")
			d.alter = tc.alter
			req := d.request(http.MethodPost, path, body)
			if tc.edit != nil {
				tc.edit(req)
			}
			resp, err := w.do(req)
			must(t, err)
			wantCode(t, answer(resp, nil), tc.want)
		})
	}
	c.wantState(protocol.StatePending)
}

// TestBodyWithoutLength: a body that does not tell its length is bounded, too.
func TestBodyWithoutLength(t *testing.T) {
	w := newWorld(t)
	d := w.newDevice("张三")
	c := w.platform.created(protocol.KindLogin, false)
	for size, want := range map[int]protocol.Code{64 << 10: protocol.CodeMalformed, 64<<10 + 1: protocol.CodeTooLarge} {
		body := bytes.Repeat([]byte{' '}, size)
		req := d.request(http.MethodPost, c.path+"/claim", body)
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), -1
		resp, err := w.do(req)
		must(t, err)
		wantCode(t, answer(resp, nil), want)
	}
}

func TestPassAndProofTimes(t *testing.T) {
	w := newWorld(t)
	d := w.newDevice("张三")
	c := w.platform.created(protocol.KindLogin, false)
	body := encode(t, c.claimBody())
	post := func(req *http.Request) error {
		t.Helper()
		resp, err := w.do(req)
		must(t, err)
		return answer(resp, nil)
	}
	req := d.request(http.MethodPost, c.path+"/claim", body)
	w.clock.advance(61 * time.Second)
	e := wantCode(t, post(req), protocol.CodeClockSkew)
	if off := time.UnixMilli(e.ServerTime).Sub(w.clock.now()); off > time.Minute || off < -time.Minute {
		t.Fatalf("server time is %s off", off)
	}
	// a phone whose clock is ahead is told as well
	w.clock.advance(-200 * time.Second)
	ahead := d.request(http.MethodPost, c.path+"/claim", body)
	w.clock.advance(-200 * time.Second)
	d.renew(12 * time.Hour)
	ahead.Header.Set(protocol.HeaderPass, d.pass)
	if err := post(ahead); protocol.CodeOf(err) != protocol.CodeUnauthorized { // the proof binds the pass
		t.Fatal(err)
	}
	w.clock.advance(339 * time.Second)
	_, err := c.claim(d, c.claimBody()) // a pass that is verified for the first time
	must(t, err)
	w.clock.advance(12*time.Hour + time.Minute)
	_, err = c.claim(d, c.claimBody()) // the same pass, known to the relay, has expired
	wantCode(t, err, protocol.CodeUnauthorized)
	d.renew(time.Hour)
	_, err = c.claim(d, c.claimBody())
	wantCode(t, err, protocol.CodeExpired)
}

func TestDeniedDevice(t *testing.T) {
	w := newWorld(t)
	d := w.newDevice("张三")
	c := w.platform.created(protocol.KindLogin, false)
	c.claimed(d)
	must(t, w.store.DenyDevice(t.Context(), d.id, "lost", true))
	_, err := c.result(d, c.resultBody(d, 1, 100))
	wantCode(t, err, protocol.CodeForbidden)
	must(t, w.store.DenyDevice(t.Context(), d.id, "", false))
	_, err = c.result(d, c.resultBody(d, 1, 100))
	must(t, err)
}

func TestWrongClaimKey(t *testing.T) {
	w := newWorld(t, func(c *relay.Config) { c.Limits.WrongClaims = 3 })
	thief, owner := w.newDevice("李四"), w.newDevice("张三")
	c := w.platform.created(protocol.KindLogin, false)
	wrong := c.claimBody()
	wrong.KClaim = make([]byte, 32)
	for range 3 {
		_, err := c.claim(thief, wrong)
		wantCode(t, err, protocol.CodeClaimKey)
	}
	_, err := c.claim(thief, wrong)
	if e := wantCode(t, err, protocol.CodeRateLimited); e.RetryAfter == 0 {
		t.Error("no Retry-After")
	}
	// it counts for the device on every challenge, and for no other device on this one
	other := w.platform.created(protocol.KindLogin, false)
	_, err = other.claim(thief, wrong)
	wantCode(t, err, protocol.CodeRateLimited)
	c.claimed(owner)
	w.clock.advance(time.Minute)
	_, err = other.claim(thief, wrong)
	wantCode(t, err, protocol.CodeClaimKey)
	none := w.platform.newChallenge(protocol.KindLogin, false)
	_, err = none.claim(owner, none.claimBody())
	wantCode(t, err, protocol.CodeNotFound)
	short := c.claimBody()
	short.ClaimID = short.ClaimID[1:]
	_, err = c.claim(owner, short)
	wantCode(t, err, protocol.CodeMalformed)
}

func TestCallRate(t *testing.T) {
	w := newWorld(t, func(c *relay.Config) { c.Limits.CallsPerDevice = 3 })
	d := w.newDevice("张三")
	c := w.platform.created(protocol.KindLogin, false)
	for range 3 {
		c.claimed(d)
	}
	_, err := c.claim(d, c.claimBody())
	wantCode(t, err, protocol.CodeRateLimited)
	c.claimed2(w.newDevice("李四"), protocol.CodeClaimedByOther)
	w.clock.advance(time.Minute)
	c.claimed(d)
}

func (c *challenge) claimed2(d *device, want protocol.Code) {
	c.w.t.Helper()
	_, err := c.claim(d, c.claimBody())
	wantCode(c.w.t, err, want)
}

// TestSecondScan: another phone gets 409, the platform an event with a counter.
func TestSecondScan(t *testing.T) {
	w := newWorld(t)
	first, second := w.newDevice("张三"), w.newDevice("李四")
	c := w.platform.created(protocol.KindLogin, false)
	c.claimed(first)
	before := w.platform.feed("", 0)
	for range 2 {
		_, err := c.claim(second, c.claimBody())
		if e := wantCode(t, err, protocol.CodeClaimedByOther); e.Winner != nil {
			t.Fatal("the second phone was told of the first one's claim")
		}
	}
	page := w.platform.feed(before.Store, before.Next)
	if len(page.Events) != 1 || page.Events[0].SecondScans != 2 || page.Events[0].Device != first.id || page.Events[0].State != protocol.StateClaimed {
		t.Fatalf("events %+v", page.Events)
	}
	for range protocol.MaxSecondScans + 3 {
		_, err := c.claim(second, c.claimBody())
		wantCode(t, err, protocol.CodeClaimedByOther)
	}
	s := c.read()
	if s.SecondScans != protocol.MaxSecondScans {
		t.Fatalf("%d second scans", s.SecondScans)
	}
	_, err := c.result(second, c.resultBody(second, 1, 100))
	wantCode(t, err, protocol.CodeClaimedByOther)
	_, err = c.result(first, c.resultBody(first, 1, 100))
	must(t, err)
}

// TestClaimAgain: the same phone may scan again; earlier claims are then stale.
func TestClaimAgain(t *testing.T) {
	w := newWorld(t)
	d := w.newDevice("张三")
	c := w.platform.created(protocol.KindLogin, false)
	first := c.claimed(d)
	w.clock.advance(2 * time.Second)
	second := c.claimed(d)
	if second.ClaimSeq != 2 || second.ClaimUntil != first.ClaimUntil || second.Rev <= first.Rev {
		t.Fatalf("first %+v, second %+v", first, second)
	}
	_, err := c.result(d, c.resultBody(d, 1, 100))
	wantCode(t, err, protocol.CodeClaimSeq)
	if s := c.read(); s.AgeMS < 2000 || s.AgeMS > 60_000 {
		t.Fatalf("age %d ms since the first claim", s.AgeMS)
	}
	_, err = c.result(d, c.resultBody(d, 2, 100))
	must(t, err)
}

func TestReceiptRefused(t *testing.T) {
	w := newWorld(t)
	d := w.newDevice("张三")
	c := w.platform.created(protocol.KindLogin, false)
	c.claimed(d)
	foreign := newWorld(t).newDevice("王五")
	expired := w.newDevice("赵六")
	expired.user, expired.cert = w.authority.person(t, "赵六", time.Now().Add(-time.Minute))
	_, rootSigned := w.authority.key, w.authority.cert.Raw
	for name, b := range map[string]protocol.ResultBody{
		"another cid":       c.resultBody(d, 1, 100, func(r *protocol.Receipt) { r.CID[0]++ }),
		"another kind":      c.resultBody(d, 1, 100, func(r *protocol.Receipt) { r.Kind = protocol.KindSubmit }),
		"another platform":  c.resultBody(d, 1, 100, func(r *protocol.Receipt) { r.Platform = "p2" }),
		"another device":    c.resultBody(d, 1, 100, func(r *protocol.Receipt) { r.Device = foreign.id }),
		"another claim":     c.resultBody(d, 1, 100, func(r *protocol.Receipt) { r.ClaimSeq = 2 }),
		"another result":    c.resultBody(d, 1, 100, func(r *protocol.Receipt) { r.Result = make([]byte, 32) }),
		"another cert":      c.resultBody(d, 1, 100, func(r *protocol.Receipt) { r.Cert = make([]byte, 32) }),
		"a reason":          c.resultBody(d, 1, 100, func(r *protocol.Receipt) { r.Reason = "other" }),
		"too many":          c.resultBody(d, 1, 100, func(r *protocol.Receipt) { r.NOK = 501 }),
		"old":               c.resultBody(d, 1, 100, func(r *protocol.Receipt) { r.IAT -= 700 }),
		"of the future":     c.resultBody(d, 1, 100, func(r *protocol.Receipt) { r.IAT += 700 }),
		"foreign authority": c.resultBody(&device{w: w, id: d.id, cert: foreign.cert, user: foreign.user}, 1, 100),
		"expired":           c.resultBody(&device{w: w, id: d.id, cert: expired.cert, user: expired.user}, 1, 100),
		"the root itself":   c.resultBody(&device{w: w, id: d.id, cert: rootSigned, user: w.authority.key}, 1, 100),
		"another key":       c.resultBody(&device{w: w, id: d.id, cert: d.cert, user: foreign.user}, 1, 100),
		"altered box":       alterBox(c.resultBody(d, 1, 100)),
		"no chain":          withoutChain(c.resultBody(d, 1, 100)),
		"no certificate":    garbageChain(c.resultBody(d, 1, 100)),
	} {
		_, err := c.result(d, b)
		if protocol.CodeOf(err) != protocol.CodeReceiptInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	c.wantState(protocol.StateClaimed)
	// twice through the certificate cache: a wrong signature is refused although the certificate is known
	good := c.resultBody(d, 1, 100)
	bad := good
	bad.Receipt.Signature = bytes.Clone(good.Receipt.Signature)
	bad.Receipt.Signature[len(bad.Receipt.Signature)-1] ^= 1
	for range 2 {
		_, err := c.result(d, bad)
		wantCode(t, err, protocol.CodeReceiptInvalid)
	}
	_, err := c.result(d, good)
	must(t, err)
	// a known certificate expires all the same
	w.clock.advance(61 * time.Minute)
	d.renew(time.Hour)
	later := w.platform.created(protocol.KindLogin, false)
	later.claimed(d)
	_, err = later.result(d, later.resultBody(d, 1, 100))
	wantCode(t, err, protocol.CodeReceiptInvalid)
}

func alterBox(b protocol.ResultBody) protocol.ResultBody { b.Box[0] ^= 1; return b }

func withoutChain(b protocol.ResultBody) protocol.ResultBody { b.Receipt.Chain = nil; return b }

func garbageChain(b protocol.ResultBody) protocol.ResultBody {
	b.Receipt.Chain = []protocol.Bytes{[]byte("no certificate")}
	return b
}

func TestReject(t *testing.T) {
	w := newWorld(t)
	d, other := w.newDevice("张三"), w.newDevice("李四")
	c := w.platform.created(protocol.KindLogin, false)
	c.claimed(d)
	reject := func(from *device, b protocol.RejectBody) (protocol.ResultAnswer, error) {
		t.Helper()
		var a protocol.ResultAnswer
		return a, from.call(http.MethodPost, c.path+"/reject", b, &a)
	}
	good := protocol.RejectBody{ClaimSeq: 1, Reason: protocol.RejectNotMe, Receipt: c.deviceReceipt(d, 1, "not_me")}
	for name, b := range map[string]protocol.RejectBody{
		"receipt of another reason": {ClaimSeq: 1, Reason: protocol.RejectOther, Receipt: good.Receipt},
		"receipt of another key":    {ClaimSeq: 1, Reason: protocol.RejectNotMe, Receipt: *mustReceipt(t, c, other, d.id)},
		"a result's receipt":        {ClaimSeq: 1, Reason: protocol.RejectNotMe, Receipt: c.resultBody(d, 1, 100).Receipt},
	} {
		if _, err := reject(d, b); protocol.CodeOf(err) != protocol.CodeReceiptInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := reject(d, protocol.RejectBody{ClaimSeq: 1, Reason: "bored", Receipt: good.Receipt})
	wantCode(t, err, protocol.CodeMalformed)
	_, err = reject(other, protocol.RejectBody{ClaimSeq: 1, Reason: protocol.RejectNotMe, Receipt: c.deviceReceipt(other, 1, "not_me")})
	wantCode(t, err, protocol.CodeClaimedByOther)
	c.wantState(protocol.StateClaimed)

	first, err := reject(d, good)
	must(t, err)
	again, err := reject(d, good)
	must(t, err)
	must(t, protocol.VerifyPromise(w.ledgerKey.Public(), first.Promise, good.Receipt.Bytes))
	if first.State != protocol.StateRejected || again.Rev != first.Rev || !protocol.Equal(again.Promise.Head, first.Promise.Head) {
		t.Fatalf("rejected %+v, again %+v", first, again)
	}
	s := c.wantState(protocol.StateRejected)
	if s.Code != "not_me" || s.Receipt == nil || !protocol.Equal(s.Receipt.Bytes, good.Receipt.Bytes) {
		t.Fatalf("state %+v", s)
	}
	_, err = c.result(d, c.resultBody(d, 1, 100))
	if e := wantCode(t, err, protocol.CodeRejected); e.Winner == nil || e.Winner.State != protocol.StateRejected {
		t.Fatalf("loser got %+v", e)
	}
}

func mustReceipt(t *testing.T, c *challenge, signer *device, name string) *protocol.SignedReceipt {
	t.Helper()
	s, err := protocol.SignReceipt(signer.key, protocol.TagReject, protocol.Receipt{V: 1, CID: c.cid, Kind: c.body.Kind, Platform: c.p.id, Device: name,
		ClaimSeq: 1, Reason: "not_me", IAT: c.w.clock.now().Unix()}, nil)
	must(t, err)
	return s
}

func TestFailures(t *testing.T) {
	w := newWorld(t)
	d := w.newDevice("张三")
	// by the phone
	c := w.platform.created(protocol.KindLogin, false)
	c.claimed(d)
	var a protocol.ResultAnswer
	wantCode(t, d.call(http.MethodPost, c.path+"/fail", protocol.FailBody{Code: protocol.CodeCertRevoked, ClaimSeq: 1}, &a), protocol.CodeReceiptInvalid)
	receipt := c.deviceReceipt(d, 1, string(protocol.CodeCertRevoked))
	for range 2 {
		must(t, d.call(http.MethodPost, c.path+"/fail", protocol.FailBody{Code: protocol.CodeCertRevoked, ClaimSeq: 1, Receipt: &receipt}, &a))
	}
	if s := c.wantState(protocol.StateFailed); s.Code != string(protocol.CodeCertRevoked) || s.Promise == nil {
		t.Fatalf("state %+v", s)
	}
	// by the platform: the relay signs the receipt
	c = w.platform.created(protocol.KindLogin, false)
	c.claimed(d)
	fail := func(code protocol.Code) error {
		t.Helper()
		return w.platform.call(http.MethodPost, c.path+"/fail", protocol.FailBody{Code: code}, nil)
	}
	wantCode(t, fail("nonsense"), protocol.CodeMalformed)
	wantCode(t, w.platform.call(http.MethodPost, c.path+"/fail", protocol.FailBody{Code: protocol.CodeFrameStale, ClaimSeq: 1}, nil), protocol.CodeMalformed)
	must(t, fail(protocol.CodeFrameStale))
	must(t, fail(protocol.CodeFrameStale))
	wantCode(t, fail(protocol.CodeMatchFailed), protocol.CodeFrameStale)
	s := c.wantState(protocol.StateFailed)
	must(t, s.Receipt.Verify(w.ledgerKey.Public(), protocol.TagReject))
	must(t, protocol.VerifyPromise(w.ledgerKey.Public(), s.Promise, s.Receipt.Bytes))
	// the platform's verdict on a stored result
	c = w.platform.created(protocol.KindLogin, false)
	c.claimed(d)
	_, err := c.result(d, c.resultBody(d, 1, 100))
	must(t, err)
	must(t, fail(protocol.CodeStatementSignature))
	c.wantState(protocol.StateFailed)
	// cancel before and after the claim
	for _, claimed := range []bool{false, true} {
		c = w.platform.created(protocol.KindLogin, false)
		if claimed {
			c.claimed(d)
		}
		for range 2 {
			must(t, w.platform.call(http.MethodPost, c.path+"/cancel", nil, nil))
		}
		if s := c.wantState(protocol.StateCanceled); (s.Promise != nil) != claimed {
			t.Fatalf("claimed %t, promise %v", claimed, s.Promise)
		}
		_, err := c.claim(d, c.claimBody())
		wantCode(t, err, protocol.CodeCanceled)
	}
	report, err := relay.VerifyLedger(t.Context(), w.store, w.ledgerKey.Public(), nil)
	must(t, err)
	if report.Entries != 4 { // one for each end of a claim; a verdict on a result is no second end
		t.Fatalf("%d entries", report.Entries)
	}
}

// TestTwoPhases: open, wrong digits back to claimed, open, ready, result.
func TestTwoPhases(t *testing.T) {
	w := newWorld(t)
	d := w.newDevice("张三")
	c := w.platform.created(protocol.KindLogin, true)
	claim := c.claimBody()
	_, err := c.claim(d, claim)
	must(t, err)
	_, err = c.result(d, c.resultBody(d, 1, 100))
	wantCode(t, err, protocol.CodeNotReady)

	open := func(seq uint32) protocol.OpenBody {
		t.Helper()
		kem, err := protocol.Random(140)
		must(t, err)
		box, err := protocol.Random(60)
		must(t, err)
		return protocol.OpenBody{ClaimSeq: seq, KEM: kem, Box: box}
	}
	ready := func(seq uint32, next protocol.State) protocol.ReadyBody {
		t.Helper()
		box, err := protocol.Random(60)
		must(t, err)
		return protocol.ReadyBody{ClaimSeq: seq, Next: next, Box: box}
	}
	put := func(b protocol.ReadyBody) (protocol.ChallengeState, error) {
		t.Helper()
		var s protocol.ChallengeState
		return s, w.platform.call(http.MethodPut, c.path+"/ready", b, &s)
	}
	post := func(b protocol.OpenBody) (protocol.ChallengeState, error) {
		t.Helper()
		var s protocol.ChallengeState
		return s, d.call(http.MethodPost, c.path+"/open", b, &s)
	}
	_, err = put(ready(1, protocol.StateReady))
	wantCode(t, err, protocol.CodeWrongState)
	one := open(1)
	s, err := post(one)
	must(t, err)
	again, err := post(one)
	must(t, err)
	if s.State != protocol.StateOpened || again.Rev != s.Rev || !protocol.Equal(s.Open.Box, one.Box) {
		t.Fatalf("opened %+v, again %+v", s, again)
	}
	_, err = post(open(1))
	wantCode(t, err, protocol.CodeWrongState)
	wrong := ready(1, protocol.StateClaimed)
	s, err = put(wrong)
	must(t, err)
	again, err = put(wrong)
	must(t, err)
	if s.State != protocol.StateClaimed || s.ClaimSeq != 2 || again.Rev != s.Rev || s.Open != nil || !protocol.Equal(s.Ready.Box, wrong.Box) || s.Ready.ClaimSeq != 1 {
		t.Fatalf("back to %+v, again %+v", s, again)
	}
	a, err := c.claim(d, claim) // the phone's claim id stays good
	must(t, err)
	if a.ClaimSeq != 2 {
		t.Fatalf("claim %d", a.ClaimSeq)
	}
	_, err = post(open(1))
	wantCode(t, err, protocol.CodeClaimSeq)
	two := open(2)
	_, err = post(two)
	must(t, err)
	_, err = put(ready(2, "opened"))
	wantCode(t, err, protocol.CodeMalformed)
	s, err = put(ready(2, protocol.StateReady))
	must(t, err)
	if s.State != protocol.StateReady {
		t.Fatalf("state %s", s.State)
	}
	other := c.resultBody(d, 2, 100) // with another kem than the open
	_, err = c.result(d, other)
	wantCode(t, err, protocol.CodeMalformed)
	_, err = c.result(d, c.signResult(d, protocol.ResultBody{ClaimSeq: 2, KEM: two.KEM, Box: other.Box}))
	must(t, err)
	c.wantState(protocol.StateFulfilled)
}
