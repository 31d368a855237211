package bidseal_test

import (
	"testing"

	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
)

// A phone that adds a certificate behind the root would sign in with evidence
// that nobody can verify afterwards.
func TestHostileSurplusCertificate(t *testing.T) {
	h := newHostile(t)
	h.phone.Alter = func(b *protocol.ResultBox) {
		b.Chain = append(b.Chain[:len(b.Chain):len(b.Chain)], h.env.Authority.Root().Raw)
	}
	ch := h.login(bidseal.LoginOptions{})
	must(t, h.phone.Approve(h.ctx, ch.Payload()))
	login, err := ch.Wait(h.ctx)
	must(t, err) // the root itself belongs to the chain
	if _, err := verifierOf(t, h.env).VerifyEvidence(login.Evidence); err != nil {
		t.Fatal(err)
	}

	other := h.stranger()
	add := h.phone.Alter
	h.phone.Alter = func(b *protocol.ResultBox) {
		add(b)
		b.Chain = append(b.Chain, other.Certificate().Raw, other.Certificate().Raw)
	}
	ch = h.login(bidseal.LoginOptions{})
	must(t, h.phone.Approve(h.ctx, ch.Payload()))
	h.refused(ch, protocol.CodeCertUntrusted)
}

// The result of a claim comes with the keys of its accepted open.
func TestHostileOtherKeysThanTheOpen(t *testing.T) {
	h := newHostile(t)
	ch := h.login(bidseal.LoginOptions{Static: true})
	h.env.Relay.OnClaim(func(a *protocol.ClaimAnswer) { a.ClaimSeq = 2 })
	early, err := h.phone.Scan(h.ctx, ch.Payload()) // makes keys for a claim that is still to come
	must(t, err)
	h.env.Relay.OnClaim(nil)
	scan, err := h.phone.Scan(h.ctx, ch.Payload())
	must(t, err)
	must(t, scan.Digits(h.ctx, await(t, ch, "the digits", inState(bidseal.StateConfirm)).Digits))
	body, err := early.Sign(h.ctx)
	must(t, err)
	h.told(func(st *protocol.ChallengeState) {
		st.Result = &protocol.StoredResult{Digest: st.Result.Digest, Receipt: body.Receipt,
			KEMBox: protocol.KEMBox{ClaimSeq: 2, KEM: body.KEM, Box: body.Box, Size: len(body.Box)}}
	})
	must(t, scan.Approve(h.ctx))
	h.refused(ch, protocol.CodeStatementReplayed)
}
