package keystore_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/assistapi"
)

// unproved carries calls to the server, but no proof of a success.
func unproved(path string, _ []byte, serve func() ([]byte, error)) ([]byte, error) {
	if path == assistapi.PathProve {
		return nil, errAway
	}
	return serve()
}

// A new password whose success the server never heard of, and which was forgotten
// then, is reset like any other.
func TestResetOfAnUnconfirmedPassword(t *testing.T) {
	w := assisted(t)
	begun := false
	w.intercept = func(path string, body []byte, serve func() ([]byte, error)) ([]byte, error) {
		if begun = begun || path == assistapi.PathBegin; begun {
			return unproved(path, body, serve)
		}
		return serve()
	}
	must(t, w.open().ChangePassword(t.Context(), []byte(right), []byte("forgotten-password")))
	w.intercept = nil
	w.now = w.now.Add(48 * time.Hour) // the noted proof is of no more use
	const next = "another-password"
	must(t, w.open().ResetPassword(t.Context(), w.token(), []byte(next)))
	must(t, w.use(next))
}

// Changes that break off never push out the epoch of the file that is there.
func TestBrokenChangesKeepTheUnconfirmedPassword(t *testing.T) {
	w := newWorld(t)
	pair(t, open(t, w.files), "r1", 10)
	w.intercept = unproved
	must(t, w.open().Upgrade(t.Context(), []byte(right)))
	begun := int64(0)
	w.intercept = func(path string, body []byte, serve func() ([]byte, error)) ([]byte, error) {
		var r struct {
			Epoch int64 `json:"epoch"`
		}
		must(t, json.Unmarshal(body, &r))
		if path == assistapi.PathEvaluate && begun == 0 {
			begun = r.Epoch
		}
		if path == assistapi.PathEvaluate && r.Epoch != begun {
			return nil, errAway
		}
		return unproved(path, body, serve)
	}
	for range 6 {
		if err := w.open().ChangePassword(t.Context(), []byte(right), []byte("another-password")); err == nil {
			t.Fatal("changed without the server")
		}
	}
	w.intercept = nil
	must(t, w.use(right))
}
