package core_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/app/core"
	"github.com/bidseal/bidseal/app/core/storage"
	"github.com/bidseal/bidseal/protocol"
)

func TestLogin(t *testing.T) {
	w := enrolled(t)
	d := w.login(order{animated: true})
	s := w.scan(d)
	r := s.Review()
	if r.PlatformName != platformName || r.Platform != platformID || r.Operation != "登录" || r.NeedsDigits || r.Familiarity != core.FirstTime {
		t.Errorf("review %+v", r)
	}
	want := []string{"平台：" + platformName, "平台编号：" + platformID, "操作：登录", "登录示例电子交易平台", "发起地区：福建省福州市", "网址：https://bid.example.cn"}
	if !slices.Equal(r.Lines, want) {
		t.Errorf("lines %q", r.Lines)
	}
	if len(r.Candidates) != 1 || r.Candidates[0].Identity.CreditCode != creditCode || r.Left != 120*time.Second {
		t.Errorf("candidates %+v, left %s", r.Candidates, r.Left)
	}
	out := w.approve(s)
	if out.State != protocol.StateFulfilled || !out.Stapled || !out.PromiseVerified || out.Certificate != r.Candidates[0].ID {
		t.Errorf("outcome %+v", out)
	}
	statement, box := d.collect()
	if !bytes.Equal(statement.Frame, d.at.p.Frame) || len(statement.Frame) != 10 || statement.Device != w.phone.Device() || statement.App != "test/1" {
		t.Errorf("statement %+v", statement)
	}
	if len(box.OCSP) == 0 || !slices.Equal(box.Shown, want) {
		t.Errorf("result box: %d bytes of OCSP, shown %q", len(box.OCSP), box.Shown)
	}
	records, err := w.phone.UsageRecords(t.Context())
	must(t, err)
	if len(records) != 1 || records[0].CID != out.CID || records[0].Promise == nil {
		t.Errorf("records %+v", records)
	}
	if again := w.scan(w.login(order{})).Review().Familiarity; again != core.Known {
		t.Errorf("the second time the platform is %s", again)
	}
}

// Nothing that leaves the phone before the result may hold the secret, the
// request or a key.
func TestRelayLearnsNothing(t *testing.T) {
	w := enrolled(t)
	d := w.login(order{})
	w.approve(w.scan(d))
	_, box := d.collect()
	for _, call := range w.calls {
		text := call.URL + string(call.Body)
		for _, secret := range []string{"登录示例", box.Statement.String(), strings.SplitN(d.link, "#", 2)[1]} {
			if strings.Contains(text, secret) {
				t.Errorf("%s %s carries %.20q", call.Method, call.URL, secret)
			}
		}
	}
}

func TestDigits(t *testing.T) {
	w := enrolled(t)
	d := w.login(order{digits: "42"})
	s := w.scan(d)
	if !s.Review().NeedsDigits {
		t.Fatal("no digits asked for")
	}
	id := s.Review().Candidates[0].ID
	_, err := s.Approve(t.Context(), id, []byte(password))
	wantCode(t, err, protocol.CodeMatchRequired)
	wantCode(t, s.EnterDigits(t.Context(), "4"), protocol.CodeMalformed)
	wantCode(t, s.EnterDigits(t.Context(), "41"), protocol.CodeMatchWrong)
	if left := s.Review().TriesLeft; left != 2 {
		t.Errorf("%d tries left", left)
	}
	must(t, s.EnterDigits(t.Context(), "42"))
	must(t, s.EnterDigits(t.Context(), "00")) // confirmed already: nothing goes out
	w.approve(s)
	statement, _ := d.collect()
	if statement.ClaimSeq != 2 {
		t.Errorf("claim %d, want 2", statement.ClaimSeq)
	}
	opens := w.sent("/open")
	var first, second protocol.OpenBody
	must(t, protocol.DecodeJSON(opens[0].Body, &first))
	must(t, protocol.DecodeJSON(opens[1].Body, &second))
	if len(opens) != 2 || bytes.Equal(first.KEM, second.KEM) {
		t.Error("the next claim uses the keys of the one before")
	}
	if !bytes.Equal(second.KEM, d.at.final.KEM) {
		t.Error("open and result of one claim differ in their kem")
	}
}

func TestDigitsThreeTimesWrong(t *testing.T) {
	w := enrolled(t)
	s := w.scan(w.login(order{digits: "42"}))
	wantCode(t, s.EnterDigits(t.Context(), "11"), protocol.CodeMatchWrong)
	wantCode(t, s.EnterDigits(t.Context(), "12"), protocol.CodeMatchWrong)
	wantCode(t, s.EnterDigits(t.Context(), "13"), protocol.CodeMatchFailed)
	wantCode(t, s.EnterDigits(t.Context(), "42"), protocol.CodeAlreadyEnded)
}

// A platform that counts the third wrong digits itself and only then ends the
// challenge: the phone does not go on in between.
func TestNoTriesLeft(t *testing.T) {
	w := enrolled(t)
	d := w.login(order{digits: "42"})
	s := w.scan(d)
	w.relay.onOpen = func(c *challenge) {
		box, err := d.keys(c.open.ClaimSeq, c.open.KEM).Seal(protocol.BoxReady, protocol.ReadyBox{Code: protocol.ReadyMatch})
		must(t, err)
		w.relay.answerOpen(c, protocol.ReadyBody{ClaimSeq: c.open.ClaimSeq, Next: protocol.StateClaimed, Box: box})
	}
	wantCode(t, s.EnterDigits(t.Context(), "41"), protocol.CodeMatchFailed)
	wantCode(t, s.EnterDigits(t.Context(), "42"), protocol.CodeAlreadyEnded)
}

// A phone that stopped at the digits can scan again; the tries go on counting.
func TestDigitsInASecondRun(t *testing.T) {
	w := enrolled(t)
	d := w.login(order{digits: "07"})
	w.scan(d)
	w.restart()
	s := w.scan(d)
	if d.at.p.ClaimSeq != 1 {
		t.Errorf("an unused claim was not taken up again: claim %d", d.at.p.ClaimSeq)
	}
	wantCode(t, s.EnterDigits(t.Context(), "99"), protocol.CodeMatchWrong)
	w.restart()
	s = w.scan(d)
	must(t, s.EnterDigits(t.Context(), "07"))
	w.approve(s)
	statement, _ := d.collect()
	if statement.ClaimSeq != 3 || d.tries != 2 {
		t.Errorf("claim %d, %d tries left", statement.ClaimSeq, d.tries)
	}
}

// Two phases without digits: the phone opens by itself.
func TestTwoPhasesWithoutDigits(t *testing.T) {
	w := enrolled(t)
	d := w.login(order{change: func(r *protocol.Request) { r.Policy.TwoPhase = true }})
	w.approve(w.scan(d))
	d.collect()
}

func TestReject(t *testing.T) {
	w := enrolled(t)
	d := w.login(order{})
	s := w.scan(d)
	_, err := s.Reject(t.Context(), "because")
	wantCode(t, err, protocol.CodeMalformed)
	out, err := s.Reject(t.Context(), protocol.RejectNotMe)
	must(t, err)
	if out.State != protocol.StateRejected || !out.PromiseVerified {
		t.Errorf("outcome %+v", out)
	}
	d.ended(protocol.StateRejected, protocol.Code(protocol.RejectNotMe))
	_, err = s.Approve(t.Context(), s.Review().Candidates[0].ID, []byte(password))
	wantCode(t, err, protocol.CodeAlreadyEnded)
}

func TestSecondPhone(t *testing.T) {
	w := enrolled(t)
	d := w.login(order{})
	w.scan(d)
	w.authority.code, w.authority.spent = "CODE-2", nil
	other := w.open(storage.NewMemory())
	_, err := other.Enrol(t.Context(), w.authority.file(), core.Setup{}, []byte(password))
	must(t, err)
	_, err = other.Scan(t.Context(), d.link)
	wantCode(t, err, protocol.CodeClaimedByOther)
	if d.at.p.SecondScans != 1 {
		t.Errorf("%d second scans counted", d.at.p.SecondScans)
	}
}
