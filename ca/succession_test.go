package ca_test

import (
	"testing"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
)

// TestCompromisedEncryptionKey: a key that is known to be in other hands is not
// certified again, neither by a code of before nor by a new one.
func TestCompromisedEncryptionKey(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	f.untilRenewal(e)
	_, err := f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Serial: trust.SerialHex(e.encr.SerialNumber), Reason: trust.KeyCompromise})
	must(t, err)
	_, err = f.Life.AuthoriseRenewal(t.Context(), audit.Local(""), life.Renewal{Serial: e.serial(), Years: 1})
	refusedWith(t, err, protocol.CodeCertRevoked)
	_, err = f.Life.AuthoriseChange(t.Context(), audit.Local(""), life.Change{Serial: e.serial(), Organisation: newName})
	refusedWith(t, err, protocol.CodeCertRevoked)
	_, err = f.Life.AuthoriseReissue(t.Context(), audit.Local(""), life.Reissue{Serial: e.serial()})
	refusedWith(t, err, protocol.CodeCertRevoked)
	next := f.follow(t, e, f.reissue(t, e, func(r *life.Reissue) { r.NewEncryptionKey = true }))
	if next.key.Equal(e.key) {
		t.Error("the compromised key goes on")
	}
	f.sound(t)
	f.untilRenewal(next)
	f.renewal(t, next, 1) // of the new key
}
