package sdktest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// Phone scans codes and signs. It checks what a phone has to check before it
// signs, and refuses with the protocol's codes.
type Phone struct {
	// Alter, when set, changes a result after it was signed and before it is
	// sealed: what a phone or whoever saw the code could send.
	Alter func(*protocol.ResultBox)

	env       *Env
	authority *Authority
	holder    certified
	device    *ecdsa.PrivateKey
	deviceID  string
	pass      string
	anchors   *trust.Store
}

func newPhone(e *Env, a *Authority, holder certified) (*Phone, error) {
	p := &Phone{env: e, authority: a, holder: holder}
	var err error
	if p.device, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("draw device key: %w", err)
	}
	spki, err := protocol.MarshalKey(p.device.Public())
	if err != nil {
		return nil, err
	}
	p.deviceID = protocol.DeviceID(spki)
	if p.anchors, err = e.Authority.Anchors(); err != nil {
		return nil, err
	}
	p.pass, err = e.Relay.pass(spki, p.deviceID)
	return p, err
}

// pass issues a device pass for a whole test.
func (r *Relay) pass(spki []byte, device string) (string, error) {
	now := r.clock.Now()
	return protocol.IssuePass(r.issuer, protocol.Pass{V: protocol.Version, Iss: "sdktest", Device: device, Alg: protocol.AlgES256, Key: spki,
		Account: "a-" + device, IAT: now.Unix(), EXP: now.Add(protocol.MaxPassLife).Unix()})
}

// Certificate is what the phone signs with.
func (p *Phone) Certificate() *smx509.Certificate { return p.holder.cert }

// Scan is a claimed challenge on the phone, request verified.
type Scan struct {
	Request *protocol.Request
	Shown   []string // what the person reads
	Seq     uint32   // of this claim

	phone   *Phone
	payload *protocol.Payload
	opened  *protocol.OpenedRequest
	keys    *protocol.ClaimKeys
}

// Approve scans and signs a request without digits.
func (p *Phone) Approve(ctx context.Context, payload string) error {
	s, err := p.Scan(ctx, payload)
	if err != nil {
		return err
	}
	return s.Approve(ctx)
}

// ApproveWithDigits scans, sends the digits and signs. Wrong digits are
// CodeMatchWrong, the third time CodeMatchFailed.
func (p *Phone) ApproveWithDigits(ctx context.Context, payload, digits string) error {
	s, err := p.Scan(ctx, payload)
	if err != nil {
		return err
	}
	if err := s.Digits(ctx, digits); err != nil {
		return err
	}
	return s.Approve(ctx)
}

// Reject scans and rejects.
func (p *Phone) Reject(ctx context.Context, payload string, reason protocol.RejectReason) error {
	s, err := p.Scan(ctx, payload)
	if err != nil {
		return err
	}
	return s.Reject(ctx, reason)
}

// Scan claims a challenge and verifies its request.
func (p *Phone) Scan(ctx context.Context, payload string) (*Scan, error) {
	parsed, err := protocol.ParsePayload(payload, []string{App})
	if err != nil {
		return nil, err
	}
	ks, err := protocol.Derive(parsed.Secret)
	if err != nil {
		return nil, err
	}
	id, err := protocol.Random(16)
	if err != nil {
		return nil, err
	}
	claim := protocol.ClaimBody{KClaim: ks.KClaim, ClaimID: id}
	if parsed.Frame != nil {
		claim.Frame = parsed.Frame.Bytes()
	}
	var a protocol.ClaimAnswer
	if err := p.call(ctx, http.MethodPost, ks.CID, "/claim", claim, &a); err != nil {
		return nil, err
	}
	opened, err := protocol.OpenRequest(ks, parsed.RH16, a.BoxR)
	if err != nil {
		return nil, err
	}
	name, err := p.checkPlatform(opened)
	if err != nil {
		return nil, err
	}
	s := &Scan{phone: p, payload: parsed, opened: opened, Request: opened.Request, Shown: protocol.ShownLines(opened.Request, name), Seq: a.ClaimSeq}
	s.keys, err = protocol.NewClaim(ks, protocol.Context{CID: ks.CID, RH: opened.RH, ClaimSeq: a.ClaimSeq, E: opened.Request.E})
	return s, err
}

// checkPlatform verifies who asks, and returns its name.
func (p *Phone) checkPlatform(opened *protocol.OpenedRequest) (string, error) {
	now := p.env.Clock.Now()
	ders := make([][]byte, len(opened.Sealed.Chain))
	for i, der := range opened.Sealed.Chain {
		ders[i] = der
	}
	chain, err := trust.ParseChain(ders)
	if err != nil {
		return "", protocol.Errorf(protocol.CodePlatformUntrusted, "%v", err)
	}
	v, err := p.anchors.Verify(chain, trust.VerifyOptions{Time: now, Usage: trust.PlatformRequest})
	if err != nil {
		return "", protocol.Errorf(protocol.CodePlatformUntrusted, "%v", err)
	}
	who, err := trust.ReadIdentity(v)
	if err != nil || who.PlatformID != opened.Request.Platform {
		return "", protocol.Errorf(protocol.CodePlatformUntrusted, "certificate of %q: %v", who.PlatformID, err)
	}
	if err := protocol.VerifyRequest(v.Leaf().PublicKey, opened.Sealed.Request, opened.Sealed.Signature); err != nil {
		return "", err
	}
	status, err := trust.VerifyOCSP(opened.Sealed.OCSP, v.Leaf(), v.Issuer(), trust.OCSPOptions{Now: now, MaxAge: 24 * time.Hour, AllowPastNextUpdate: true, Skew: time.Minute})
	if err != nil {
		return "", protocol.Errorf(protocol.CodeStatusStale, "%v", err)
	}
	if err := status.Err(); err != nil {
		return "", protocol.Errorf(protocol.CodePlatformRevoked, "%v", err)
	}
	if t := now.Unix(); t > opened.Request.EXP {
		return "", protocol.Errorf(protocol.CodeExpired, "request valid until %d", opened.Request.EXP)
	}
	return who.CommonName, nil
}

// Digits sends what the person typed and waits for the platform's answer.
func (s *Scan) Digits(ctx context.Context, digits string) error {
	box, err := s.keys.Seal(protocol.BoxOpen, protocol.OpenBox{Digits: digits})
	if err != nil {
		return err
	}
	cid := s.Request.CID
	var st protocol.ChallengeState
	if err := s.phone.call(ctx, http.MethodPost, cid, "/open", protocol.OpenBody{ClaimSeq: s.Seq, KEM: s.keys.KEM, Box: box}, &st); err != nil {
		return err
	}
	for st.State == protocol.StateOpened {
		path := fmt.Sprintf("?after=%d&wait=%d", st.Rev, protocol.MaxWait)
		st = protocol.ChallengeState{}
		if err := s.phone.call(ctx, http.MethodGet, cid, path, nil, &st); err != nil {
			return err
		}
	}
	if st.State == protocol.StateFailed {
		return protocol.Errorf(protocol.Code(st.Code), "the platform ended it")
	}
	if st.Ready == nil || st.Ready.ClaimSeq != s.Seq {
		return protocol.Errorf(protocol.CodeWrongState, "no answer to claim %d in state %s", s.Seq, st.State)
	}
	var ready protocol.ReadyBox
	if err := s.keys.Open(protocol.BoxReady, st.Ready.Box, &ready); err != nil {
		return err
	}
	if ready.Code != protocol.ReadyOK {
		return protocol.Errorf(protocol.CodeMatchWrong, "%d tries left", ready.TriesLeft)
	}
	return nil
}

// Approve signs the statement and the receipt and sends them.
func (s *Scan) Approve(ctx context.Context) error {
	body, err := s.Sign(ctx)
	if err != nil {
		return err
	}
	var a protocol.ResultAnswer
	return s.phone.call(ctx, http.MethodPost, s.Request.CID, "/result", body, &a)
}

// Sign makes the result without sending it.
func (s *Scan) Sign(ctx context.Context) (*protocol.ResultBody, error) {
	p, r := s.phone, s.Request
	now := p.env.Clock.Now().Unix()
	statement := protocol.Statement{V: protocol.Version, Typ: r.Kind, Aud: r.Platform, CID: r.CID, RH: s.opened.RH, Nonce: r.Nonce,
		ClaimSeq: s.Seq, Cert: protocol.H(p.holder.cert.Raw), Device: p.deviceID, Shown: protocol.ShownDigest(s.Shown), NOK: 1, IAT: now, App: "sdktest/1"}
	if s.payload.Frame != nil {
		statement.Frame = s.payload.Frame.Bytes()
	}
	raw, err := protocol.EncodeJSON(statement)
	if err != nil {
		return nil, err
	}
	box := protocol.ResultBox{Statement: raw, Shown: s.Shown}
	if box.Signature, err = protocol.Sign(p.holder.key, protocol.StatementMessage(raw)); err != nil {
		return nil, err
	}
	for _, cert := range p.authority.chain(p.holder.cert) {
		box.Chain = append(box.Chain, cert.Raw)
	}
	if staple, err := p.authority.OCSP(ctx, p.holder.cert, p.authority.issuing.cert); err == nil {
		box.OCSP = staple
	}
	if p.Alter != nil {
		p.Alter(&box)
	}
	body := &protocol.ResultBody{ClaimSeq: s.Seq, KEM: s.keys.KEM}
	if body.Box, err = s.keys.Seal(protocol.BoxResult, box); err != nil {
		return nil, err
	}
	receipt, err := protocol.SignReceipt(p.holder.key, protocol.TagReceipt, protocol.Receipt{V: protocol.Version, CID: r.CID, Kind: r.Kind,
		Platform: r.Platform, Cert: statement.Cert, Device: p.deviceID, ClaimSeq: s.Seq, NOK: 1, IAT: now,
		Result: protocol.ResultDigest(r.CID, s.Seq, body.KEM, body.Box)}, box.Chain)
	if err != nil {
		return nil, err
	}
	body.Receipt = *receipt
	return body, nil
}

// Reject tells the relay that the person does not want it.
func (s *Scan) Reject(ctx context.Context, reason protocol.RejectReason) error {
	p, r := s.phone, s.Request
	receipt, err := protocol.SignReceipt(p.device, protocol.TagReject, protocol.Receipt{V: protocol.Version, CID: r.CID, Kind: r.Kind,
		Platform: r.Platform, Device: p.deviceID, ClaimSeq: s.Seq, Reason: string(reason), NFail: 1, IAT: p.env.Clock.Now().Unix()}, nil)
	if err != nil {
		return err
	}
	var a protocol.ResultAnswer
	return p.call(ctx, http.MethodPost, r.CID, "/reject", protocol.RejectBody{ClaimSeq: s.Seq, Reason: reason, Receipt: *receipt}, &a)
}

// call makes a phone's call with pass and proof.
func (p *Phone) call(ctx context.Context, method string, cid protocol.CID, rest string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = protocol.EncodeJSON(in); err != nil {
			return err
		}
	}
	url := p.env.Relay.URL() + "/v1/challenges/" + cid.String() + rest
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	proof, err := protocol.NewProof(p.device, p.pass, protocol.Call{Method: method, URL: url, Body: body}, p.env.Clock.Now())
	if err != nil {
		return err
	}
	req.Header.Set(protocol.HeaderPass, p.pass)
	req.Header.Set(protocol.HeaderProof, proof)
	resp, err := p.env.Relay.server.Client().Do(req)
	if err != nil {
		return protocol.Errorf(protocol.CodeNetwork, "%v", err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, protocol.MaxDocument))
	if err != nil {
		return protocol.Errorf(protocol.CodeNetwork, "%v", err)
	}
	if resp.StatusCode == http.StatusOK {
		return protocol.DecodeJSON(raw, out)
	}
	var problem protocol.Problem
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), protocol.ProblemType) || protocol.DecodeJSON(raw, &problem) != nil {
		return protocol.Errorf(protocol.CodeNetwork, "the relay answered %s", resp.Status)
	}
	return problem.Err()
}
