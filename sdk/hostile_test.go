package bidseal_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/sdk/sdktest"
)

// What a hostile relay, a hostile phone or whoever saw the code can do, and the
// code under which each is refused.

// hostile is one client and one phone around a relay.
type hostile struct {
	t      *testing.T
	ctx    context.Context
	env    *sdktest.Env
	client *bidseal.Client
	phone  *sdktest.Phone
}

func newHostile(t *testing.T) *hostile {
	t.Helper()
	env := sdktest.New(t)
	return &hostile{t: t, ctx: testContext(t), env: env, client: env.Client(), phone: env.Phone("张三")}
}

func (h *hostile) login(o bidseal.LoginOptions) *bidseal.Challenge {
	h.t.Helper()
	return begin(h.t, h.ctx, h.client, o)
}

// stranger is another person's phone.
func (h *hostile) stranger() *sdktest.Phone { return h.env.Phone("王五") }

// refused expects that the SDK refuses, tells the relay, and yields nothing.
func (h *hostile) refused(ch *bidseal.Challenge, code protocol.Code) {
	h.t.Helper()
	login, err := ch.Wait(h.ctx)
	if login != nil {
		h.t.Fatalf("signed in: %+v", login)
	}
	wantCode(h.t, err, code)
}

// told changes the results that the platform is told of.
func (h *hostile) told(change func(*protocol.ChallengeState)) {
	h.env.Relay.OnState(func(st *protocol.ChallengeState) {
		if st.Result != nil {
			change(st)
		}
	})
}

func TestHostileSwappedRequest(t *testing.T) {
	h := newHostile(t)
	ch, other := h.login(bidseal.LoginOptions{}), h.login(bidseal.LoginOptions{})
	otherBox := h.env.Relay.BoxR(other.CID())
	h.env.Relay.OnClaim(func(a *protocol.ClaimAnswer) { a.BoxR = otherBox })
	wantCode(t, h.phone.Approve(h.ctx, ch.Payload()), protocol.CodeBoxInvalid)
}

// Whoever saw the code can seal a request of his own, and has a relay that
// delivers it; the commitment in the code tells.
func TestHostileForgedRequest(t *testing.T) {
	h := newHostile(t)
	ch := h.login(bidseal.LoginOptions{})
	payload, err := protocol.ParsePayload(ch.Payload(), []string{sdktest.App})
	must(t, err)
	ks, err := protocol.Derive(payload.Secret)
	must(t, err)
	opened, err := protocol.OpenRequest(ks, payload.RH16, h.env.Relay.BoxR(ch.CID()))
	must(t, err)
	forged := opened.Sealed
	forged.Request = bytes.Replace(forged.Request, []byte(`"kind":"login"`), []byte(`"kind":"login","display":["改标"]`), 1)
	box, err := protocol.SealRequest(ks, forged)
	must(t, err)
	h.env.Relay.OnClaim(func(a *protocol.ClaimAnswer) { a.BoxR = box })
	wantCode(t, h.phone.Approve(h.ctx, ch.Payload()), protocol.CodeRequestSwapped)
}

func TestHostileReplayedResult(t *testing.T) {
	h := newHostile(t)
	first := h.login(bidseal.LoginOptions{})
	must(t, h.phone.Approve(h.ctx, first.Payload()))
	_, err := first.Wait(h.ctx)
	must(t, err)
	old, _ := h.env.Relay.State(first.CID())

	second := h.login(bidseal.LoginOptions{})
	h.told(func(st *protocol.ChallengeState) { st.Result, st.Promise = old.Result, old.Promise })
	must(t, h.stranger().Approve(h.ctx, second.Payload()))
	h.refused(second, protocol.CodeBoxInvalid)
}

// A relay that hands the same result out again gets the same verdict, and
// does not sign in twice.
func TestHostileRedelivery(t *testing.T) {
	h := newHostile(t)
	ch := h.login(bidseal.LoginOptions{})
	must(t, h.phone.Approve(h.ctx, ch.Payload()))
	_, err := ch.Wait(h.ctx)
	must(t, err)
	asked := h.env.Authority.Asked()
	h.env.Relay.OnState(func(st *protocol.ChallengeState) {
		if st.CID == ch.CID() {
			st.State = protocol.StateFulfilled
		}
	})
	must(t, h.env.Relay.Touch(ch.CID()))
	next := h.login(bidseal.LoginOptions{}) // its events come after the replayed one
	must(t, h.stranger().Approve(h.ctx, next.Payload()))
	_, err = next.Wait(h.ctx)
	must(t, err)
	_, err = ch.Wait(h.ctx)
	wantCode(t, err, protocol.CodeResultConsumed)
	if n := h.env.Authority.Asked() - asked; n != 2 { // the stranger's staple and our question about it
		t.Errorf("%d questions for status, want 2", n)
	}
}

func TestHostileOtherPersonsResult(t *testing.T) {
	h := newHostile(t)
	mine, theirs := h.login(bidseal.LoginOptions{}), h.login(bidseal.LoginOptions{})
	must(t, h.stranger().Approve(h.ctx, theirs.Payload()))
	stolen, _ := h.env.Relay.State(theirs.CID())
	h.env.Relay.OnState(func(st *protocol.ChallengeState) {
		if st.CID == mine.CID() && st.Result != nil {
			st.Result, st.Promise = stolen.Result, stolen.Promise
		}
	})
	must(t, h.phone.Approve(h.ctx, mine.Payload()))
	h.refused(mine, protocol.CodeBoxInvalid)
}

func TestHostileAlteredBox(t *testing.T) {
	h := newHostile(t)
	h.told(func(st *protocol.ChallengeState) {
		st.Result.Box = bytes.Clone(st.Result.Box)
		st.Result.Box[len(st.Result.Box)/2] ^= 1
	})
	ch := h.login(bidseal.LoginOptions{})
	must(t, h.phone.Approve(h.ctx, ch.Payload()))
	h.refused(ch, protocol.CodeBoxInvalid)
}

func TestHostileOtherClaim(t *testing.T) {
	h := newHostile(t)
	h.told(func(st *protocol.ChallengeState) { st.Result.ClaimSeq, st.ClaimSeq = 2, 2 })
	ch := h.login(bidseal.LoginOptions{})
	must(t, h.phone.Approve(h.ctx, ch.Payload()))
	h.refused(ch, protocol.CodeBoxInvalid)
}

// The result of a claim that was superseded is none, also where the relay goes
// back on what it said before.
func TestHostileSupersededClaim(t *testing.T) {
	for name, newest := range map[string]uint32{"newest claim told": 2, "newest claim denied": 1} {
		t.Run(name, func(t *testing.T) {
			h := newHostile(t)
			ch := h.login(bidseal.LoginOptions{})
			first, err := h.phone.Scan(h.ctx, ch.Payload())
			must(t, err)
			old, err := first.Sign(h.ctx)
			must(t, err)
			h.untilStored(ch.CID(), 4) // made, registered, claimed, its frame found good
			second, err := h.phone.Scan(h.ctx, ch.Payload())
			must(t, err)
			h.untilStored(ch.CID(), 5) // claimed again
			h.told(func(st *protocol.ChallengeState) {
				st.ClaimSeq, st.Result.ClaimSeq = newest, 1
				st.Result.KEM, st.Result.Box, st.Result.Receipt = old.KEM, old.Box, old.Receipt
			})
			must(t, second.Approve(h.ctx))
			h.refused(ch, protocol.CodeStatementReplayed)
		})
	}
}

// untilStored waits until a challenge's record was written so many times.
func (h *hostile) untilStored(cid protocol.CID, version uint64) {
	h.t.Helper()
	for {
		r, err := h.env.Store.Get(h.ctx, "c/"+cid.String())
		must(h.t, errors.Join(err, h.ctx.Err()))
		if r.Version >= version {
			return
		}
		runtime.Gosched()
	}
}

// A relay that skips the digits gets nothing: no open was accepted.
func TestHostileWithoutDigits(t *testing.T) {
	h := newHostile(t)
	ch := h.login(bidseal.LoginOptions{Static: true})
	scan, err := h.phone.Scan(h.ctx, ch.Payload())
	must(t, err)
	body, err := scan.Sign(h.ctx)
	must(t, err)
	h.env.Relay.OnState(func(st *protocol.ChallengeState) {
		if st.State != protocol.StateClaimed {
			return
		}
		st.State = protocol.StateFulfilled
		st.Result = &protocol.StoredResult{Receipt: body.Receipt,
			KEMBox: protocol.KEMBox{ClaimSeq: 1, KEM: body.KEM, Box: body.Box, Size: len(body.Box)}}
	})
	h.env.Relay.Disconnect()
	must(t, h.env.Relay.Touch(ch.CID()))
	h.refused(ch, protocol.CodeStatementReplayed)
}

func TestHostileAlteredStatement(t *testing.T) {
	h := newHostile(t)
	h.phone.Alter = func(b *protocol.ResultBox) {
		b.Statement = bytes.Replace(b.Statement, []byte("sdktest/1"), []byte("sdktest/2"), 1)
	}
	ch := h.login(bidseal.LoginOptions{})
	must(t, h.phone.Approve(h.ctx, ch.Payload()))
	h.refused(ch, protocol.CodeStatementSignature)
}

func TestHostileOtherLines(t *testing.T) {
	h := newHostile(t)
	h.phone.Alter = func(b *protocol.ResultBox) { b.Shown = append(b.Shown[:len(b.Shown):len(b.Shown)], "另一行") }
	ch := h.login(bidseal.LoginOptions{})
	must(t, h.phone.Approve(h.ctx, ch.Payload()))
	h.refused(ch, protocol.CodeShownMismatch)
}

func TestHostileOtherAuthority(t *testing.T) {
	h := newHostile(t)
	other, err := sdktest.NewAuthority(h.env.Clock.Now)
	must(t, err)
	ch := h.login(bidseal.LoginOptions{})
	must(t, h.env.PhoneUnder(other, sdktest.Holder{Person: "张三"}).Approve(h.ctx, ch.Payload()))
	h.refused(ch, protocol.CodeCertUntrusted)
}

// A certificate put in the place of the signer's does not fit the statement.
func TestHostileOtherCertificate(t *testing.T) {
	h := newHostile(t)
	other := h.stranger()
	h.phone.Alter = func(b *protocol.ResultBox) { b.Chain[0] = other.Certificate().Raw }
	ch := h.login(bidseal.LoginOptions{})
	must(t, h.phone.Approve(h.ctx, ch.Payload()))
	h.refused(ch, protocol.CodeStatementInvalid)
}

func TestHostileFrame(t *testing.T) {
	h := newHostile(t)
	h.env.Relay.OnState(func(st *protocol.ChallengeState) {
		if len(st.Frame) != 0 {
			st.Frame = bytes.Clone(st.Frame)
			st.Frame[5] ^= 1
		}
	})
	ch := h.login(bidseal.LoginOptions{})
	_, err := h.phone.Scan(h.ctx, ch.Payload())
	must(t, err)
	h.refused(ch, protocol.CodeFrameInvalid)
}

// A relay that saw the live code reports a good frame in the place of the stale
// one that the phone had; the phone signed the stale one.
func TestHostileFreshFrameForStale(t *testing.T) {
	h := newHostile(t)
	ch := h.login(bidseal.LoginOptions{})
	stale := ch.Payload()
	h.env.Clock.Advance(40 * time.Second)
	live, err := protocol.ParsePayload(ch.Payload(), []string{sdktest.App})
	must(t, err)
	h.env.Relay.OnState(func(st *protocol.ChallengeState) {
		if len(st.Frame) != 0 {
			st.Frame = live.Frame.Bytes()
		}
	})
	must(t, h.phone.Approve(h.ctx, stale))
	h.refused(ch, protocol.CodeFrameInvalid)
}

func TestHostileReceipt(t *testing.T) {
	h := newHostile(t)
	h.told(func(st *protocol.ChallengeState) { st.Result.Receipt.Signature = bytes.Repeat([]byte{1}, 70) })
	ch := h.login(bidseal.LoginOptions{})
	must(t, h.phone.Approve(h.ctx, ch.Payload()))
	h.refused(ch, protocol.CodeReceiptInvalid)
}

func TestHostilePromise(t *testing.T) {
	h := newHostile(t)
	h.told(func(st *protocol.ChallengeState) { st.Promise.Index++ })
	ch := h.login(bidseal.LoginOptions{})
	must(t, h.phone.Approve(h.ctx, ch.Payload()))
	h.refused(ch, protocol.CodeLedgerInvalid)
	must(t, h.env.Relay.Await(h.ctx, ch.CID(), func(st protocol.ChallengeState) bool { return st.State == protocol.StateFailed }))
}

// A result without the ledger's promise is none.
func TestHostileNoPromise(t *testing.T) {
	h := newHostile(t)
	h.told(func(st *protocol.ChallengeState) { st.Promise = nil })
	ch := h.login(bidseal.LoginOptions{})
	must(t, h.phone.Approve(h.ctx, ch.Payload()))
	h.refused(ch, protocol.CodeLedgerInvalid)
}

func TestRevokedCertificate(t *testing.T) {
	h := newHostile(t)
	h.env.Authority.Revoke(h.phone.Certificate())
	ch := h.login(bidseal.LoginOptions{})
	must(t, h.phone.Approve(h.ctx, ch.Payload()))
	h.refused(ch, protocol.CodeCertRevoked)
}

// A good answer that the phone staples does not help where our own question
// says revoked; if no responder replies, a fresh one does.
func TestStaple(t *testing.T) {
	h := newHostile(t)
	staple, err := h.env.Authority.OCSP(h.ctx, h.phone.Certificate(), h.env.Authority.Issuing())
	must(t, err)
	h.env.Authority.Revoke(h.phone.Certificate())
	h.phone.Alter = func(b *protocol.ResultBox) { b.OCSP = staple }
	ch := h.login(bidseal.LoginOptions{})
	must(t, h.phone.Approve(h.ctx, ch.Payload()))
	h.refused(ch, protocol.CodeCertRevoked)

	h = newHostile(t)
	ch = h.login(bidseal.LoginOptions{})
	if staple, err = h.env.Authority.OCSP(h.ctx, h.phone.Certificate(), h.env.Authority.Issuing()); err != nil {
		t.Fatal(err)
	}
	h.phone.Alter = func(b *protocol.ResultBox) { b.OCSP = staple }
	h.env.Authority.SetDown(true)
	must(t, h.phone.Approve(h.ctx, ch.Payload()))
	_, err = ch.Wait(h.ctx)
	must(t, err)
}

func TestNoStatus(t *testing.T) {
	h := newHostile(t)
	ch := h.login(bidseal.LoginOptions{})
	h.env.Authority.SetDown(true)
	must(t, h.phone.Approve(h.ctx, ch.Payload()))
	h.refused(ch, protocol.CodeRevocationUnknown)
}

func TestOldStaple(t *testing.T) {
	h := newHostile(t)
	staple, err := h.env.Authority.OCSP(h.ctx, h.phone.Certificate(), h.env.Authority.Issuing())
	must(t, err)
	h.env.Clock.Advance(11 * time.Minute)
	ch := h.login(bidseal.LoginOptions{})
	h.phone.Alter = func(b *protocol.ResultBox) { b.OCSP = staple }
	h.env.Authority.SetDown(true)
	must(t, h.phone.Approve(h.ctx, ch.Payload()))
	h.refused(ch, protocol.CodeRevocationUnknown)
}

func TestExpiredCertificate(t *testing.T) {
	h := newHostile(t)
	ch := h.login(bidseal.LoginOptions{})
	phone := h.env.PhoneOf(sdktest.Holder{Person: "张三", NotAfter: h.env.Clock.Now().Add(-time.Minute)})
	must(t, phone.Approve(h.ctx, ch.Payload()))
	h.refused(ch, protocol.CodeCertExpired)
}

// Answers about a signer are used again for five minutes, not longer.
func TestStatusCache(t *testing.T) {
	h := newHostile(t)
	h.phone.Alter = func(b *protocol.ResultBox) { b.OCSP = nil }
	in := func() {
		t.Helper()
		ch := h.login(bidseal.LoginOptions{})
		must(t, h.phone.Approve(h.ctx, ch.Payload()))
		_, err := ch.Wait(h.ctx)
		must(t, err)
	}
	in()
	h.env.Authority.Revoke(h.phone.Certificate())
	h.env.Clock.Advance(4 * time.Minute)
	in()
	h.env.Clock.Advance(2 * time.Minute)
	ch := h.login(bidseal.LoginOptions{})
	must(t, h.phone.Approve(h.ctx, ch.Payload()))
	h.refused(ch, protocol.CodeCertRevoked)
}
