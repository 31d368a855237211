package bidseal_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/sdk/sdktest"
)

// patience bounds what a test waits for; nothing waits that long unless it fails.
const patience = 20 * time.Second

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func testTime() time.Time { return time.Unix(1_800_000_000, 0) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, code protocol.Code) {
	t.Helper()
	if protocol.CodeOf(err) != code {
		t.Fatalf("got %v, want %s", err, code)
	}
}

func begin(t testing.TB, ctx context.Context, c *bidseal.Client, o bidseal.LoginOptions) *bidseal.Challenge {
	t.Helper()
	ch, err := c.Login(ctx, o)
	must(t, err)
	return ch
}

// await reads events until one fits.
func await(t testing.TB, ch *bidseal.Challenge, what string, fits func(bidseal.Event) bool) bidseal.Event {
	t.Helper()
	deadline := time.After(patience)
	var last bidseal.Event
	for {
		select {
		case e, open := <-ch.Events():
			if !open {
				t.Fatalf("waiting for %s: the events ended with %+v", what, last)
			}
			if last = e; fits(e) {
				return e
			}
		case <-deadline:
			t.Fatalf("waiting for %s: the last event was %+v", what, last)
		}
	}
}

func inState(s bidseal.State) func(bidseal.Event) bool {
	return func(e bidseal.Event) bool { return e.State == s }
}

func TestLogin(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	client := env.Client()
	ch := begin(t, ctx, client, bidseal.LoginOptions{Display: []string{"登录测试平台"}})
	phone := env.PhoneOf(sdktest.Holder{Person: "李四", Organisation: "示例建设有限公司", CreditCode: "91110000600037341L", Role: "admin"})
	must(t, phone.Approve(ctx, ch.Payload()))
	login, err := ch.Wait(ctx)
	must(t, err)
	if login.Person != "李四" || login.Organisation != "示例建设有限公司" || login.CreditCode != "91110000600037341L" || login.Role != "admin" ||
		login.Kind != bidseal.Organisation || login.CID != ch.CID() || !login.Certificate.Equal(phone.Certificate()) ||
		len(login.Subject.Anchor) != 64 || len(login.Subject.Lineage) != 32 || login.CertificateSerial == "" {
		t.Errorf("login %+v", login)
	}
	if d := env.Clock.Now().Sub(login.At); d < 0 || d > time.Minute {
		t.Errorf("signed at %s", login.At)
	}
	if st, _ := env.Relay.State(login.CID); st.State != protocol.StateCompleted {
		t.Errorf("the relay has it %s", st.State)
	}
	report, err := verifierOf(t, env).VerifyEvidence(login.Evidence)
	must(t, err)
	if report.Holder.Subject != login.Subject || report.PlatformName != sdktest.PlatformName || len(report.Parts) < 10 {
		t.Errorf("report %+v", report)
	}
	if _, err := ch.Wait(ctx); !errors.Is(err, bidseal.ErrResultConsumed) {
		t.Errorf("a second Wait: %v", err)
	}
	await(t, ch, "done", inState(bidseal.StateDone))
}

func TestLoginWithDigits(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	ch := begin(t, ctx, env.Client(), bidseal.LoginOptions{Static: true})
	phone := env.Phone("张三")
	scan, err := phone.Scan(ctx, ch.Payload())
	must(t, err)
	e := await(t, ch, "digits", inState(bidseal.StateConfirm))
	wrong := "00"
	if e.Digits == wrong {
		wrong = "01"
	}
	wantCode(t, scan.Digits(ctx, wrong), protocol.CodeMatchWrong)
	e = await(t, ch, "second try", func(e bidseal.Event) bool { return e.State == bidseal.StateConfirm && e.TriesLeft == 2 })
	must(t, phone.ApproveWithDigits(ctx, ch.Payload(), e.Digits))
	login, err := ch.Wait(ctx)
	must(t, err)
	if login.Kind != bidseal.Person || login.Person != "张三" {
		t.Errorf("login %+v", login)
	}
}

func TestWrongDigitsThreeTimes(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	ch := begin(t, ctx, env.Client(), bidseal.LoginOptions{Static: true})
	phone := env.Phone("张三")
	_, err := phone.Scan(ctx, ch.Payload())
	must(t, err)
	e := await(t, ch, "digits", inState(bidseal.StateConfirm))
	wrong := "00"
	if e.Digits == wrong {
		wrong = "01"
	}
	for range protocol.MatchTries - 1 {
		wantCode(t, phone.ApproveWithDigits(ctx, ch.Payload(), wrong), protocol.CodeMatchWrong)
	}
	wantCode(t, phone.ApproveWithDigits(ctx, ch.Payload(), wrong), protocol.CodeMatchFailed)
	_, err = ch.Wait(ctx)
	wantCode(t, err, protocol.CodeMatchFailed)
	if e := await(t, ch, "end", inState(bidseal.StateFailed)); e.Renewals != 0 {
		t.Errorf("a failed match renewed itself: %+v", e)
	}
}

func TestReject(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	ch := begin(t, ctx, env.Client(), bidseal.LoginOptions{})
	must(t, env.Phone("张三").Reject(ctx, ch.Payload(), protocol.RejectNotMe))
	_, err := ch.Wait(ctx)
	if !errors.Is(err, bidseal.ErrRejected) {
		t.Fatalf("got %v", err)
	}
}

func TestSecondPhone(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	ch := begin(t, ctx, env.Client(), bidseal.LoginOptions{})
	first, err := env.Phone("张三").Scan(ctx, ch.Payload())
	must(t, err)
	wantCode(t, env.Phone("王五").Approve(ctx, ch.Payload()), protocol.CodeClaimedByOther)
	await(t, ch, "the warning", func(e bidseal.Event) bool { return e.SecondScans == 1 })
	must(t, first.Approve(ctx))
	login, err := ch.Wait(ctx)
	must(t, err)
	if login.Person != "张三" {
		t.Errorf("login of %s", login.Person)
	}
}

func TestRenewal(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	ch := begin(t, ctx, env.Client(), bidseal.LoginOptions{})
	seen := map[string]bool{ch.Payload(): true}
	for n := 1; n <= protocol.MaxRenewals; n++ {
		env.Advance(protocol.PendingLimit + time.Second)
		await(t, ch, "renewal", func(e bidseal.Event) bool { return e.Renewals == n && e.State == bidseal.StateWaiting })
		if p := ch.Payload(); seen[p] {
			t.Fatal("a renewed code is the old one")
		} else {
			seen[p] = true
		}
	}
	env.Advance(protocol.PendingLimit + time.Second)
	await(t, ch, "the end", inState(bidseal.StateExpired))
	_, err := ch.Wait(ctx)
	wantCode(t, err, protocol.CodeExpired)
}

func TestRenewedCodeSignsIn(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	ch := begin(t, ctx, env.Client(), bidseal.LoginOptions{})
	old := ch.Payload()
	env.Advance(protocol.PendingLimit + time.Second)
	await(t, ch, "renewal", func(e bidseal.Event) bool { return e.Renewals == 1 })
	phone := env.Phone("张三")
	wantCode(t, phone.Approve(ctx, old), protocol.CodeExpired)
	must(t, phone.Approve(ctx, ch.Payload()))
	_, err := ch.Wait(ctx)
	must(t, err)
}

func TestNoRenewal(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	ch := begin(t, ctx, env.Client(), bidseal.LoginOptions{NoRenew: true})
	env.Advance(protocol.PendingLimit + time.Second)
	_, err := ch.Wait(ctx)
	wantCode(t, err, protocol.CodeExpired)
}

// A code that was claimed and then left does not renew: somebody was there.
func TestExpiryAfterClaim(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	ch := begin(t, ctx, env.Client(), bidseal.LoginOptions{})
	_, err := env.Phone("张三").Scan(ctx, ch.Payload())
	must(t, err)
	await(t, ch, "the scan", inState(bidseal.StateScanned))
	env.Advance(protocol.ClaimLimit(protocol.KindLogin) + time.Second)
	_, err = ch.Wait(ctx)
	wantCode(t, err, protocol.CodeExpired)
}

func TestCancel(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	ch := begin(t, ctx, env.Client(), bidseal.LoginOptions{})
	must(t, ch.Cancel(ctx))
	_, err := ch.Wait(ctx)
	wantCode(t, err, protocol.CodeCanceled)
	wantCode(t, env.Phone("张三").Approve(ctx, ch.Payload()), protocol.CodeCanceled)
}

func TestExpectedOwner(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	client := env.Client()
	expect := &bidseal.Owner{Anchor: protocol.H(env.Authority.Root().Raw), CreditCode: "91110000600037341L"}
	ours := sdktest.Holder{Person: "李四", Organisation: "示例建设有限公司", CreditCode: "91110000600037341L"}
	theirs := sdktest.Holder{Person: "王五", Organisation: "其他建设有限公司", CreditCode: "91310000132246095W"}

	ch := begin(t, ctx, client, bidseal.LoginOptions{Expect: expect})
	must(t, env.PhoneOf(theirs).Approve(ctx, ch.Payload()))
	_, err := ch.Wait(ctx)
	wantCode(t, err, protocol.CodeOwnerMismatch)

	ch = begin(t, ctx, client, bidseal.LoginOptions{Expect: expect})
	must(t, env.PhoneOf(ours).Approve(ctx, ch.Payload()))
	_, err = ch.Wait(ctx)
	must(t, err)
}

func TestStaleFrame(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	ch := begin(t, ctx, env.Client(), bidseal.LoginOptions{})
	picture := ch.Payload()
	env.Clock.Advance(40 * time.Second)
	_, err := env.Phone("张三").Scan(ctx, picture)
	must(t, err)
	e := await(t, ch, "a new code", func(e bidseal.Event) bool { return e.Renewals == 1 })
	if e.State != bidseal.StateWaiting {
		t.Errorf("event %+v", e)
	}
	must(t, env.Phone("张三").Approve(ctx, ch.Payload()))
	_, err = ch.Wait(ctx)
	must(t, err)
}
