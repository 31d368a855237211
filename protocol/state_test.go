package protocol_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/protocol"
)

const (
	deviceA = "phone a"
	deviceB = "phone b"
)

func claimed(t testing.TB, twoPhase bool) protocol.Progress {
	return step(t, protocol.Begin(terms(twoPhase), start), twoPhase, event{Name: "claim", Device: deviceA, ClaimID: det("id 1", 16), Frame: det("frame", 10), AtMS: 1000})
}

// step applies an event that has to be accepted.
func step(t testing.TB, p protocol.Progress, twoPhase bool, e event) protocol.Progress {
	t.Helper()
	next, err := apply(p, terms(twoPhase), e)
	if err != nil {
		t.Fatalf("%s in %s: %v", e.Name, p.State, err)
	}
	return next
}

// reached gives a challenge in each state, two phases, claimed by device a.
func reached(t testing.TB) map[protocol.State]protocol.Progress {
	c := claimed(t, true)
	opened := step(t, c, true, event{Name: "open", Device: deviceA, Seq: 1, Digest: det("open", 32), AtMS: 2000})
	ready := step(t, opened, true, event{Name: "ready", Seq: 1, Next: protocol.StateReady, Digest: det("ready", 32), AtMS: 3000})
	fulfilled := step(t, ready, true, event{Name: "result", Device: deviceA, Seq: 1, Digest: det("result", 32), AtMS: 4000})
	return map[protocol.State]protocol.Progress{
		protocol.StatePending: protocol.Begin(terms(true), start), protocol.StateClaimed: c, protocol.StateOpened: opened,
		protocol.StateReady: ready, protocol.StateFulfilled: fulfilled,
		protocol.StateCompleted: step(t, fulfilled, true, event{Name: "ack", Digest: det("result", 32), AtMS: 4500}),
		protocol.StateRejected:  step(t, c, true, event{Name: "reject", Device: deviceA, Seq: 1, Code: "not_me", AtMS: 4500}),
		protocol.StateCanceled:  step(t, c, true, event{Name: "cancel", AtMS: 4500}),
		protocol.StateExpired:   step(t, c, true, event{Name: "sweep", AtMS: 121_001}),
		protocol.StateFailed:    step(t, c, true, event{Name: "platform_fail", Code: protocol.CodeFrameStale, AtMS: 4500}),
	}
}

// tableEvents are the columns of SPEC.md's table, each with digests that were
// not seen before, in time and in claim 1.
func tableEvents() []event {
	return []event{
		{Name: "claim", Device: deviceA, ClaimID: det("id 2", 16)},
		{Name: "claim", Device: deviceB, ClaimID: det("id b", 16)},
		{Name: "open", Device: deviceA, Seq: 1, Digest: det("new open", 32)},
		{Name: "ready", Seq: 1, Next: protocol.StateReady, Digest: det("new ready", 32)},
		{Name: "ready", Seq: 1, Next: protocol.StateClaimed, Digest: det("new ready", 32)},
		{Name: "result", Device: deviceA, Seq: 1, Digest: det("new result", 32)},
		{Name: "reject", Device: deviceA, Seq: 1, Code: "other"},
		{Name: "phone_fail", Device: deviceA, Seq: 1, Code: protocol.CodeNotBefore},
		{Name: "platform_fail", Code: protocol.CodeMatchFailed},
		{Name: "cancel"},
		{Name: "ack", Digest: det("result", 32)},
		{Name: "sweep"},
	}
}

// outcome is what a cell of the table says: the next state, or "!" and the code.
func outcome(p protocol.Progress, err error) string {
	if err != nil {
		return "!" + codeOf(err)
	}
	return string(p.State)
}

// TestEveryStateAndEvent is the table of SPEC.md, section 8.
func TestEveryStateAndEvent(t *testing.T) {
	// columns: claim a, claim b, open, ready, ready back, result, reject, phone_fail, platform_fail, cancel, ack, sweep
	want := map[protocol.State][]string{
		"pending":   {"claimed", "claimed", "!wrong_state", "!wrong_state", "!wrong_state", "!wrong_state", "!wrong_state", "!wrong_state", "!wrong_state", "canceled", "!wrong_state", "pending"},
		"claimed":   {"claimed", "!claimed_by_other", "opened", "!wrong_state", "!wrong_state", "!not_ready", "rejected", "failed", "failed", "canceled", "!wrong_state", "claimed"},
		"opened":    {"claimed", "!claimed_by_other", "!wrong_state", "ready", "claimed", "!not_ready", "rejected", "failed", "failed", "canceled", "!wrong_state", "opened"},
		"ready":     {"claimed", "!claimed_by_other", "!wrong_state", "!wrong_state", "!wrong_state", "fulfilled", "rejected", "failed", "failed", "canceled", "!wrong_state", "ready"},
		"fulfilled": {"!already_ended", "!already_ended", "!already_ended", "!already_ended", "!already_ended", "!already_ended", "!already_ended", "!already_ended", "failed", "!already_ended", "completed", "fulfilled"},
		"completed": {"!already_ended", "!already_ended", "!already_ended", "!already_ended", "!already_ended", "!already_ended", "!already_ended", "!already_ended", "!already_ended", "!already_ended", "completed", "completed"},
		"rejected":  {"!rejected", "!rejected", "!rejected", "!rejected", "!rejected", "!rejected", "rejected", "!rejected", "!rejected", "!rejected", "!rejected", "rejected"},
		"canceled":  {"!canceled", "!canceled", "!canceled", "!canceled", "!canceled", "!canceled", "!canceled", "!canceled", "!canceled", "canceled", "!canceled", "canceled"},
		"expired":   {"!expired", "!expired", "!expired", "!expired", "!expired", "!expired", "!expired", "!expired", "!expired", "!expired", "!expired", "expired"},
		"failed":    {"!frame_stale", "!frame_stale", "!frame_stale", "!frame_stale", "!frame_stale", "!frame_stale", "!frame_stale", "!frame_stale", "!frame_stale", "!frame_stale", "!frame_stale", "failed"},
	}
	states := reached(t)
	if len(states) != 10 || len(want) != 10 {
		t.Fatalf("%d states reached, %d in the table", len(states), len(want))
	}
	for state, p := range states {
		if p.State != state {
			t.Fatalf("reached %s, want %s", p.State, state)
		}
		for n, e := range tableEvents() {
			e.AtMS = 5000
			next, err := apply(p, terms(true), e)
			if got := outcome(next, err); got != want[state][n] {
				t.Errorf("%s, event %d %s: %s, want %s", state, n, e.Name, got, want[state][n])
			}
			if err != nil && codeOf(err) != string(protocol.CodeClaimedByOther) && !reflect.DeepEqual(next, p) {
				t.Errorf("%s, event %d %s: refused, and changed all the same", state, n, e.Name)
			}
		}
	}
}

// TestSpecificationHasTheTable holds SPEC.md's table to what the code does,
// column by column; the last one is what the sweeper writes.
func TestSpecificationHasTheTable(t *testing.T) {
	rows := make(map[string][]string)
	for line := range strings.Lines(string(must(os.ReadFile("SPEC.md"))(t))) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i], _, _ = strings.Cut(strings.TrimSpace(cells[i]), ",")
		}
		if len(cells) == 13 && len(cells[1]) > 0 && rows[cells[0]] == nil {
			rows[cells[0]] = cells[1:]
		}
	}
	for state, p := range reached(t) {
		if p.Due() == 0 {
			continue
		}
		row := rows[string(state)]
		if row == nil {
			t.Fatalf("SPEC.md has no row for %s", state)
		}
		for n, e := range tableEvents()[:11] {
			e.AtMS = 5000
			next, err := apply(p, terms(true), e)
			if got := outcome(next, err); got != row[n] {
				t.Errorf("%s, column %d: the code says %s, SPEC.md %s", state, n+1, got, row[n])
			}
		}
		swept, _ := p.Expire(p.Due() + 1)
		if got := strings.TrimSuffix(string(swept.State)+"("+string(swept.Code)+")", "()"); got != row[11] {
			t.Errorf("%s, due: the code says %s, SPEC.md %s", state, got, row[11])
		}
	}
}

// TestEveryStateAndLateEvent holds that a passed deadline stops every
// transition but the ack, with the code that the sweeper will write.
func TestEveryStateAndLateEvent(t *testing.T) {
	ends := map[protocol.State]struct {
		at    int64
		code  string
		swept protocol.State
	}{
		protocol.StatePending:   {120_001, "expired", protocol.StateExpired},
		protocol.StateClaimed:   {121_001, "expired", protocol.StateExpired},
		protocol.StateOpened:    {62_001, "platform_timeout", protocol.StateFailed},
		protocol.StateReady:     {121_001, "expired", protocol.StateExpired},
		protocol.StateFulfilled: {86_404_001, "unacked", protocol.StateFailed},
	}
	for state, end := range ends {
		p := reached(t)[state]
		if p.Due() != start+end.at-1 {
			t.Errorf("%s is due at %d, want %d", state, p.Due()-start, end.at-1)
		}
		for n, e := range tableEvents() {
			e.AtMS = end.at
			next, err := apply(p, terms(true), e)
			got := outcome(next, err)
			want := "!" + end.code
			switch {
			case e.Name == "sweep":
				want = string(end.swept)
			case e.Name == "ack" && state == protocol.StateFulfilled:
				want = "completed"
			case e.Name == "ack", state == protocol.StatePending && e.Name != "claim" && e.Name != "cancel":
				want = "!wrong_state"
			case state == protocol.StateFulfilled && e.Name != "platform_fail":
				want = "!already_ended"
			}
			if got != want {
				t.Errorf("late %s, event %d %s: %s, want %s", state, n, e.Name, got, want)
			}
			e.AtMS--
			if next, _ := apply(p, terms(true), e); e.Name == "sweep" && next.State != state {
				t.Errorf("%s was swept in its last millisecond", state)
			}
		}
	}
}

// TestRepeatedEventsChangeNothing sends each accepted event a second time.
func TestRepeatedEventsChangeNothing(t *testing.T) {
	for state, p := range reached(t) {
		for n, e := range tableEvents() {
			e.AtMS = 5000
			next, err := apply(p, terms(true), e)
			if err != nil {
				continue
			}
			e.AtMS = 6000
			again, err := apply(next, terms(true), e)
			if err != nil || !reflect.DeepEqual(again, next) {
				t.Errorf("%s, event %d %s again: %v\n %+v\n %+v", state, n, e.Name, err, again, next)
			}
		}
	}
}

// TestNothingIsNoRepetition holds that empty values never pass for equal ones.
func TestNothingIsNoRepetition(t *testing.T) {
	for _, empty := range [][]byte{nil, {}} {
		states := reached(t)
		for name, refused := range map[string]func() error{
			"claim":         func() error { _, err := states["claimed"].Claim(terms(true), start, deviceA, empty, nil); return err },
			"claim pending": func() error { _, err := states["pending"].Claim(terms(true), start, deviceA, empty, nil); return err },
			"claim nobody": func() error {
				_, err := states["pending"].Claim(terms(true), start, "", det("id", 16), nil)
				return err
			},
			"open":  func() error { _, err := states["claimed"].Open(terms(true), start, deviceA, 1, empty); return err },
			"ready": func() error { _, err := states["opened"].Ready(start, 1, protocol.StateReady, empty); return err },
			"ready claim 0": func() error {
				_, err := states["opened"].Ready(start, 0, protocol.StateReady, det("r", 32))
				return err
			},
			"result":         func() error { _, err := states["ready"].Fulfil(terms(true), start, deviceA, 1, empty); return err },
			"result pending": func() error { _, err := states["pending"].Fulfil(terms(true), start, "", 0, empty); return err },
			"ack":            func() error { _, err := states["fulfilled"].Ack(empty); return err },
		} {
			if refused() == nil {
				t.Errorf("%s with an empty value was accepted", name)
			}
		}
	}
	if protocol.CodeOf(protocol.AckBody{}.Check()) != protocol.CodeMalformed {
		t.Error("an ack without digest was accepted")
	}
}

// TestSecondPhones counts foreign scans up to the bound and leaves the holder alone.
func TestSecondPhones(t *testing.T) {
	p := claimed(t, true)
	for n := range protocol.MaxSecondScans + 5 {
		next, err := p.Claim(terms(true), start+2000, deviceB, det("id b", 16), nil)
		wantCode(t, err, protocol.CodeClaimedByOther)
		if want := min(n+1, protocol.MaxSecondScans); next.SecondScans != want || next.Device != deviceA || next.ClaimSeq != 1 {
			t.Fatalf("after %d foreign scans: %+v", n+1, next)
		}
		p = next
	}
}

// TestClaimsAreBounded lets one device claim for ever and a day.
func TestClaimsAreBounded(t *testing.T) {
	p := claimed(t, false)
	for n := range protocol.MaxClaims - 1 {
		p = step(t, p, false, event{Name: "claim", Device: deviceA, ClaimID: []byte{byte(n), 1}, AtMS: 2000})
	}
	if p.ClaimSeq != protocol.MaxClaims {
		t.Fatalf("claim %d", p.ClaimSeq)
	}
	_, err := p.Claim(terms(false), start+2000, deviceA, []byte("one more"), nil)
	wantCode(t, err, protocol.CodeRateLimited)
}

// TestVerdictCodes holds which side may end a challenge with which code.
func TestVerdictCodes(t *testing.T) {
	phone, platform := 0, 0
	p := claimed(t, false)
	for _, code := range protocol.Codes() {
		if _, err := p.FailByPhone(start+2000, deviceA, 1, code); err == nil {
			phone++
		} else {
			wantCode(t, err, protocol.CodeMalformed)
		}
		if next, err := p.FailByPlatform(start+2000, code); err == nil {
			platform++
			wantCode(t, next.EndError(), code)
		} else {
			wantCode(t, err, protocol.CodeMalformed)
		}
	}
	if phone != 18 || platform != 21 {
		t.Fatalf("%d codes of phones, %d of platforms", phone, platform)
	}
}

func TestTerms(t *testing.T) {
	for _, kind := range []protocol.Kind{protocol.KindLogin, protocol.KindSubmit, protocol.KindDecrypt, protocol.KindSeal} {
		body := protocol.CreateBody{BoxR: make([]byte, 28), HClaim: det("h", 32), HWatch: det("w", 32), Kind: kind, TwoPhase: true, Deadlines: protocol.DefaultDeadlines(kind)}
		noErr(t, body.Check())
		for name, change := range map[string]func(b *protocol.CreateBody){
			"pending 0":     func(b *protocol.CreateBody) { b.Deadlines.Pending = 0 },
			"pending 121":   func(b *protocol.CreateBody) { b.Deadlines.Pending = 121 },
			"claim more":    func(b *protocol.CreateBody) { b.Deadlines.Claim++ },
			"ready more":    func(b *protocol.CreateBody) { b.Deadlines.Ready++ },
			"ready minus":   func(b *protocol.CreateBody) { b.Deadlines.Ready = -1 },
			"keep 8 days":   func(b *protocol.CreateBody) { b.Deadlines.Keep = 8 * 86400 },
			"keep wraps":    func(b *protocol.CreateBody) { b.Deadlines.Keep = 1<<61 + 86400 },
			"pending wraps": func(b *protocol.CreateBody) { b.Deadlines.Pending = -(1<<61 - 60) },
			"no box":        func(b *protocol.CreateBody) { b.BoxR = nil },
			"short box":     func(b *protocol.CreateBody) { b.BoxR = make([]byte, 27) },
			"large box":     func(b *protocol.CreateBody) { b.BoxR = make([]byte, protocol.MaxBox+1) },
			"short claim":   func(b *protocol.CreateBody) { b.HClaim = b.HClaim[:31] },
			"short watch":   func(b *protocol.CreateBody) { b.HWatch = b.HWatch[:31] },
		} {
			b := body
			change(&b)
			if protocol.CodeOf(b.Check()) != protocol.CodeMalformed {
				t.Errorf("%s, %s: %v", kind, name, b.Check())
			}
		}
	}
	seal := protocol.Terms{Kind: protocol.KindSeal, Pending: 1, Claim: 1, Ready: 1, Keep: 1}
	wantCode(t, protocol.CheckTerms(seal), protocol.CodeMalformed)
	seal.Kind = "pay"
	wantCode(t, protocol.CheckTerms(seal), protocol.CodeKindUnsupported)
}

// TestEveryEndHasItsError holds that an end says why, also one that nobody knows.
func TestEveryEndHasItsError(t *testing.T) {
	for _, code := range []protocol.Code{"", "no such code"} {
		wantCode(t, protocol.Progress{State: protocol.StateFailed, Code: code}.EndError(), protocol.CodeInternal)
	}
	for state, p := range reached(t) {
		if ended := p.EndError() != nil; ended != (state.Terminal() || state == protocol.StateFulfilled) {
			t.Errorf("%s: %v", state, p.EndError())
		}
	}
}
