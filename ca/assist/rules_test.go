package assist

import (
	"bytes"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/protocol"
)

// The rules of SPEC.md, each with its test.

func TestUnlock(t *testing.T) {
	w := newWorld(t)
	p, dataKey := w.enrolled()
	got, try, err := p.open(right)
	must(t, err)
	if !bytes.Equal(got, dataKey) {
		t.Fatal("the right password does not open")
	}
	if p.failures() != 1 {
		t.Errorf("%d failures before the success was proved", p.failures())
	}
	must(t, p.prove(got, try))
	if got, _, err := p.open(wrong); err != nil || got != nil {
		t.Fatalf("a wrong password: %x, %v", got, err)
	}
	if p.failures() != 1 {
		t.Errorf("%d failures", p.failures())
	}
	w.heardOnce(t, Registered)
}

func TestARequestNeedsTheDevicesSignature(t *testing.T) {
	w := newWorld(t)
	p, _ := w.enrolled()
	other := w.phone()
	other.keystore, other.epoch, other.serverKey = p.keystore, p.epoch, p.serverKey
	try := p.try(right)
	foreign := other.try(right)
	unsigned, moved, elsewhere := try.body, try.body, try.body
	unsigned.Signature = nil
	moved.Attempt = random(t, 16)
	elsewhere.Signature = foreign.body.Signature
	for name, c := range map[string]Call{
		"no signature":                   p.call(assistapi.PathEvaluate, unsigned),
		"signature of another attempt":   p.call(assistapi.PathEvaluate, moved),
		"signature of another device":    p.call(assistapi.PathEvaluate, elsewhere),
		"call of another device":         other.call(assistapi.PathEvaluate, try.body),
		"no proof":                       {Path: assistapi.PathEvaluate, Body: p.call(assistapi.PathEvaluate, try.body).Body},
		"proof of another path":          {Path: assistapi.PathProve, Body: p.call(assistapi.PathEvaluate, try.body).Body, Proof: p.call(assistapi.PathEvaluate, try.body).Proof},
		"proof over another body":        {Path: assistapi.PathEvaluate, Body: p.call(assistapi.PathEvaluate, try.body).Body, Proof: p.call(assistapi.PathEvaluate, moved).Proof},
		"a device that nobody has heard": p.call(assistapi.PathEvaluate, func() any { b := try.body; b.Device = "00"; return b }()),
	} {
		if _, err := w.Evaluate(t.Context(), c); protocol.CodeOf(err) != protocol.CodeUnauthorized {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.add(2 * time.Minute)
	stale := p.call(assistapi.PathEvaluate, try.body)
	w.add(2 * time.Minute)
	_, err := w.Evaluate(t.Context(), stale)
	wantCode(t, err, protocol.CodeClockSkew)
	if p.failures() != 0 || w.count(`SELECT count(*) FROM assist_attempts`) != 1 {
		t.Errorf("%d failures: a refused request was counted", p.failures())
	}
}

// Another device that knows everything about a keystore but its device key gets
// a keystore of its own, whatever it calls.
func TestNobodyCanLockAnotherOut(t *testing.T) {
	w := newWorld(t)
	p, _ := w.enrolled()
	other := w.phone()
	other.keystore, other.epoch, other.serverKey = p.keystore, p.epoch, p.serverKey
	_, _, err := other.open(wrong)
	wantCode(t, err, protocol.CodeKeystoreGone)
	next, try, _ := other.set(nil, wrong)
	must(t, other.prove(next, try))
	for range 2 * assistapi.MaxTries {
		if _, _, err := other.open("guess"); err != nil {
			wantCode(t, err, protocol.CodePasswordLocked)
		}
	}
	if p.failures() != 0 {
		t.Errorf("%d failures by another's tries", p.failures())
	}
	if got, _, err := p.open(right); err != nil || got == nil {
		t.Errorf("the owner is locked out: %v", err)
	}
}

func TestARepeatedAttemptAnswersTheStoredEvaluationAndCountsOnce(t *testing.T) {
	w := newWorld(t)
	p, _ := w.enrolled()
	try := p.try(right)
	first, err := p.send(try)
	must(t, err)
	for range 2 * assistapi.MaxTries {
		again, err := w.open(w.kek).Evaluate(t.Context(), p.call(assistapi.PathEvaluate, try.body))
		must(t, err)
		if !bytes.Equal(first.Evaluated, again.Evaluated) || !bytes.Equal(first.Proof, again.Proof) || again.TriesLeft != first.TriesLeft {
			t.Fatal("another answer")
		}
	}
	if p.failures() != 1 {
		t.Errorf("counted %d times", p.failures())
	}
}

func TestTheSameAttemptWithAnotherElementIsRefused(t *testing.T) {
	w := newWorld(t)
	p, _ := w.enrolled()
	first := p.try(right)
	_, err := p.send(first)
	must(t, err)
	second := p.try(wrong)
	second.body.Attempt = first.body.Attempt
	must(t, second.body.Sign(p.key))
	_, err = p.send(second)
	wantCode(t, err, protocol.CodeConflict)
	// The attempt is closed: who has the seed of a lost attempt gets one answer
	// whether a password is the one of the first try, not one each.
	for _, try := range []*try{first, second} {
		_, err = p.send(try)
		wantCode(t, err, protocol.CodeConflict)
	}
	if p.failures() != 1 {
		t.Errorf("%d failures", p.failures())
	}
}

func TestLostAnswersDoNotLockOutARightPassword(t *testing.T) {
	w := newWorld(t)
	p, dataKey := w.enrolled()
	try := p.try(right)
	for range 3 * assistapi.MaxTries {
		_, err := p.send(try) // and the answer is lost
		must(t, err)
		w.add(10 * time.Second)
	}
	must(t, p.prove(dataKey, try))
	if p.failures() != 0 {
		t.Errorf("%d failures", p.failures())
	}
}

func TestLocksAtTheTenth(t *testing.T) {
	w := newWorld(t)
	p, _ := w.enrolled()
	for left := assistapi.MaxTries - 1; left >= 0; left-- {
		try := p.try(wrong)
		a, err := p.send(try)
		must(t, err)
		if a.TriesLeft != left {
			t.Errorf("%d left, want %d", a.TriesLeft, left)
		}
	}
	for range 3 {
		_, _, err := p.open(right)
		wantCode(t, err, protocol.CodePasswordLocked)
	}
	if p.failures() != assistapi.MaxTries {
		t.Errorf("%d failures", p.failures())
	}
	w.heardOnce(t, Locked)
}

// The right password at the tenth try proves itself and takes the lock away.
func TestTheTenthTryMayBeRight(t *testing.T) {
	w := newWorld(t)
	p, _ := w.enrolled()
	for range assistapi.MaxTries - 1 {
		_, _, err := p.open(wrong)
		must(t, err)
	}
	got, try, err := p.open(right)
	must(t, err)
	_, _, err = p.open(right)
	wantCode(t, err, protocol.CodePasswordLocked)
	if again, err := p.send(try); err != nil || again.TriesLeft != 0 { // its answer was lost: it comes again, locked or not
		t.Fatalf("%+v, %v", again, err)
	}
	must(t, p.prove(got, try))
	if p.failures() != 0 || !slices.Contains(w.heard(), Unlocked) {
		t.Errorf("%d failures, %v", p.failures(), w.heard())
	}
}

func TestSuccessIsProvedUpToADayLate(t *testing.T) {
	w := newWorld(t)
	p, _ := w.enrolled()
	got, early, err := p.open(right)
	must(t, err)
	w.add(time.Minute)
	_, late, err := p.open(right)
	must(t, err)
	w.add(ProveWithin - 30*time.Second)
	wantCode(t, p.prove(got, early), protocol.CodeWrongState)
	if p.failures() != 2 {
		t.Errorf("%d failures", p.failures())
	}
	must(t, p.prove(got, late))
	must(t, p.prove(got, late))
	if p.failures() != 0 {
		t.Errorf("%d failures", p.failures())
	}
}

func TestALateProofHidesNoNewerFailures(t *testing.T) {
	w := newWorld(t)
	p, _ := w.enrolled()
	got, first, err := p.open(right)
	must(t, err)
	for range 6 {
		_, _, err := p.open(wrong)
		must(t, err)
	}
	_, second, err := p.open(right)
	must(t, err)
	for range 2 {
		_, _, err := p.open(wrong)
		must(t, err)
	}
	must(t, p.prove(got, first)) // forgives itself
	if p.failures() != 9 {
		t.Errorf("%d failures after the first proof", p.failures())
	}
	must(t, p.prove(got, second)) // and everything before it
	if p.failures() != 2 {
		t.Errorf("%d failures after the second proof", p.failures())
	}
	must(t, p.prove(got, first)) // out of order: nothing
	if p.failures() != 2 {
		t.Errorf("%d failures after the first proof came again", p.failures())
	}
}

func TestOnlyWhoOpenedTheSlotProves(t *testing.T) {
	w := newWorld(t)
	p, dataKey := w.enrolled()
	_, try, err := p.open(wrong)
	must(t, err)
	bad := p.proof(dataKey, p.epoch, try.body.Attempt)
	bad.Signature[0] ^= 1
	other := p.proof(dataKey, p.epoch, random(t, 16))
	other.Attempt = try.body.Attempt
	foreign := p.proof(random(t, 16), p.epoch, try.body.Attempt)
	for name, r := range map[string]assistapi.ProveRequest{"altered": bad, "of another attempt": other, "by another data key": foreign} {
		if _, err := w.Prove(t.Context(), p.call(assistapi.PathProve, r)); protocol.CodeOf(err) != protocol.CodeUnauthorized {
			t.Errorf("%s: %v", name, err)
		}
	}
	unknown := p.proof(dataKey, p.epoch, random(t, 16))
	_, err = w.Prove(t.Context(), p.call(assistapi.PathProve, unknown))
	wantCode(t, err, protocol.CodeNotFound)
	if p.failures() != 1 {
		t.Errorf("%d failures", p.failures())
	}
}

func TestOneCounterOverAllLiveEpochs(t *testing.T) {
	w := newWorld(t)
	p, dataKey := w.enrolled()
	old := *p
	for range 4 {
		_, _, err := p.open(wrong)
		must(t, err)
	}
	p.set(dataKey, "a new password") // the fifth try; not confirmed
	for range 3 {
		_, _, err := p.open(wrong)
		must(t, err)
	}
	for range 2 {
		_, _, err := old.open(wrong)
		must(t, err)
	}
	for _, each := range []*phone{p, &old} {
		_, _, err := each.open(right)
		wantCode(t, err, protocol.CodePasswordLocked)
	}
}

func TestANewPasswordIsANewEpochAndTheOldOneIsDeletedAfterConfirmation(t *testing.T) {
	w := newWorld(t)
	p, dataKey := w.enrolled()
	old := *p
	next, try, _ := p.set(dataKey, "a new password")
	if p.epoch <= old.epoch {
		t.Fatalf("epoch %d after %d", p.epoch, old.epoch)
	}
	for name, each := range map[string]struct {
		p        *phone
		password string
		want     []byte
	}{"old": {&old, right, dataKey}, "new": {p, "a new password", next}} {
		if got, _, err := each.p.open(each.password); err != nil || !bytes.Equal(got, each.want) {
			t.Errorf("before the confirmation the %s one: %x, %v", name, got, err)
		}
	}
	must(t, p.prove(next, try))
	_, _, err := old.open(right)
	wantCode(t, err, protocol.CodeKeystoreGone)
	if n := w.count(`SELECT count(*) FROM assist_epochs`); n != 1 {
		t.Errorf("%d epochs", n)
	}
	got, _, err := p.open("a new password")
	if err != nil || !bytes.Equal(got, next) {
		t.Errorf("after the confirmation the new one: %v", err)
	}
	w.heardOnce(t, Changed)
}

func TestOnlyTheActiveEpochAuthorisesANewOne(t *testing.T) {
	w := newWorld(t)
	p, dataKey := w.enrolled()
	for name, authority := range map[string][]byte{"nobody": nil, "another data key": random(t, 16)} {
		body, _ := p.beginBody(authority, random(t, 16))
		if _, err := w.Begin(t.Context(), p.call(assistapi.PathBegin, body)); protocol.CodeOf(err) != protocol.CodeUnauthorized {
			t.Errorf("%s: %v", name, err)
		}
	}
	body, _ := p.beginBody(dataKey, random(t, 16))
	first, err := w.Begin(t.Context(), p.call(assistapi.PathBegin, body))
	must(t, err)
	again, err := w.Begin(t.Context(), p.call(assistapi.PathBegin, body))
	must(t, err)
	if first.Epoch != again.Epoch || !bytes.Equal(first.ServerKey, again.ServerKey) {
		t.Error("the same begin gave another epoch")
	}
	body.Above = 99
	_, err = w.Begin(t.Context(), p.call(assistapi.PathBegin, body))
	wantCode(t, err, protocol.CodeConflict)
}

func TestBoundedPerDevice(t *testing.T) {
	w := newWorld(t)
	p, dataKey := w.enrolled()
	for range 3 * maxPending {
		body, _ := p.beginBody(dataKey, random(t, 16))
		_, err := w.Begin(t.Context(), p.call(assistapi.PathBegin, body))
		must(t, err)
	}
	if n := w.count(`SELECT count(*) FROM assist_epochs`); n != maxPending+1 {
		t.Errorf("%d epochs", n)
	}
	other := w.phone()
	for range maxKeystores {
		other.keystore = random(t, 16)
		body, _ := other.beginBody(nil, random(t, 16))
		_, err := w.Begin(t.Context(), other.call(assistapi.PathBegin, body))
		must(t, err)
	}
	other.keystore = random(t, 16)
	body, _ := other.beginBody(nil, random(t, 16))
	_, err := w.Begin(t.Context(), other.call(assistapi.PathBegin, body))
	wantCode(t, err, protocol.CodeForbidden)
}

// Even right passwords are bounded in an hour and a day, so that successes of the
// owner do not give endless guesses to a copy of the device.
func TestRateOfOneKeystore(t *testing.T) {
	w := newWorld(t)
	p, _ := w.enrolled()
	limits := DefaultLimits()
	tries := 1
	for hour := 0; tries < limits.Day; hour++ {
		for hour == 0 && tries < limits.Hour || hour > 0 && tries < limits.Day {
			got, try, err := p.open(right)
			if protocol.CodeOf(err) == protocol.CodeRateLimited {
				break
			}
			must(t, err)
			must(t, p.prove(got, try))
			tries++
		}
		_, _, err := p.open(right)
		wantCode(t, err, protocol.CodeRateLimited)
		w.add(time.Hour + time.Second)
	}
	_, _, err := p.open(right)
	wantCode(t, err, protocol.CodeRateLimited)
	w.add(24 * time.Hour)
	_, _, err = p.open(right)
	must(t, err)
}

func TestConcurrentTriesCountExactly(t *testing.T) {
	w := newWorld(t)
	p, _ := w.enrolled()
	services := []*Service{w.Service, w.open(w.kek)}
	calls := make([]Call, 32)
	for i := range calls {
		calls[i] = p.call(assistapi.PathEvaluate, p.try(wrong).body)
	}
	var group sync.WaitGroup
	errs := make([]error, len(calls))
	for i, c := range calls {
		group.Go(func() { _, errs[i] = services[i%2].Evaluate(t.Context(), c) })
	}
	group.Wait()
	answered := 0
	for _, err := range errs {
		if err == nil {
			answered++
			continue
		}
		if protocol.CodeOf(err) != protocol.CodePasswordLocked {
			t.Error(err)
		}
	}
	if answered != assistapi.MaxTries || p.failures() != assistapi.MaxTries {
		t.Errorf("%d answers, %d counted", answered, p.failures())
	}
	w.heardOnce(t, Locked)
}

func TestOneAttemptFromManySidesCountsOnce(t *testing.T) {
	w := newWorld(t)
	p, _ := w.enrolled()
	c := p.call(assistapi.PathEvaluate, p.try(right).body)
	var group sync.WaitGroup
	answers := make([]*assistapi.EvaluateAnswer, 32)
	for i := range answers {
		group.Go(func() {
			var err error
			if answers[i], err = w.Evaluate(t.Context(), c); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, a := range answers {
		if a == nil || !bytes.Equal(a.Evaluated, answers[0].Evaluated) || !bytes.Equal(a.Proof, answers[0].Proof) {
			t.Fatal("different answers")
		}
	}
	if p.failures() != 1 {
		t.Errorf("counted %d times", p.failures())
	}
}

func TestABlockedDeviceIsNotHelped(t *testing.T) {
	w := newWorld(t)
	p, _ := w.enrolled()
	w.blocked[p.id] = true
	_, _, err := p.open(right)
	wantCode(t, err, protocol.CodeForbidden)
}
