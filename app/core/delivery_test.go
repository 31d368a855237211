package core_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/app/core"
	"github.com/bidseal/bidseal/protocol"
)

// loseResults lets results through to the relay, or not, and loses the answers.
func (w *world) loseResults(arrive bool) {
	w.intercept = func(call core.Call, serve func() core.Answer) (core.Answer, error) {
		if !strings.HasSuffix(call.URL, "/result") && !strings.HasSuffix(call.URL, "/reject") {
			return serve(), nil
		}
		if arrive {
			serve()
		}
		return core.Answer{}, errLost
	}
}

// A phone that is killed between its result and the relay's 200 sends the same
// bytes again, and the relay takes them once.
func TestResume(t *testing.T) {
	for name, arrived := range map[string]bool{"result lost": false, "answer lost": true} {
		t.Run(name, func(t *testing.T) {
			w := enrolled(t)
			d := w.login(order{})
			s := w.scan(d)
			w.loseResults(arrived)
			_, err := s.Approve(t.Context(), s.Review().Candidates[0].ID, []byte(password))
			wantCode(t, err, protocol.CodeNetwork)
			w.restart()
			done, err := w.phone.Resume(t.Context())
			must(t, err)
			if len(done) != 1 || protocol.CodeOf(done[0].Err) != protocol.CodeNetwork {
				t.Fatalf("without a network: %+v", done)
			}
			w.intercept = nil
			w.restart()
			done, err = w.phone.Resume(t.Context())
			must(t, err)
			if len(done) != 1 || done[0].Err != nil || done[0].Outcome.PlatformName != platformName || !done[0].Outcome.PromiseVerified {
				t.Fatalf("with a network: %+v", done)
			}
			d.collect()
			sent := w.sent("/result")
			for _, call := range sent {
				if !bytes.Equal(call.Body, sent[0].Body) {
					t.Fatal("the result was signed anew")
				}
			}
			if len(sent) < 3 {
				t.Errorf("%d attempts", len(sent))
			}
			if done, err = w.phone.Resume(t.Context()); err != nil || len(done) != 0 {
				t.Errorf("delivered again: %+v, %v", done, err)
			}
		})
	}
}

// Proofs are made anew for each attempt, so that a late one is not refused for
// its age.
func TestResumeHours(t *testing.T) {
	w := enrolled(t)
	s := w.scan(w.login(order{}))
	w.loseResults(true)
	_, err := s.Approve(t.Context(), s.Review().Candidates[0].ID, []byte(password))
	wantCode(t, err, protocol.CodeNetwork)
	w.intercept = nil
	w.clock.add(3 * time.Hour)
	done, err := w.phone.Resume(t.Context())
	must(t, err)
	if len(done) != 1 || done[0].Err != nil {
		t.Fatalf("%+v", done)
	}
}

// What never arrived and has expired is given up.
func TestResumeTooLate(t *testing.T) {
	w := enrolled(t)
	s := w.scan(w.login(order{}))
	w.loseResults(false)
	_, err := s.Approve(t.Context(), s.Review().Candidates[0].ID, []byte(password))
	wantCode(t, err, protocol.CodeNetwork)
	w.intercept = nil
	w.clock.add(time.Hour)
	done, err := w.phone.Resume(t.Context())
	must(t, err)
	if len(done) != 1 || protocol.CodeOf(done[0].Err) != protocol.CodeExpired {
		t.Fatalf("%+v", done)
	}
	if done, err = w.phone.Resume(t.Context()); err != nil || len(done) != 0 {
		t.Errorf("given up, but sent again: %+v, %v", done, err)
	}
}

// A 409 that names this very result as the winner is a delivery; one that names
// another is not.
func TestOwnDigestInConflict(t *testing.T) {
	for name, c := range map[string]struct {
		flip byte
		want protocol.Code
	}{"own": {0, ""}, "another": {1, protocol.CodeAlreadyEnded}} {
		t.Run(name, func(t *testing.T) {
			w := enrolled(t)
			d := w.login(order{})
			s := w.scan(d)
			w.intercept = func(call core.Call, serve func() core.Answer) (core.Answer, error) {
				answer := serve()
				if !strings.HasSuffix(call.URL, "/result") {
					return answer, nil
				}
				var a protocol.ResultAnswer
				must(t, protocol.DecodeJSON(answer.Body, &a))
				st := w.relay.state(d.ks.CID, d.at)
				st.Result.Digest = bytes.Clone(st.Result.Digest)
				st.Result.Digest[0] ^= c.flip
				st.Promise = a.Promise
				e := protocol.Errorf(protocol.CodeAlreadyEnded, "a result is stored")
				e.Winner = &st
				return refuse(e), nil
			}
			out, err := s.Approve(t.Context(), s.Review().Candidates[0].ID, []byte(password))
			if protocol.CodeOf(err) != c.want {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if err == nil && (out.State != protocol.StateFulfilled || !out.PromiseVerified) {
				t.Errorf("outcome %+v", out)
			}
		})
	}
}

// A promise for another receipt or by another key is not called verified.
func TestFalsePromise(t *testing.T) {
	w := enrolled(t)
	w.approve(w.scan(w.login(order{}))) // pins the relay's ledger key
	w.relay.ledger = w.authority.key()
	if out := w.approve(w.scan(w.login(order{}))); out.PromiseVerified {
		t.Error("a promise by another key counts")
	}
}

// A lost claim answer is asked for again with the same claim id, also after a
// restart, and makes no second claim.
func TestClaimRepeats(t *testing.T) {
	w := enrolled(t)
	d := w.login(order{animated: true})
	w.intercept = func(call core.Call, serve func() core.Answer) (core.Answer, error) {
		answer := serve()
		if strings.HasSuffix(call.URL, "/claim") {
			return core.Answer{}, errLost
		}
		return answer, nil
	}
	_, err := w.phone.Scan(t.Context(), d.link)
	wantCode(t, err, protocol.CodeNetwork)
	w.intercept = nil
	w.restart()
	w.approve(w.scan(d))
	claims := w.sent("/claim")
	for _, call := range claims {
		if !bytes.Equal(call.Body, claims[0].Body) {
			t.Fatal("the claim was made anew")
		}
	}
	if statement, _ := d.collect(); statement.ClaimSeq != 1 {
		t.Errorf("claim %d", statement.ClaimSeq)
	}
}

func TestRetries(t *testing.T) {
	w := enrolled(t)
	d := w.login(order{})
	failures := 2
	w.intercept = func(_ core.Call, serve func() core.Answer) (core.Answer, error) {
		if failures > 0 {
			failures--
			return core.Answer{Status: 503, Header: map[string]string{"Retry-After": "2"}, Body: []byte("busy")}, nil
		}
		return serve(), nil
	}
	w.scan(d)
	if n := len(w.calls); n != 3 {
		t.Errorf("%d calls, want 3", n)
	}
	w.calls, failures = nil, 100
	_, err := w.phone.Scan(t.Context(), w.login(order{}).link)
	wantCode(t, err, protocol.CodeUnavailable)
	if n := len(w.calls); n != 3 {
		t.Errorf("%d calls to a server that stays busy, want 3", n)
	}
}

// The phone's clock: an offset is taken over once, told beyond five minutes,
// refused beyond 48 hours.
func TestClock(t *testing.T) {
	for name, c := range map[string]struct {
		skew time.Duration
		want protocol.Code
		told bool
	}{
		"half a minute":     {30 * time.Second, "", false},
		"three minutes":     {-3 * time.Minute, "", false},
		"two hours ahead":   {2 * time.Hour, "", true},
		"a day behind":      {-24 * time.Hour, "", true},
		"three days behind": {-72 * time.Hour, protocol.CodeClockWrong, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := enrolled(t)
			w.phoneSkew = c.skew
			d := w.login(order{})
			s, err := w.phone.Scan(t.Context(), d.link)
			if c.want != "" {
				wantCode(t, err, c.want)
				return
			}
			must(t, err)
			r := s.Review()
			if told := r.ClockOffset.Abs() > core.ClockWarning; told != c.told {
				t.Errorf("offset %s", r.ClockOffset)
			}
			w.approve(s)
			statement, _ := d.collect()
			if drift := statement.IAT - w.clock.now.Unix(); drift > 60 || drift < -60 {
				t.Errorf("signed %d seconds off", drift)
			}
		})
	}
}

// A server that says clock_skew again and again is not followed for ever.
func TestClockOnlyOnce(t *testing.T) {
	w := enrolled(t)
	d := w.login(order{})
	w.intercept = func(core.Call, func() core.Answer) (core.Answer, error) {
		e := protocol.Errorf(protocol.CodeClockSkew, "off")
		e.ServerTime = w.clock.now.Add(time.Hour).UnixMilli()
		return refuse(e), nil
	}
	_, err := w.phone.Scan(t.Context(), d.link)
	wantCode(t, err, protocol.CodeClockSkew)
	if len(w.calls) != 2 {
		t.Errorf("%d calls", len(w.calls))
	}
}

func TestSessionEndsWithTheRequest(t *testing.T) {
	w := enrolled(t)
	s := w.scan(w.login(order{}))
	id := s.Review().Candidates[0].ID
	w.clock.add(5 * time.Minute)
	if left := s.Review().Left; left != 0 {
		t.Errorf("%s left", left)
	}
	_, err := s.Approve(t.Context(), id, []byte(password))
	wantCode(t, err, protocol.CodeExpired)
	_, err = s.Reject(t.Context(), protocol.RejectOther)
	wantCode(t, err, protocol.CodeExpired)
	if n := len(w.sent("/result")); n != 0 {
		t.Error("a result went out")
	}
}

// Without the authority's word the result goes out all the same and says so.
func TestNoStaple(t *testing.T) {
	w := enrolled(t)
	d := w.login(order{})
	s := w.scan(d)
	w.intercept = func(call core.Call, serve func() core.Answer) (core.Answer, error) {
		if strings.HasSuffix(call.URL, "/ocsp") {
			return core.Answer{}, errLost
		}
		return serve(), nil
	}
	if out := w.approve(s); out.Stapled {
		t.Error("a staple out of nowhere")
	}
	if _, box := d.collect(); len(box.OCSP) != 0 {
		t.Error("a staple out of nowhere")
	}
}

// What a server says of a refusal reaches terminals and logs without control
// characters, and not at any length.
func TestRefusalIsPrintable(t *testing.T) {
	w := enrolled(t)
	d := w.login(order{})
	w.intercept = func(core.Call, func() core.Answer) (core.Answer, error) {
		return refuse(protocol.Errorf(protocol.CodeForbidden, "red \x1b[31m\u202ehere%s", strings.Repeat("x", 1000))), nil
	}
	_, err := w.phone.Scan(t.Context(), d.link)
	wantCode(t, err, protocol.CodeForbidden)
	if text := err.Error(); strings.ContainsAny(text, "\x1b\u202e") || len(text) > 400 || !strings.Contains(text, "red [31mhere") {
		t.Errorf("%q", text)
	}
}

// An undelivered result is not kept for ever.
func TestResumeGivesUp(t *testing.T) {
	w := enrolled(t)
	s := w.scan(w.login(order{}))
	w.loseResults(false)
	_, err := s.Approve(t.Context(), s.Review().Candidates[0].ID, []byte(password))
	wantCode(t, err, protocol.CodeNetwork)
	for _, step := range []struct{ days, left int }{{6, 1}, {2, 0}} {
		w.clock.add(time.Duration(step.days) * 24 * time.Hour)
		_, err := w.phone.Resume(t.Context())
		must(t, err)
		left, err := w.files.List(t.Context(), "outbox-")
		must(t, err)
		if len(left) != step.left {
			t.Errorf("after %d more days: %d left, want %d", step.days, len(left), step.left)
		}
	}
}
