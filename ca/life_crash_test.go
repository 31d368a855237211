package ca_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
)

// lifeOperation is one operation on a certificate, up to the request.
type lifeOperation struct {
	name      string
	authorise func(testing.TB, *fixture, *enrolled) *caapi.EnrolmentFile
}

func operations() []lifeOperation {
	return []lifeOperation{
		{"renew", func(t testing.TB, f *fixture, e *enrolled) *caapi.EnrolmentFile { return f.renewal(t, e, 1) }},
		{"change", func(t testing.TB, f *fixture, e *enrolled) *caapi.EnrolmentFile { return f.change(t, e) }},
		{"reissue", func(t testing.TB, f *fixture, e *enrolled) *caapi.EnrolmentFile {
			return f.reissue(t, e, func(r *life.Reissue) { r.NewEncryptionKey = true })
		}},
	}
}

// begin enrols a phone and makes the request that follows it.
func (o lifeOperation) begin(t testing.TB, f *fixture) (*enrolled, *phone) {
	t.Helper()
	e := f.enrol(t)
	f.untilRenewal(e)
	return e, e.next(t, o.authorise(t, f, e))
}

// oldState is what the predecessor is when its successor is issued.
func oldState(operation string) (trust.State, trust.Reason) {
	switch operation {
	case "change":
		return trust.Revoked, trust.AffiliationChanged
	case "reissue":
		return trust.Revoked, trust.Superseded
	}
	return trust.Good, 0
}

// afterLifeCrash looks at what a crash left, has the server reconcile or the
// phone come again, and looks at the end.
func (f *fixture) afterLifeCrash(t *testing.T, e *enrolled, p *phone, operation string, issued bool) {
	t.Helper()
	const leaves = `SELECT count(*) FROM ca_certificates WHERE issuance <> ''`
	f.sound(t)
	if n := f.count(t, leaves); n != 2 && !issued || n != 4 && issued {
		t.Errorf("%d certificates after the crash", n)
	}
	if !issued {
		f.wantStatus(t, e.sign, trust.Good, 0) // never revoked without its successor
	}
	if _, err := f.Life.Reconcile(t.Context()); err != nil {
		t.Error(err)
	}
	f.sound(t)
	first, err := f.Life.Enrol(t.Context(), p.call(t))
	must(t, err)
	again, err := f.open(t).Life.Enrol(t.Context(), p.call(t))
	must(t, err)
	if !bytes.Equal(first, again) {
		t.Error("two answers to one request")
	}
	n := p.read(t, first)
	state, reason := oldState(operation)
	f.wantStatus(t, e.sign, state, reason)
	f.wantStatus(t, n.sign, trust.Good, 0)
	if got := f.count(t, leaves); got != 4 {
		t.Errorf("%d certificates in the end", got)
	}
	if got, want := f.count(t, `SELECT count(*) FROM kmc_keys`), map[bool]int{true: 2, false: 1}[operation == "reissue"]; got != want {
		t.Errorf("%d key records, want %d", got, want)
	}
	f.sound(t)
}

// TestCrashTheLifeAtEachStep: with the phone coming again, and with the server
// reconciling first.
func TestCrashTheLifeAtEachStep(t *testing.T) {
	for _, operation := range operations() {
		for _, step := range steps() {
			t.Run(operation.name+" "+step, func(t *testing.T) {
				f := newFixture(t)
				e, p := operation.begin(t, f)
				crashed := f.open(t)
				stopAt(crashed, step)
				if _, err := crashed.Life.Enrol(t.Context(), p.call(t)); !errors.Is(err, errCrash) {
					t.Fatalf("no crash at %s: %v", step, err)
				}
				f.afterLifeCrash(t, e, p, operation.name, step == stepIssued)
			})
		}
	}
}

// TestAnotherRequestUnderTheId: idempotency is by id and content.
func TestAnotherRequestUnderTheId(t *testing.T) {
	f := newFixture(t)
	e, p := operations()[0].begin(t, f)
	raw, err := f.Life.Enrol(t.Context(), p.call(t))
	must(t, err)
	serial, r := e.serial(), p.request(t)
	p.write(t, r.RequestID, r.Code) // another PKCS#10
	_, err = f.Life.Enrol(t.Context(), p.prove(t, e.signing, serial).call(t))
	refusedWith(t, err, protocol.CodeIssuanceConflict)
	n := p.read(t, raw)
	f.wantStatus(t, n.sign, trust.Good, 0)
	p.write(t, n.answer.RequestID, f.change(t, n).Code) // another operation under the id
	_, err = f.Life.Enrol(t.Context(), p.prove(t, n.signing, n.serial()).call(t))
	refusedWith(t, err, protocol.CodeIssuanceConflict)
	f.sound(t)
}

// race makes calls at once, over two processes, and counts the outcomes.
func (f *fixture) race(t *testing.T, calls ...func(a *ca.Authority) error) map[protocol.Code]int {
	t.Helper()
	other := f.open(t)
	var mu sync.Mutex
	var group sync.WaitGroup
	outcomes := make(map[protocol.Code]int)
	start := make(chan struct{})
	for i, call := range calls {
		a := f.Authority
		if i%2 == 1 {
			a = other
		}
		group.Go(func() {
			<-start
			err := call(a)
			mu.Lock()
			defer mu.Unlock()
			outcomes[protocol.CodeOf(err)]++
		})
	}
	close(start)
	group.Wait()
	return outcomes
}

// enrolling is a call that tells how an enrolment went.
func enrolling(t *testing.T, p *phone) func(a *ca.Authority) error {
	call := p.call(t)
	return func(a *ca.Authority) error {
		_, err := a.Life.Enrol(t.Context(), call)
		return err
	}
}

// TestTwoRenewalsAtOnce: one code, many requests; and a second code that was made
// behind the first.
func TestTwoRenewalsAtOnce(t *testing.T) {
	for range 3 {
		f := newFixture(t)
		e := f.enrol(t)
		f.untilRenewal(e)
		file := f.renewal(t, e, 1)
		var calls []func(*ca.Authority) error
		for range 6 {
			calls = append(calls, enrolling(t, e.next(t, file)))
		}
		outcomes := f.race(t, calls...)
		if outcomes[""] != 1 || outcomes[protocol.CodeEnrolmentCode] != 5 {
			t.Errorf("outcomes %v", outcomes)
		}
		f.sound(t)
	}
}

// TestRenewalAndReissueAtOnce: the codes stand beside each other as they cannot
// by the authority's own hand, so that only the lineage decides.
func TestRenewalAndReissueAtOnce(t *testing.T) {
	for range 5 {
		f := newFixture(t)
		e := f.enrol(t)
		f.untilRenewal(e)
		renew := e.next(t, f.renewal(t, e, 1))
		reissue := e.next(t, f.reissue(t, e))
		must(t, exec(t, f, `UPDATE ca_codes SET state = 'open' WHERE state = 'void'`))
		outcomes := f.race(t, enrolling(t, renew), enrolling(t, reissue))
		if outcomes[""] != 1 || outcomes[protocol.CodeIssuanceConflict]+outcomes[protocol.CodeConflict]+outcomes[protocol.CodeForbidden] != 1 {
			t.Errorf("outcomes %v", outcomes)
		}
		if n := f.count(t, `SELECT count(*) FROM ca_certificates WHERE issuance <> ''`); n != 4 {
			t.Errorf("%d certificates", n)
		}
		f.soundRows(t)
	}
}

// TestRevokeAndIssueAtOnce: whoever comes first, nothing of the lineage is good
// afterwards.
func TestRevokeAndIssueAtOnce(t *testing.T) {
	for _, operation := range operations() {
		t.Run(operation.name, func(t *testing.T) {
			for range 3 {
				f := newFixture(t)
				e, p := operation.begin(t, f)
				outcomes := f.race(t, enrolling(t, p), func(a *ca.Authority) error {
					_, err := a.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Lineage: e.answer.Lineage, Reason: trust.KeyCompromise})
					return err
				})
				if outcomes[""] == 0 || outcomes[""]+outcomes[protocol.CodeEnrolmentCode]+outcomes[protocol.CodeCertRevoked] != 2 {
					t.Errorf("outcomes %v", outcomes)
				}
				if n := f.count(t, `SELECT count(*) FROM ca_certificates WHERE issuance <> '' AND state = 'good'`); n != 0 {
					t.Errorf("%d certificates are good after the revocation", n)
				}
				f.sound(t)
			}
		})
	}
}

// TestReconcileGoesOn: one issuance that cannot be completed hinders no other.
func TestReconcileGoesOn(t *testing.T) {
	f := newFixture(t)
	var phones []*phone
	for range 3 {
		p := newPhone(t, f.clock, f.code(t, 0))
		crashed := f.open(t)
		stopAt(crashed, stepPending)
		if _, err := crashed.Life.Enrol(t.Context(), p.call(t)); !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		phones = append(phones, p)
	}
	must(t, exec(t, f, `UPDATE ca_issuances SET spki = $1 WHERE created_at = (SELECT min(created_at) FROM ca_issuances) AND id = (SELECT min(id) FROM ca_issuances)`, []byte{1}))
	if n, err := f.Life.Reconcile(t.Context()); err != nil || n != 2 {
		t.Errorf("completed %d: %v", n, err)
	}
	if !bytes.Contains(f.log.Bytes(), []byte("an issuance cannot be completed")) {
		t.Error("nothing was logged")
	}
	done := 0
	for _, p := range phones {
		if _, err := f.Life.Enrol(t.Context(), p.call(t)); err == nil {
			done++
		}
	}
	if done != 2 {
		t.Errorf("%d phones have their certificates", done)
	}
}
