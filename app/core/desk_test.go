package core_test

import (
	"testing"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
)

// desk plays the platform: it makes a login and judges what comes back, with
// protocol and trust alone.
type desk struct {
	t       testing.TB
	relay   *relay
	signer  signer
	digits  string
	tries   int
	request *protocol.Request
	rh      []byte
	ks      *protocol.KeySet
	e       *sm2.PrivateKey
	kFrame  []byte
	link    string
	at      *challenge
}

// order is what a test changes of an ordinary login. All fields may be nil.
type order struct {
	signer   *signer                       // another platform certificate
	chain    []protocol.Bytes              // instead of signer's
	ocsp     []byte                        // instead of a fresh one
	change   func(*protocol.Request)       // of the request
	sealed   func(*protocol.SealedRequest) // after signing
	animated bool
	digits   string
}

func (w *world) login(o order) *desk {
	w.t.Helper()
	d := &desk{t: w.t, relay: w.relay, signer: w.platform, digits: o.digits, tries: protocol.MatchTries}
	if o.signer != nil {
		d.signer = *o.signer
	}
	secret, err := protocol.NewSecret()
	must(w.t, err)
	d.ks, err = protocol.Derive(secret)
	must(w.t, err)
	raw := d.newRequest(w, o)
	sr, err := protocol.SignRequest(d.signer.key, raw)
	must(w.t, err)
	sealed := protocol.SealedRequest{Request: raw, Signature: sr, Chain: w.authority.chain(d.signer.cert), OCSP: o.ocsp}
	if o.chain != nil {
		sealed.Chain = o.chain
	}
	if o.ocsp == nil {
		sealed.OCSP = w.authority.ocsp(d.signer.cert)
	}
	d.rh = protocol.Commit(raw, sealed.Chain[0])
	if o.sealed != nil {
		o.sealed(&sealed)
	}
	d.place(secret, sealed, o.animated)
	return d
}

func (d *desk) newRequest(w *world, o order) []byte {
	nonce, err := protocol.Random(protocol.NonceSize)
	must(d.t, err)
	var e []byte
	d.e, e, err = protocol.NewEphemeral()
	must(d.t, err)
	now := w.clock.now.Unix()
	limit := int64((protocol.PendingLimit + protocol.ClaimLimit(protocol.KindLogin)).Seconds())
	d.request = &protocol.Request{V: 1, CID: d.ks.CID, Kind: protocol.KindLogin, Platform: platformID,
		Key: protocol.KeyID(d.signer.cert.RawSubjectPublicKeyInfo), Nonce: nonce, IAT: now, EXP: now + limit, E: e,
		Display:   []string{"登录示例电子交易平台"},
		Initiator: &protocol.Initiator{Region: "福建省福州市", Origin: "https://bid.example.cn"},
		Policy:    protocol.Policy{Match: protocol.MatchNone}}
	if o.digits != "" {
		d.request.Policy = protocol.Policy{Match: protocol.MatchType, TwoPhase: true}
	}
	if o.change != nil {
		o.change(d.request)
	}
	raw, err := protocol.EncodeJSON(d.request)
	must(d.t, err)
	return raw
}

// place seals the request, stores it at the relay and makes the code.
func (d *desk) place(secret []byte, sealed protocol.SealedRequest, animated bool) {
	boxR, err := protocol.SealRequest(d.ks, sealed)
	must(d.t, err)
	kind := d.request.Kind
	if !kind.Known() {
		kind = protocol.KindLogin
	}
	d.at = d.relay.create(d.ks.CID, protocol.CreateBody{BoxR: boxR, HClaim: protocol.H(d.ks.KClaim), HWatch: make([]byte, 32),
		Kind: kind, TwoPhase: d.request.Policy.TwoPhase, Deadlines: protocol.DefaultDeadlines(kind)})
	payload := protocol.Payload{Secret: secret, RH16: d.rh[:16]}
	if animated {
		d.kFrame, err = protocol.Random(protocol.FrameKeySize)
		must(d.t, err)
		f := protocol.NewFrame(d.kFrame, d.ks.CID, 0)
		payload.Frame = &f
	}
	d.link, err = payload.Encode(appOrigin)
	must(d.t, err)
	d.relay.onOpen = d.judgeOpen
}

func (d *desk) keys(seq uint32, kem []byte) *protocol.ClaimKeys {
	d.t.Helper()
	k, err := protocol.OpenClaim(d.ks, protocol.Context{CID: d.ks.CID, RH: d.rh, ClaimSeq: seq, E: d.request.E}, d.e, kem)
	must(d.t, err)
	return k
}

// judgeOpen is the platform's answer to an open.
func (d *desk) judgeOpen(c *challenge) {
	k := d.keys(c.open.ClaimSeq, c.open.KEM)
	var got protocol.OpenBox
	must(d.t, k.Open(protocol.BoxOpen, c.open.Box, &got))
	next, answer := protocol.StateReady, protocol.ReadyBox{Code: protocol.ReadyOK, TriesLeft: d.tries}
	if got.Digits != d.digits {
		d.tries--
		next, answer = protocol.StateClaimed, protocol.ReadyBox{Code: protocol.ReadyMatch, TriesLeft: d.tries}
	}
	if d.tries == 0 {
		failed, err := c.p.FailByPlatform(d.relay.ms(), protocol.CodeMatchFailed)
		must(d.t, err)
		c.p = failed
		c.rev++
		return
	}
	box, err := k.Seal(protocol.BoxReady, answer)
	must(d.t, err)
	d.relay.answerOpen(c, protocol.ReadyBody{ClaimSeq: c.open.ClaimSeq, Next: next, Box: box})
}

// collect verifies the stored result as a platform does.
func (d *desk) collect() (*protocol.Statement, protocol.ResultBox) {
	d.t.Helper()
	if d.at.final == nil {
		d.t.Fatalf("no result; the challenge is %s %s", d.at.p.State, d.at.p.Code)
	}
	var box protocol.ResultBox
	must(d.t, d.keys(d.at.final.ClaimSeq, d.at.final.KEM).Open(protocol.BoxResult, d.at.final.Box, &box))
	var ders [][]byte
	for _, der := range box.Chain {
		ders = append(ders, der)
	}
	chain, err := trust.ParseChain(ders)
	must(d.t, err)
	verified, err := d.relay.store.Verify(chain, trust.VerifyOptions{Time: d.relay.now(), Usage: trust.Signing})
	must(d.t, err)
	statement, err := protocol.CheckStatement(box.Statement, box.Shown, protocol.Expected{Request: d.request, RH: d.rh,
		ClaimSeq: d.at.final.ClaimSeq, PlatformName: platformName, Cert: chain[0].Raw})
	must(d.t, err)
	must(d.t, protocol.VerifyStatement(chain[0].PublicKey, box.Statement, box.Signature))
	if len(box.OCSP) > 0 {
		status, err := trust.VerifyOCSP(box.OCSP, verified.Leaf(), verified.Issuer(), trust.OCSPOptions{Now: d.relay.now(), Skew: protocol.MaxSkew})
		must(d.t, err)
		must(d.t, status.Err())
	}
	return statement, box
}

// ended expects the challenge to have failed with a code, with the device's receipt.
func (d *desk) ended(state protocol.State, code protocol.Code) {
	d.t.Helper()
	if d.at.p.State != state || d.at.p.Code != code {
		d.t.Fatalf("the challenge is %s %q, want %s %q", d.at.p.State, d.at.p.Code, state, code)
	}
	if d.at.rcpt == nil {
		d.t.Fatal("no receipt of the device")
	}
	r, err := d.at.rcpt.Parse()
	must(d.t, err)
	if r.Reason != string(code) || r.CID != d.ks.CID || len(r.Cert) != 0 || len(r.Result) != 0 {
		d.t.Fatalf("receipt %+v", r)
	}
}
