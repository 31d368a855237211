package assist

import (
	"bytes"
	"crypto/rand"
	"database/sql"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/ca/realname"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
)

// ask makes a request for the share.
func (p *phone) ask(token string) (assistapi.ResetRequest, *sm2.PrivateKey) {
	p.w.t.Helper()
	ephemeral, err := sm2.GenerateKey(rand.Reader)
	must(p.w.t, err)
	point, err := assistapi.Point(&ephemeral.PublicKey)
	must(p.w.t, err)
	return assistapi.ResetRequest{V: 1, Device: p.id, Keystore: p.keystore, Epoch: p.epoch, Token: token, Ephemeral: point}, ephemeral
}

func (p *phone) reset(r assistapi.ResetRequest) (*assistapi.ResetAnswer, error) {
	return p.w.Reset(p.w.t.Context(), p.call(assistapi.PathReset, r))
}

// withShare is a phone that knows its share.
func (w *world) withShare() (*phone, []byte, []byte) {
	w.t.Helper()
	p := w.phone()
	dataKey, try, share := p.set(nil, right)
	must(w.t, p.prove(dataKey, try))
	return p, dataKey, share
}

func TestResetReleasesTheShareOnceAgainstAToken(t *testing.T) {
	w := newWorld(t)
	p, _, share := w.withShare()
	for range assistapi.MaxTries {
		_, _, err := p.open(wrong)
		must(t, err)
	}
	token := p.token()
	r, ephemeral := p.ask(token)
	for range 3 { // lost answers
		a, err := p.reset(r)
		must(t, err)
		got, err := assistapi.OpenShare(ephemeral, a.Share, p.keystore, p.epoch)
		must(t, err)
		if !bytes.Equal(got, share) {
			t.Fatal("another share")
		}
		w.add(20 * time.Minute) // the token ends meanwhile
	}
	other, _ := p.ask(token)
	_, err := p.reset(other)
	wantCode(t, err, protocol.CodeRealNameToken)
	if p.failures() != 0 {
		t.Errorf("%d failures", p.failures())
	}
	w.heardOnce(t, Reset)
	w.heardOnce(t, Unlocked)
	w.add(repeatWithin)
	_, err = p.reset(r)
	wantCode(t, err, protocol.CodeRealNameToken)
}

func TestResetRefusesOtherTokens(t *testing.T) {
	w := newWorld(t)
	p, _, _ := w.withShare()
	other, _, _ := w.withShare()
	stranger, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	forged, err := realname.Issue(stranger, realname.Token{Purpose: realname.PasswordReset, Account: "account-" + p.id[:6], Device: p.id, Person: random(t, 32)}, w.clock())
	must(t, err)
	for name, token := range map[string]string{
		"none":              "",
		"of another issuer": forged,
		"for another purpose": p.token(func(t *realname.Token) {
			t.Purpose = realname.Reissue
		}),
		"for another account":   p.token(func(t *realname.Token) { t.Account = "somebody" }),
		"for another device":    other.token(),
		"that has ended":        p.token(func(t *realname.Token) { t.Issued, t.Expires = w.clock().Unix()-1800, w.clock().Unix() }),
		"dated in the future":   p.token(func(t *realname.Token) { t.Issued, t.Expires = w.clock().Unix()+120, w.clock().Unix()+600 }),
		"with an altered byte":  "A" + p.token()[1:],
		"without its signature": p.token()[:40],
	} {
		r, _ := p.ask(token)
		if _, err := p.reset(r); protocol.CodeOf(err) != protocol.CodeRealNameToken {
			t.Errorf("%s: %v", name, err)
		}
	}
	if w.count(`SELECT count(*) FROM assist_tokens`) != 0 {
		t.Error("a refused token was used up")
	}
}

func TestResetIsForTheSamePerson(t *testing.T) {
	w := newWorld(t)
	p, _, _ := w.withShare()
	r, _ := p.ask(p.token())
	_, err := p.reset(r)
	must(t, err)
	r, _ = p.ask(p.token(func(t *realname.Token) { t.Person = realname.Person([]byte("secret"), "李四", "110101199003070037") }))
	_, err = p.reset(r)
	wantCode(t, err, protocol.CodeRealNameToken)
	r, _ = p.ask(p.token())
	_, err = p.reset(r)
	must(t, err)
}

// 32 requests with one token and keys of their own: one gets the share.
func TestATokenIsUsedOnceAtOnce(t *testing.T) {
	w := newWorld(t)
	p, _, _ := w.withShare()
	token := p.token()
	var group sync.WaitGroup
	errs := make([]error, 32)
	for i := range errs {
		r, _ := p.ask(token)
		c := p.call(assistapi.PathReset, r)
		group.Go(func() { _, errs[i] = w.Reset(t.Context(), c) })
	}
	group.Wait()
	released := 0
	for _, err := range errs {
		if err == nil {
			released++
		} else if protocol.CodeOf(err) != protocol.CodeRealNameToken {
			t.Error(err)
		}
	}
	if released != 1 {
		t.Errorf("released %d times", released)
	}
	w.heardOnce(t, Reset)
}

// The old epoch lives until the new one is confirmed.
func TestResetEndsInANewEpoch(t *testing.T) {
	w := newWorld(t)
	p, dataKey, _ := w.withShare()
	old := *p
	r, _ := p.ask(p.token())
	_, err := p.reset(r)
	must(t, err)
	next, try, _ := p.set(dataKey, "a new password") // the share gave the data key
	if got, _, err := old.open(right); err != nil || !bytes.Equal(got, dataKey) {
		t.Errorf("the old password before the confirmation: %v", err)
	}
	must(t, p.prove(next, try))
	_, err = p.reset(r)
	wantCode(t, err, protocol.CodeKeystoreGone)
	_, _, err = old.open(right)
	wantCode(t, err, protocol.CodeKeystoreGone)
}

var errRolledBack = errors.New("rolled back")

func TestDestroyForDevice(t *testing.T) {
	w := newWorld(t)
	p, _, _ := w.withShare()
	other, _ := w.enrolled()
	destroy := func(end error) error {
		return w.db.Update(t.Context(), func(tx *sql.Tx) error {
			return errors.Join(w.DestroyForDevice(t.Context(), tx, p.id, "reissue"), end)
		})
	}
	if err := destroy(errRolledBack); !errors.Is(err, errRolledBack) { // the reissue failed: so did this
		t.Fatal(err)
	}
	if got, _, err := p.open(right); err != nil || got == nil {
		t.Fatalf("after a reissue that failed: %v", err)
	}
	w.events = nil
	must(t, destroy(nil))
	must(t, destroy(nil))
	w.heardOnce(t, Destroyed)
	_, _, err := p.open(right)
	wantCode(t, err, protocol.CodeKeystoreGone)
	w.blocked[p.id] = true // as the reissue does
	_, _, err = p.open(right)
	wantCode(t, err, protocol.CodeKeystoreGone)
	w.blocked[p.id] = false
	r, _ := p.ask(p.token())
	_, err = p.reset(r)
	wantCode(t, err, protocol.CodeKeystoreGone)
	for _, keystore := range [][]byte{p.keystore, random(t, 16)} {
		p.keystore = keystore
		body, _ := p.beginBody(nil, random(t, 16))
		_, err = w.Begin(t.Context(), p.call(assistapi.PathBegin, body))
		wantCode(t, err, protocol.CodeKeystoreGone)
	}
	if n := w.count(`SELECT count(*) FROM assist_epochs WHERE device = $1`, p.id); n != 0 {
		t.Errorf("%d epochs are left", n)
	}
	if got, _, err := other.open(right); err != nil || got == nil {
		t.Errorf("another device: %v", err)
	}
}
