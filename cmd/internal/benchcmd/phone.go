package benchcmd

import (
	"bytes"
	"context"
	"crypto"
	"fmt"
	"net/http"
	"time"

	"github.com/bidseal/bidseal/internal/httpapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// benchPhone is a phone without keystore and screen: its keys lie open, so
// that a run measures the exchange and not Argon2id. Everything it sends is
// what a phone sends, with real keys and certificates.
type benchPhone struct {
	http    *http.Client
	relay   string
	app     string
	anchors *trust.Store
	device  crypto.Signer
	pass    string
	signer  crypto.Signer
	chain   []protocol.Bytes // signing certificate first
}

// approve scans a payload and signs in.
func (p *benchPhone) approve(ctx context.Context, payload string) error {
	scanned, err := protocol.ParsePayload(payload, []string{p.app})
	if err != nil {
		return err
	}
	ks, err := protocol.Derive(scanned.Secret)
	if err != nil {
		return err
	}
	defer ks.Wipe()
	id, err := protocol.Random(16)
	if err != nil {
		return err
	}
	claim := protocol.ClaimBody{KClaim: ks.KClaim, ClaimID: id}
	if scanned.Frame != nil {
		claim.Frame = scanned.Frame.Bytes()
	}
	var answer protocol.ClaimAnswer
	if err := p.post(ctx, ks.CID, "claim", claim, &answer); err != nil {
		return err
	}
	opened, err := protocol.OpenRequest(ks, scanned.RH16, answer.BoxR)
	if err != nil {
		return err
	}
	name, err := p.checkPlatform(opened)
	if err != nil {
		return err
	}
	body, err := p.result(ks, opened, name, answer.ClaimSeq, claim.Frame)
	if err != nil {
		return err
	}
	var done protocol.ResultAnswer
	return p.post(ctx, ks.CID, "result", body, &done)
}

func (p *benchPhone) checkPlatform(o *protocol.OpenedRequest) (name string, err error) {
	ders := make([][]byte, 0, len(o.Sealed.Chain))
	for _, der := range o.Sealed.Chain {
		ders = append(ders, der)
	}
	chain, err := trust.ParseChain(ders)
	if err != nil {
		return "", err
	}
	verified, err := p.anchors.Verify(chain, trust.VerifyOptions{Time: time.Now(), Usage: trust.PlatformRequest})
	if err != nil {
		return "", err
	}
	if err := protocol.VerifyRequest(verified.Leaf().PublicKey, o.Sealed.Request, o.Sealed.Signature); err != nil {
		return "", err
	}
	return platformName(verified.Leaf()), nil
}

// platformName is the name that phones show for a platform certificate.
func platformName(cert *smx509.Certificate) string { return cert.Subject.CommonName }

func (p *benchPhone) result(ks *protocol.KeySet, o *protocol.OpenedRequest, name string, seq uint32, frame []byte) (*protocol.ResultBody, error) {
	keys, err := protocol.NewClaim(ks, protocol.Context{CID: ks.CID, RH: o.RH, ClaimSeq: seq, E: o.Request.E})
	if err != nil {
		return nil, err
	}
	defer keys.Wipe()
	shown := protocol.ShownLines(o.Request, name)
	spki, err := protocol.MarshalKey(p.device.Public())
	if err != nil {
		return nil, err
	}
	st := protocol.Statement{
		V: protocol.Version, Typ: o.Request.Kind, Aud: o.Request.Platform, CID: ks.CID, RH: o.RH, Nonce: o.Request.Nonce, ClaimSeq: seq,
		Cert: protocol.H(p.chain[0]), Device: protocol.DeviceID(spki), Frame: frame, Shown: protocol.ShownDigest(shown),
		NOK: 1, IAT: time.Now().Unix(), App: "bidseal-bench/1",
	}
	raw, err := protocol.EncodeJSON(st)
	if err != nil {
		return nil, err
	}
	sig, err := protocol.Sign(p.signer, protocol.StatementMessage(raw))
	if err != nil {
		return nil, err
	}
	box, err := keys.Seal(protocol.BoxResult, protocol.ResultBox{Statement: raw, Signature: sig, Chain: p.chain, Shown: shown})
	if err != nil {
		return nil, err
	}
	receipt, err := protocol.SignReceipt(p.signer, protocol.TagReceipt, protocol.Receipt{
		V: protocol.Version, CID: ks.CID, Kind: o.Request.Kind, Platform: o.Request.Platform, Cert: st.Cert, Device: st.Device, ClaimSeq: seq,
		Result: protocol.ResultDigest(ks.CID, seq, keys.KEM, box), NOK: 1, IAT: st.IAT,
	}, p.chain)
	if err != nil {
		return nil, err
	}
	return &protocol.ResultBody{ClaimSeq: seq, KEM: keys.KEM, Box: box, Receipt: *receipt}, nil
}

func (p *benchPhone) post(ctx context.Context, cid protocol.CID, step string, body, answer any) error {
	return p.call(ctx, p.relay+"/v1/challenges/"+cid.String()+"/"+step, body, answer)
}

// call posts with pass and proof; before the enrolment the pass is empty.
func (p *benchPhone) call(ctx context.Context, url string, body, answer any) error {
	raw, err := protocol.EncodeJSON(body)
	if err != nil {
		return err
	}
	proof, err := protocol.NewProof(p.device, p.pass, protocol.Call{Method: http.MethodPost, URL: url, Body: raw}, time.Now())
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("call %s: %w", url, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(protocol.HeaderProof, proof)
	if p.pass != "" {
		req.Header.Set(protocol.HeaderPass, p.pass)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return protocol.Errorf(protocol.CodeNetwork, "%v", err)
	}
	defer resp.Body.Close()
	return httpapi.DecodeResponse(resp, answer)
}
