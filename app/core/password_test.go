package core_test

import (
	"testing"

	"github.com/bidseal/bidseal/app/core/keys"
	"github.com/bidseal/bidseal/app/core/keystore"
	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/protocol"
)

func TestWrongPassword(t *testing.T) {
	w := enrolled(t)
	s := w.scan(w.login(order{}))
	id := s.Review().Candidates[0].ID
	_, err := s.Approve(t.Context(), id, []byte("wrong-password"))
	wantCode(t, err, protocol.CodePasswordWrong)
	if n := len(w.sent("/result")); n != 0 {
		t.Error("a result went out")
	}
	w.approve(s) // the same session goes on
}

// The tenth wrong password locks, tells the platform, and stays locked after a
// restart and for the right password.
func TestPasswordLock(t *testing.T) {
	w := enrolled(t)
	d := w.login(order{})
	s := w.scan(d)
	id := s.Review().Candidates[0].ID
	for range assistapi.MaxTries - 1 {
		_, err := s.Approve(t.Context(), id, []byte("wrong-password"))
		wantCode(t, err, protocol.CodePasswordWrong)
		w.restart() // the counter is on disk
	}
	_, err := s.Approve(t.Context(), id, []byte("wrong-password"))
	wantCode(t, err, protocol.CodePasswordLocked)
	d.ended(protocol.StateFailed, protocol.CodePasswordLocked)
	second := w.login(order{})
	s = w.scan(second)
	_, err = s.Approve(t.Context(), id, []byte(password))
	wantCode(t, err, protocol.CodePasswordLocked)
	store, err := keystore.New(w.files, cheap())
	must(t, err)
	if left, err := store.TriesLeft(t.Context()); err != nil || left != 0 {
		t.Errorf("%d tries left, %v", left, err)
	}
}

func TestUnknownCertificate(t *testing.T) {
	w := enrolled(t)
	s := w.scan(w.login(order{}))
	own, err := w.phone.Certificates(t.Context())
	must(t, err)
	for _, c := range own {
		if c.Use == keys.Encrypt {
			_, err = s.Approve(t.Context(), c.ID, []byte(password))
			wantCode(t, err, protocol.CodeNoCertificate)
		}
	}
	_, err = s.Approve(t.Context(), "", []byte(password))
	wantCode(t, err, protocol.CodeNoCertificate)
}
