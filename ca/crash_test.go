package ca_test

import (
	"bytes"
	"database/sql"
	"errors"
	"testing"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/protocol"
)

// exec changes the database behind the authority's back.
func exec(t testing.TB, f *fixture, query string, args ...any) error {
	t.Helper()
	f.tampered = true
	tampering.Add(1)
	defer tampering.Add(-1)
	return execWatched(t, f, query, args...)
}

// execWatched is exec under the watch of TestMain.
func execWatched(t testing.TB, f *fixture, query string, args ...any) error {
	t.Helper()
	return f.database(t).Update(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), query, args...)
		return err
	})
}

// Steps at which the rooms can be stopped. At stepBegun, stepSuperseded and
// stepStored a transaction is open.
const (
	stepBegun          = "begun"
	stepPending        = "pending"
	stepLinted         = "linted"
	stepSigned         = "signed"
	stepSuperseded     = "superseded"
	stepStored         = "stored"
	stepIssued         = "issued"
	stepCodeEnded      = "code ended"
	stepRotationKey    = "rotation key"
	stepRotationStored = "rotation stored"
)

var errCrash = errors.New("crash")

// stopAt makes an authority stop an issuance after a step.
func stopAt(a *ca.Authority, step string) {
	a.StopWith(func(s string) error {
		if s == step {
			return errCrash
		}
		return nil
	})
}

func steps() []string {
	return []string{stepBegun, stepPending, stepLinted, stepSigned, stepSuperseded, stepStored, stepIssued}
}

// TestCrashAtEachStep: whatever was reached, the request brought again gets one
// dual certificate, with the serial numbers that were stored first.
func TestCrashAtEachStep(t *testing.T) {
	for _, step := range steps() {
		t.Run(step, func(t *testing.T) {
			f := newFixture(t)
			p := newPhone(t, f.clock, f.code(t, 0))
			crashed := f.open(t)
			stopAt(crashed, step)
			if _, err := crashed.Life.Enrol(t.Context(), p.call(t)); !errors.Is(err, errCrash) {
				t.Fatalf("no crash at %s: %v", step, err)
			}
			f.afterCrash(t, p, step == stepIssued)
		})
	}
}

// TestReconcileAfterACrash: the phone never comes back, the server completes.
func TestReconcileAfterACrash(t *testing.T) {
	f := newFixture(t)
	p := newPhone(t, f.clock, f.code(t, 0))
	crashed := f.open(t)
	stopAt(crashed, stepSigned)
	if _, err := crashed.Life.Enrol(t.Context(), p.call(t)); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	for want := range 2 {
		if n, err := f.Life.Reconcile(t.Context()); err != nil || n != 1-want {
			t.Fatalf("reconciled %d: %v", n, err)
		}
	}
	f.afterCrash(t, p, true)
}

// afterCrash brings the request again and looks at everything that was kept.
func (f *fixture) afterCrash(t *testing.T, p *phone, stored bool) {
	t.Helper()
	const leaves = `SELECT count(*) FROM ca_certificates WHERE issuance <> ''`
	if n := f.count(t, leaves); (n == 2) != stored || n != 0 && n != 2 {
		t.Errorf("%d certificates after the crash", n)
	}
	first, err := f.Life.Enrol(t.Context(), p.call(t))
	must(t, err)
	again, err := f.open(t).Life.Enrol(t.Context(), p.call(t))
	must(t, err)
	if !bytes.Equal(first, again) {
		t.Error("two answers to one request")
	}
	e := p.read(t, first)
	if n := f.count(t, leaves); n != 2 {
		t.Errorf("%d certificates in the end", n)
	}
	if n := f.count(t, `SELECT count(*) FROM ca_issuances i JOIN ca_certificates s ON s.serial = i.sign_serial JOIN ca_certificates e ON e.serial = i.encrypt_serial`); n != 1 {
		t.Error("the serial numbers are not those that were stored first")
	}
	if n := f.count(t, `SELECT count(*) FROM kmc_keys`); n != 1 {
		t.Errorf("%d key records", n)
	}
	if _, err := protocol.VerifyPass(f.Life.PassKey(), e.answer.Pass, f.clock.Now()); err != nil {
		t.Error(err)
	}
	if _, err := f.Audit.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}
