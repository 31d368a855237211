package ca

import (
	"testing"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
)

// TestCompromisedEncryptionKey: a key that is known to be in other hands is not
// certified again, neither by a code of before nor by a new one.
func TestCompromisedEncryptionKey(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	f.untilRenewal(e)
	_, err := f.Revoke(t.Context(), Revocation{Serial: trust.SerialHex(e.encr.SerialNumber), Reason: trust.KeyCompromise})
	must(t, err)
	_, err = f.AuthoriseRenewal(t.Context(), Renewal{Serial: e.serial(), Years: 1})
	refusedWith(t, err, protocol.CodeCertRevoked)
	_, err = f.AuthoriseChange(t.Context(), Change{Serial: e.serial(), Organisation: newName})
	refusedWith(t, err, protocol.CodeCertRevoked)
	_, err = f.AuthoriseReissue(t.Context(), Reissue{Serial: e.serial()})
	refusedWith(t, err, protocol.CodeCertRevoked)
	next := f.follow(t, e, f.reissue(t, e, func(r *Reissue) { r.NewEncryptionKey = true }))
	if next.key.Equal(e.key) {
		t.Error("the compromised key goes on")
	}
	f.sound(t)
	f.untilRenewal(next)
	f.renewal(t, next, 1) // of the new key
}
