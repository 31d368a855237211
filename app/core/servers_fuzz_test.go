package core_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/app/core"
	"github.com/bidseal/bidseal/app/core/keystore"
	"github.com/bidseal/bidseal/protocol"
)

// explained fails the test when an error escapes that an app could not explain: one without a code, or one that says no
// more than that something is wrong inside, unless a server refused the call without a reason.
func explained(t *testing.T, err error, refused bool) {
	t.Helper()
	var own *protocol.Error
	if err != nil && (!errors.As(err, &own) || own.Code == protocol.CodeInternal && !refused) {
		t.Fatalf("an error that nobody can explain: %v", err)
	}
}

// FuzzServerAnswers: relay and authority answer with any status and bytes to one kind of call, and correctly to the
// others. The phone ends with an error of the catalogue or does what it should; the next login with honest servers works.
// Slow.
func FuzzServerAnswers(f *testing.F) {
	paths := []string{"/claim", "/result", "/v1/info", "/v1/pass", "/v1/enrol", "/fail", "/ocsp"}
	w := newWorld(f)
	w.intercept = func(call core.Call, serve func() core.Answer) (core.Answer, error) {
		answer := serve()
		for i, path := range paths {
			if strings.Contains(call.URL, path) {
				f.Add(uint8(i), 200, answer.Body)
			}
		}
		return answer, nil
	}
	_, err := w.phone.Enrol(f.Context(), w.authority.file(), core.Setup{}, []byte(password))
	must(f, err)
	w.approve(w.scan(w.login(order{})))
	for i := range paths {
		f.Add(uint8(i), 200, []byte(`{}`))
		f.Add(uint8(i), 403, []byte(`{"type":"urn:bidseal:error:expired","code":"expired"}`))
		f.Add(uint8(i), 401, []byte(`{"code":"clock_skew","server_time":1800000000000}`))
	}
	f.Fuzz(func(t *testing.T, which uint8, status int, body []byte) {
		w, refused := newWorld(t), status/100 != 2
		path := paths[int(which)%len(paths)]
		w.intercept = func(call core.Call, serve func() core.Answer) (core.Answer, error) {
			if strings.Contains(call.URL, path) {
				return core.Answer{Status: status, Body: body}, nil
			}
			return serve(), nil
		}
		_, err := w.phone.Enrol(t.Context(), w.authority.file(), core.Setup{}, []byte(password))
		explained(t, err, refused)
		if err != nil {
			return
		}
		s, err := w.phone.Scan(t.Context(), w.login(order{}).link)
		explained(t, err, refused)
		if err == nil {
			_, err = s.Approve(t.Context(), s.Review().Candidates[0].ID, []byte(password))
			explained(t, err, refused)
		}
		w.intercept = nil
		w.restart()
		w.approve(w.scan(w.login(order{})))
	})
}

// FuzzStoredState: whatever one file of the phone's storage holds (the keystore has a target of its own), opening the
// phone and logging in end as they should or in an error of the catalogue.
// Slow.
func FuzzStoredState(f *testing.F) {
	_, content := phoneFiles(f)
	for i, raw := range content {
		f.Add(uint8(i), raw)
		f.Add(uint8(i), []byte(`{}`))
	}
	f.Fuzz(func(t *testing.T, which uint8, raw []byte) {
		w, content := phoneFiles(t)
		names, err := w.files.List(t.Context(), "")
		must(t, err)
		at := int(which) % len(content)
		if names[at] == "keystore.json" || w.files.Write(t.Context(), names[at], raw) != nil {
			return
		}
		store, err := keystore.New(w.files, cheap())
		must(t, err)
		phone, err := core.Open(t.Context(), core.Options{
			Files: w.files, Keys: store, Transport: w, App: "test/1", Now: func() time.Time { return w.clock.now }, Log: slog.New(slog.DiscardHandler),
		})
		explained(t, err, false)
		if err != nil {
			return
		}
		_, err = phone.Resume(t.Context())
		explained(t, err, false)
		_, err = phone.UsageRecords(t.Context())
		explained(t, err, false)
		s, err := phone.Scan(t.Context(), w.login(order{}).link)
		explained(t, err, false)
		if err == nil {
			_, err = s.Approve(t.Context(), s.Review().Candidates[0].ID, []byte(password))
			explained(t, err, false)
		}
	})
}

// phoneFiles is the storage of a phone that has logged in once and claimed once more, by the order of the names.
func phoneFiles(t testing.TB) (*world, [][]byte) {
	t.Helper()
	w := enrolled(t)
	w.approve(w.scan(w.login(order{})))
	w.scan(w.login(order{}))
	names, err := w.files.List(t.Context(), "")
	must(t, err)
	content := make([][]byte, len(names))
	for i, name := range names {
		content[i], err = w.files.Read(t.Context(), name)
		must(t, err)
	}
	return w, content
}
