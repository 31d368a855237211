package assist

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/protocol"
)

// Everything that was ever sent, sent again by somebody who listened, in any
// order: it counts nothing, changes nothing, and after a minute is refused.
func TestReplay(t *testing.T) {
	w := newWorld(t)
	p := w.phone()
	var sent []Call
	next := random(t, 16)
	body, _ := p.beginBody(nil, next)
	sent = append(sent, p.call(assistapi.PathBegin, body))
	b, err := w.Begin(t.Context(), sent[0])
	must(t, err)
	try := p.tryEpoch(b.Epoch, b.ServerKey, right)
	sent = append(sent, p.call(assistapi.PathEvaluate, try.body))
	_, err = w.Evaluate(t.Context(), sent[1])
	must(t, err)
	sent = append(sent, p.call(assistapi.PathProve, p.proof(next, b.Epoch, try.body.Attempt)))
	_, err = w.Prove(t.Context(), sent[2])
	must(t, err)
	replay := func(c Call) (err error) {
		switch c.Path {
		case assistapi.PathBegin:
			_, err = w.Begin(t.Context(), c)
		case assistapi.PathEvaluate:
			_, err = w.Evaluate(t.Context(), c)
		case assistapi.PathProve:
			_, err = w.Prove(t.Context(), c)
		}
		return err
	}
	before := w.heard()
	slices.Reverse(sent)
	for range 3 {
		for _, c := range sent {
			must(t, replay(c))
		}
	}
	if p.keystoreState() != "live 1 1 1" || w.count(`SELECT count(*) FROM assist_epochs`) != 1 || len(w.heard()) != len(before) {
		t.Errorf("%s, events %v", p.keystoreState(), w.heard())
	}
	w.add(2 * time.Minute)
	for _, c := range sent {
		if err := replay(c); protocol.CodeOf(err) != protocol.CodeClockSkew {
			t.Errorf("%s after two minutes: %v", c.Path, err)
		}
	}
	// nor does an answer that was counted long ago count again
	w.add(2 * attemptKept)
	if err := replay(sent[1]); protocol.CodeOf(err) != protocol.CodeClockSkew {
		t.Error(err)
	}
}

// keystoreState is the row as text.
func (p *phone) keystoreState() string {
	p.w.t.Helper()
	var state string
	must(p.w.t, p.w.db.Reader().QueryRowContext(p.w.t.Context(), `SELECT state || ' ' || epoch || ' ' || counted || ' ' || forgiven FROM assist_keystores WHERE device = $1`, p.id).Scan(&state))
	return state
}

// Messages out of order change nothing that they are not entitled to.
func TestReordering(t *testing.T) {
	w := newWorld(t)
	p, dataKey := w.enrolled()
	next, try, _ := p.set(dataKey, "a new password")
	late := p.call(assistapi.PathProve, p.proof(dataKey, p.epoch-1, try.body.Attempt)) // of the new attempt, by the old epoch
	_, err := w.Prove(t.Context(), late)
	wantCode(t, err, protocol.CodeNotFound)
	cross := p.proof(next, p.epoch-1, try.body.Attempt)
	_, err = w.Prove(t.Context(), p.call(assistapi.PathProve, cross))
	wantCode(t, err, protocol.CodeUnauthorized)
	must(t, p.prove(next, try))
	_, err = w.Prove(t.Context(), late) // its epoch is gone
	wantCode(t, err, protocol.CodeKeystoreGone)
	body, _ := p.beginBody(dataKey, random(t, 16)) // authorised by the deleted epoch
	_, err = w.Begin(t.Context(), p.call(assistapi.PathBegin, body))
	wantCode(t, err, protocol.CodeUnauthorized)
	if w.count(`SELECT count(*) FROM assist_epochs`) != 1 {
		t.Error("a pending epoch was made")
	}
}

// A database without its key-encryption key evaluates nothing and releases
// nothing, and its rows cannot be moved to where another key is known.
func TestDatabaseTheft(t *testing.T) {
	w := newWorld(t)
	p, _ := w.enrolled()
	thief := w.open(random(t, KEKSize))
	if _, err := thief.Evaluate(t.Context(), p.call(assistapi.PathEvaluate, p.try(right).body)); !errors.Is(err, ErrSealed) {
		t.Errorf("evaluated with another key: %v", err)
	}
	r, _ := p.ask(p.token())
	if _, err := thief.Reset(t.Context(), p.call(assistapi.PathReset, r)); !errors.Is(err, ErrSealed) {
		t.Errorf("released with another key: %v", err)
	}
	other, _ := w.enrolled()
	for _, column := range []string{"wrapped", "share"} {
		must(t, w.exec(`UPDATE assist_epochs SET `+column+` = (SELECT `+column+` FROM assist_epochs WHERE device = $1) WHERE device = $2`, other.id, p.id))
	}
	if _, err := p.send(p.try(right)); !errors.Is(err, ErrSealed) {
		t.Errorf("evaluated with another keystore's key: %v", err)
	}
}

// What lies in the database of a try does not tell what was tried.
func TestTheDatabaseIsNoOracle(t *testing.T) {
	w := newWorld(t)
	p, _ := w.enrolled()
	try := p.try(right)
	a, err := p.send(try)
	must(t, err)
	rows, err := w.db.Reader().QueryContext(t.Context(), `SELECT attempt, blinded, answer FROM assist_attempts`)
	must(t, err)
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var id string
		var blinded, answer []byte
		must(t, rows.Scan(&id, &blinded, &answer))
		for _, secret := range [][]byte{try.body.Blinded, a.Evaluated, a.Proof, protocol.H(try.body.Blinded)} {
			if bytes.Contains(blinded, secret) || bytes.Contains(answer, secret) {
				t.Errorf("%x lies in the clear", secret)
			}
		}
	}
	must(t, rows.Err())
	if n != 2 {
		t.Errorf("%d attempts", n)
	}
}

// An event that the log does not take stops what it is about.
func TestWhatIsNotAuditedDoesNotHappen(t *testing.T) {
	w := newWorld(t)
	p, _ := w.enrolled()
	away := errors.New("the log is away")
	w.o.Audit = func(context.Context, Querier, Event) error { return away }
	r, _ := p.ask(p.token())
	if _, err := p.reset(r); !errors.Is(err, away) {
		t.Errorf("released without an entry: %v", err)
	}
	if w.count(`SELECT count(*) FROM assist_tokens`) != 0 {
		t.Error("the token was used up")
	}
	for range assistapi.MaxTries - 1 {
		_, _, err := p.open(wrong)
		must(t, err)
	}
	if _, _, err := p.open(wrong); !errors.Is(err, away) {
		t.Errorf("locked without an entry: %v", err)
	}
}

// FuzzBodies: whatever stands in a body, the refusal is one of the catalogue.
func FuzzBodies(f *testing.F) {
	w := newWorld(f)
	p, dataKey := w.enrolled()
	body, _ := p.beginBody(dataKey, random(f, 16))
	r, _ := p.ask(p.token())
	for _, c := range []Call{p.call(assistapi.PathBegin, body), p.call(assistapi.PathEvaluate, p.try(right).body),
		p.call(assistapi.PathProve, p.proof(dataKey, p.epoch, random(f, 16))), p.call(assistapi.PathReset, r)} {
		f.Add(c.Body)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, path := range []string{assistapi.PathBegin, assistapi.PathEvaluate, assistapi.PathProve, assistapi.PathReset} {
			proof, err := protocol.NewProof(p.key, "", protocol.Call{Method: "POST", URL: testURL + path, Body: raw}, w.clock())
			must(t, err)
			c := Call{Path: path, Body: raw, Proof: proof}
			switch path {
			case assistapi.PathBegin:
				_, err = w.Begin(t.Context(), c)
			case assistapi.PathEvaluate:
				_, err = w.Evaluate(t.Context(), c)
			case assistapi.PathProve:
				_, err = w.Prove(t.Context(), c)
			case assistapi.PathReset:
				_, err = w.Reset(t.Context(), c)
			}
			if protocol.CodeOf(err) == protocol.CodeInternal {
				t.Fatal(err)
			}
		}
	})
}
