package core_test

import (
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/app/core"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
)

func reply(t testing.TB, v any) core.Answer {
	t.Helper()
	raw, err := protocol.EncodeJSON(v)
	must(t, err)
	return core.Answer{Status: 200, Body: raw}
}

func refuse(err error) core.Answer {
	p := protocol.ProblemOf(err)
	raw, encodeErr := protocol.EncodeJSON(p)
	if encodeErr != nil {
		panic(encodeErr)
	}
	return core.Answer{Status: p.Status, Body: raw}
}

// challenge is one at the relay.
type challenge struct {
	terms protocol.Terms
	p     protocol.Progress
	boxR  []byte
	claim []byte // H(k_claim)
	rev   int64
	open  *protocol.KEMBox
	ready *protocol.ReadyBody
	final *protocol.ResultBody
	rcpt  *protocol.SignedReceipt // of a rejection or failure
}

// relay plays the relay's phone API over the pure state machine of protocol.
type relay struct {
	t      testing.TB
	clock  *clock
	skew   time.Duration // of the relay's clock from the world's
	passes func(text string) (*protocol.VerifiedPass, error)
	store  *trust.Store
	ledger *sm2.PrivateKey
	head   []byte
	index  uint64
	all    map[protocol.CID]*challenge
	// onOpen is the platform's reaction to an open, run when the phone reads.
	onOpen func(c *challenge)
	claims int // claim calls answered
}

func newRelay(t testing.TB, c *clock, a *authority) *relay {
	t.Helper()
	store, err := trust.NewStore(trust.DocumentationAuthority(a.root.cert))
	must(t, err)
	r := &relay{t: t, clock: c, store: store, ledger: a.key(), head: make([]byte, 32), all: map[protocol.CID]*challenge{}}
	r.passes = func(text string) (*protocol.VerifiedPass, error) {
		return protocol.VerifyPass(&a.passKey.PublicKey, text, r.now())
	}
	return r
}

func (r *relay) now() time.Time { return r.clock.now.Add(r.skew) }
func (r *relay) ms() int64      { return r.now().UnixMilli() }

// create stores a challenge as a platform does.
func (r *relay) create(cid protocol.CID, body protocol.CreateBody) *challenge {
	r.t.Helper()
	must(r.t, body.Check())
	c := &challenge{terms: body.Terms(), boxR: body.BoxR, claim: body.HClaim, rev: 1}
	c.p = protocol.Begin(c.terms, r.ms())
	r.all[cid] = c
	return c
}

func (r *relay) serve(call core.Call) core.Answer {
	path := call.URL[len(relayOrigin):]
	if path == "/v1/info" {
		spki, err := protocol.MarshalKey(&r.ledger.PublicKey)
		must(r.t, err)
		return reply(r.t, protocol.RelayInfo{Version: 1, Origin: relayOrigin, LedgerKey: spki, ServerTime: r.ms()})
	}
	v, err := r.passes(call.Header[protocol.HeaderPass])
	if err != nil {
		return refuse(err)
	}
	if err := protocol.VerifyProof(v, call.Header[protocol.HeaderProof], protocol.Call{Method: call.Method, URL: call.URL, Body: call.Body}, r.now()); err != nil {
		return refuse(err)
	}
	path, _, _ = strings.Cut(strings.TrimPrefix(path, "/v1/challenges/"), "?")
	id, action, _ := strings.Cut(path, "/")
	cid, err := protocol.ParseCID(id)
	must(r.t, err)
	c := r.all[cid]
	if c == nil {
		return refuse(protocol.Errorf(protocol.CodeNotFound, "no such challenge"))
	}
	answer, err := r.act(c, cid, v, action, call.Body)
	if err != nil {
		return refuse(err)
	}
	return reply(r.t, answer)
}

func (r *relay) act(c *challenge, cid protocol.CID, v *protocol.VerifiedPass, action string, body []byte) (any, error) {
	switch action {
	case "":
		if c.p.State == protocol.StateOpened && r.onOpen != nil {
			r.onOpen(c)
		}
		return r.state(cid, c), nil
	case "claim":
		return r.takeClaim(c, v.Device, body)
	case "open":
		return r.takeOpen(c, cid, v.Device, body)
	case "result":
		return r.takeResult(c, cid, v.Device, body)
	case "reject":
		var b protocol.RejectBody
		must(r.t, protocol.DecodeJSON(body, &b))
		next, err := c.p.Reject(r.ms(), v.Device, b.ClaimSeq, b.Reason)
		return r.end(c, next, err, &b.Receipt, v)
	case "fail":
		var b protocol.FailBody
		must(r.t, protocol.DecodeJSON(body, &b))
		next, err := c.p.FailByPhone(r.ms(), v.Device, b.ClaimSeq, b.Code)
		return r.end(c, next, err, b.Receipt, v)
	}
	return nil, protocol.Errorf(protocol.CodeNotFound, "action")
}

func (r *relay) takeClaim(c *challenge, device string, body []byte) (any, error) {
	var b protocol.ClaimBody
	must(r.t, protocol.DecodeJSON(body, &b))
	if !protocol.Equal(protocol.H(b.KClaim), c.claim) {
		return nil, protocol.Errorf(protocol.CodeClaimKey, "wrong")
	}
	next, err := c.p.Claim(c.terms, r.ms(), device, b.ClaimID, b.Frame)
	c.p = next
	if err != nil {
		return nil, err
	}
	r.claims++
	c.rev++
	return protocol.ClaimAnswer{BoxR: c.boxR, ServerTime: r.ms(), ClaimSeq: c.p.ClaimSeq, Rev: c.rev, ClaimUntil: c.p.ClaimUntil}, nil
}

func (r *relay) takeOpen(c *challenge, cid protocol.CID, device string, body []byte) (any, error) {
	var b protocol.OpenBody
	must(r.t, protocol.DecodeJSON(body, &b))
	next, err := c.p.Open(c.terms, r.ms(), device, b.ClaimSeq, protocol.H(body))
	if err != nil {
		return nil, err
	}
	c.p, c.open = next, &protocol.KEMBox{ClaimSeq: b.ClaimSeq, KEM: b.KEM, Box: b.Box, Size: len(b.Box)}
	c.rev++
	return r.state(cid, c), nil
}

// answerOpen stores the platform's ready.
func (r *relay) answerOpen(c *challenge, b protocol.ReadyBody) {
	r.t.Helper()
	raw, err := protocol.EncodeJSON(b)
	must(r.t, err)
	next, err := c.p.Ready(r.ms(), b.ClaimSeq, b.Next, protocol.H(raw))
	must(r.t, err)
	c.p, c.ready = next, &b
	c.rev++
}

func (r *relay) takeResult(c *challenge, cid protocol.CID, device string, body []byte) (any, error) {
	var b protocol.ResultBody
	must(r.t, protocol.DecodeJSON(body, &b))
	digest := protocol.ResultDigest(cid, b.ClaimSeq, b.KEM, b.Box)
	if err := r.checkReceipt(&b.Receipt, digest); err != nil {
		return nil, err
	}
	next, err := c.p.Fulfil(c.terms, r.ms(), device, b.ClaimSeq, digest)
	if err != nil {
		refusal := protocol.Errorf(protocol.CodeOf(err), "%v", err)
		if st := r.state(cid, c); c.final != nil {
			refusal.Winner = &st
		}
		return nil, refusal
	}
	if c.final == nil {
		c.p, c.final = next, &b
		c.rev++
	}
	return protocol.ResultAnswer{State: c.p.State, Rev: c.rev, Promise: r.promise(b.Receipt.Bytes)}, nil
}

// checkReceipt holds what a relay holds of a result's receipt.
func (r *relay) checkReceipt(s *protocol.SignedReceipt, digest []byte) error {
	receipt, err := s.Parse()
	if err != nil {
		return err
	}
	var ders [][]byte
	for _, der := range s.Chain {
		ders = append(ders, der)
	}
	chain, err := trust.ParseChain(ders)
	must(r.t, err)
	if _, err := r.store.Verify(chain, trust.VerifyOptions{Time: r.now(), Usage: trust.Signing}); err != nil {
		return protocol.Errorf(protocol.CodeReceiptInvalid, "%v", err)
	}
	if !protocol.Equal(receipt.Result, digest) || !protocol.Equal(receipt.Cert, protocol.H(chain[0].Raw)) {
		return protocol.Errorf(protocol.CodeReceiptInvalid, "digest")
	}
	return s.Verify(chain[0].PublicKey, protocol.TagReceipt)
}

// end takes a rejection or failure with the device's receipt.
func (r *relay) end(c *challenge, next protocol.Progress, err error, s *protocol.SignedReceipt, v *protocol.VerifiedPass) (any, error) {
	if err != nil {
		return nil, err
	}
	if _, err := s.Parse(); err != nil {
		return nil, err
	}
	if err := s.Verify(v.Public, protocol.TagReject); err != nil {
		return nil, err
	}
	c.p, c.rcpt = next, s
	c.rev++
	return protocol.ResultAnswer{State: c.p.State, Rev: c.rev, Promise: r.promise(s.Bytes)}, nil
}

func (r *relay) promise(receipt []byte) *protocol.Promise {
	salt, err := protocol.Random(32)
	must(r.t, err)
	p := &protocol.Promise{Index: r.index, Salt: salt, Entry: protocol.LedgerEntry(receipt, salt)}
	p.Head = protocol.LedgerHead(r.head, r.index, p.Entry)
	p.Signature, err = protocol.Sign(r.ledger, protocol.PromiseMessage(p))
	must(r.t, err)
	r.head, r.index = p.Head, r.index+1
	return p
}

func (r *relay) state(cid protocol.CID, c *challenge) protocol.ChallengeState {
	st := protocol.ChallengeState{CID: cid, Kind: c.terms.Kind, State: c.p.State, Rev: c.rev, Code: string(c.p.Code), ClaimSeq: c.p.ClaimSeq,
		Device: c.p.Device, Open: c.open, Ready: c.ready, PendingUntil: c.p.PendingUntil, Now: r.ms()}
	if c.final != nil {
		st.Result = &protocol.StoredResult{Digest: c.p.ResultDigest, Receipt: c.final.Receipt,
			KEMBox: protocol.KEMBox{ClaimSeq: c.final.ClaimSeq, KEM: c.final.KEM, Box: c.final.Box, Size: len(c.final.Box)}}
	}
	return st
}
