package ca_test

import (
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

func TestHoldAndResume(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	renew := func() error {
		_, err := f.Life.RenewPass(t.Context(), signedCall(t, e.device, e.answer.Pass, caapi.PathPass, []byte(`{"v":1}`), f.clock.Now()))
		return err
	}
	must(t, renew())
	held, err := f.Life.Hold(t.Context(), audit.Local(""), life.Hold{Lineage: e.answer.Lineage})
	must(t, err)
	if len(held) != 2 {
		t.Errorf("held %v", held)
	}
	f.wantStatus(t, e.sign, trust.Revoked, trust.CertificateHold)
	refusedWith(t, renew(), protocol.CodeForbidden)
	list, err := f.Life.CRL(t.Context(), issuingName)
	must(t, err)
	if n := entriesOf(t, list); n != 2 {
		t.Errorf("%d entries in the list", n)
	}
	if again, err := f.Life.Hold(t.Context(), audit.Local(""), life.Hold{Lineage: e.answer.Lineage}); err != nil || len(again) != 0 {
		t.Errorf("held again: %v, %v", again, err)
	}
	f.sound(t)
	resumed, err := f.Life.Resume(t.Context(), audit.Local(""), life.Hold{Serial: e.serial()})
	must(t, err)
	if len(resumed) != 1 {
		t.Errorf("resumed %v", resumed)
	}
	f.wantStatus(t, e.sign, trust.Good, 0)
	f.wantStatus(t, e.encr, trust.Revoked, trust.CertificateHold)
	must(t, renew())
	list, err = f.Life.CRL(t.Context(), issuingName)
	must(t, err)
	if n := entriesOf(t, list); n != 1 {
		t.Errorf("%d entries in the list", n)
	}
	all, err := f.Status.Certificates(t.Context(), e.answer.Lineage, 10)
	must(t, err)
	for _, c := range all {
		if want := map[bool]string{true: "good", false: status.StateHeld}[c.Serial == e.serial()]; c.State != want {
			t.Errorf("%s is listed as %s, want %s", c.Serial, c.State, want)
		}
	}
	f.sound(t)
}

func entriesOf(t *testing.T, list *status.CRL) int {
	t.Helper()
	parsed, err := smx509.ParseRevocationList(list.DER)
	must(t, err)
	return len(parsed.RevokedCertificateEntries)
}

// TestRevokedForGood: a hold may become a revocation, as of its own day; nothing
// leads back.
func TestRevokedForGood(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	since := f.clock.Now()
	_, err := f.Life.Hold(t.Context(), audit.Local(""), life.Hold{Serial: e.serial()})
	must(t, err)
	f.clock.add(48 * time.Hour)
	_, err = f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Lineage: e.answer.Lineage, Reason: trust.KeyCompromise})
	must(t, err)
	f.wantStatus(t, e.sign, trust.Revoked, trust.KeyCompromise)
	if status := f.stateOf(t, e.sign); !status.RevokedAt.Equal(since) {
		t.Errorf("revoked as of %s, want the day of the hold %s", status.RevokedAt, since)
	}
	_, err = f.Life.Resume(t.Context(), audit.Local(""), life.Hold{Lineage: e.answer.Lineage})
	refusedWith(t, err, protocol.CodeCertRevoked)
	if held, err := f.Life.Hold(t.Context(), audit.Local(""), life.Hold{Lineage: e.answer.Lineage}); err != nil || len(held) != 0 {
		t.Errorf("held a revoked one: %v, %v", held, err)
	}
	if again, err := f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Lineage: e.answer.Lineage, Reason: trust.Superseded}); err != nil || len(again) != 0 {
		t.Errorf("revoked again: %v, %v", again, err)
	}
	f.wantStatus(t, e.sign, trust.Revoked, trust.KeyCompromise)
	_, err = f.Life.AuthoriseReissue(t.Context(), audit.Local(""), life.Reissue{Serial: e.serial()})
	refusedWith(t, err, protocol.CodeCertRevoked)
	f.sound(t)
}

// TestHoldThenReissue is how a lost phone is reported: held at once, reissued
// when the person was seen.
func TestHoldThenReissue(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	early := f.reissue(t, e)
	_, err := f.Life.Hold(t.Context(), audit.Local(""), life.Hold{Lineage: e.answer.Lineage})
	must(t, err)
	_, err = f.Life.Enrol(t.Context(), e.next(t, early).call(t)) // authorised before the hold
	refusedWith(t, err, protocol.CodeEnrolmentCode)
	_, err = f.Life.AuthoriseChange(t.Context(), audit.Local(""), life.Change{Serial: e.serial(), Organisation: newName})
	refusedWith(t, err, protocol.CodeCertRevoked)
	n := f.follow(t, e, f.reissue(t, e))
	f.wantStatus(t, e.sign, trust.Revoked, trust.Superseded)
	f.wantStatus(t, n.sign, trust.Good, 0)
	_, err = f.Life.Resume(t.Context(), audit.Local(""), life.Hold{Serial: e.serial()})
	refusedWith(t, err, protocol.CodeCertRevoked)
	f.sound(t)
}

func TestBlockDevice(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	spki, err := protocol.MarshalKey(e.device.Public())
	must(t, err)
	device, body := protocol.DeviceID(spki), []byte(`{"v":1}`)
	refusedWith(t, f.Life.BlockDevice(t.Context(), audit.Local(""), "nobody"), protocol.CodeNotFound)
	for range 2 {
		must(t, f.Life.BlockDevice(t.Context(), audit.Local(""), device))
	}
	_, err = f.Life.RenewPass(t.Context(), signedCall(t, e.device, e.answer.Pass, caapi.PathPass, body, f.clock.Now()))
	refusedWith(t, err, protocol.CodeForbidden)
	file := f.change(t, e)
	_, err = f.Life.Enrol(t.Context(), e.next(t, file).call(t))
	refusedWith(t, err, protocol.CodeForbidden)
	must(t, f.Life.UnblockDevice(t.Context(), audit.Local(""), device))
	_, err = f.Life.RenewPass(t.Context(), signedCall(t, e.device, e.answer.Pass, caapi.PathPass, body, f.clock.Now()))
	must(t, err)
	if n := f.count(t, `SELECT count(*) FROM ca_audit WHERE event IN ('device.blocked', 'device.unblocked')`); n != 2 {
		t.Errorf("%d entries", n)
	}
}

// TestOperatorsWordCountsOverAPendingIssuance: revoked, held or blocked between
// the beginning and the end of an issuance.
func TestOperatorsWordCountsOverAPendingIssuance(t *testing.T) {
	for name, act := range map[string]func(f *fixture, e *enrolled, p *phone) error{
		"revoke": func(f *fixture, e *enrolled, _ *phone) error {
			_, err := f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Lineage: e.answer.Lineage, Reason: trust.KeyCompromise})
			return err
		},
		"hold": func(f *fixture, e *enrolled, _ *phone) error {
			_, err := f.Life.Hold(t.Context(), audit.Local(""), life.Hold{Serial: e.serial()})
			return err
		},
		"block": func(f *fixture, _ *enrolled, p *phone) error {
			return f.Life.BlockDevice(t.Context(), audit.Local(""), protocol.DeviceID(p.request(t).DeviceKey))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			e := f.enrol(t)
			p := e.next(t, f.reissue(t, e))
			crashed := f.open(t)
			stopAt(crashed, stepSigned)
			if _, err := crashed.Life.Enrol(t.Context(), p.call(t)); err == nil {
				t.Fatal("no crash")
			}
			must(t, act(f, e, p))
			f.sound(t)
			if n, err := f.Life.Reconcile(t.Context()); err != nil || n != 0 {
				t.Errorf("reconciled %d: %v", n, err)
			}
			_, err := f.Life.Enrol(t.Context(), p.call(t))
			refusedWith(t, err, protocol.CodeEnrolmentCode)
			if n := f.count(t, `SELECT count(*) FROM ca_certificates WHERE issuance <> ''`); n != 2 {
				t.Errorf("%d certificates", n)
			}
			if n := f.count(t, `SELECT count(*) FROM ca_audit WHERE event = 'key.released'`); n != 1 {
				t.Errorf("%d releases", n)
			}
			f.sound(t)
		})
	}
}

// TestRevokeBeforeTheFirstCertificate: the lineage is known by its claim alone.
func TestRevokeBeforeTheFirstCertificate(t *testing.T) {
	f := newFixture(t)
	p := newPhone(t, f.clock, f.code(t, 0))
	crashed := f.open(t)
	stopAt(crashed, stepSigned)
	if _, err := crashed.Life.Enrol(t.Context(), p.call(t)); err == nil {
		t.Fatal("no crash")
	}
	var lineage string
	must(t, f.database(t).Reader().QueryRowContext(t.Context(), `SELECT lineage FROM ca_lineages`).Scan(&lineage))
	stopped, err := f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Lineage: lineage, Reason: trust.CessationOfOperation})
	if err != nil || len(stopped) != 0 {
		t.Errorf("%v, %v", stopped, err)
	}
	_, err = f.Life.Enrol(t.Context(), p.call(t))
	refusedWith(t, err, protocol.CodeEnrolmentCode)
	f.sound(t)
}
