package storetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
)

// claimedStored is a challenge that a device has claimed.
func (s *suite) claimedStored(t *testing.T, device string) relay.Challenge {
	t.Helper()
	c := s.created(t, "p1")
	c, err := s.State.Swap(t.Context(), c.Rev, s.claimed(t, c, device))
	check(t, err)
	return c
}

func (s *suite) verifyLedger(t *testing.T, entries uint64) relay.LedgerHead {
	t.Helper()
	report, err := relay.VerifyLedger(t.Context(), s.Outcomes, s.key.Public(), nil)
	check(t, err)
	if report.Entries != entries || report.Head.Size != entries {
		t.Fatalf("ledger of %d entries, want %d", report.Entries, entries)
	}
	return report.Head
}

func sameEnd(t *testing.T, got, want relay.End) {
	t.Helper()
	g, w := got.Promise, want.Promise
	if !got.Same(want) || !slices.Equal(got.KEM, want.KEM) || !slices.Equal(got.Box, want.Box) || got.Account != want.Account || got.At != want.At ||
		got.Kind != want.Kind || !slices.Equal(got.Receipt.Bytes, want.Receipt.Bytes) || !slices.Equal(got.Receipt.Signature, want.Receipt.Signature) ||
		g.Index != w.Index || !slices.Equal(g.Head, w.Head) || !slices.Equal(g.Salt, w.Salt) || !slices.Equal(g.Signature, w.Signature) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
}

func testEnds(t *testing.T, s *suite) {
	c := s.claimedStored(t, device(1))
	_, err := s.Outcomes.Ended(t.Context(), c.CID)
	want(t, err, relay.ErrNotFound)
	head, err := s.Outcomes.Head(t.Context())
	check(t, err)
	if head.Size != 0 || !slices.Equal(head.Head, make([]byte, 32)) {
		t.Fatalf("head of an empty ledger: %+v", head)
	}
	_, e := s.fulfilled(t, c, device(1))
	won, err := s.Outcomes.End(t.Context(), e, s.sign)
	check(t, err)
	check(t, protocol.VerifyPromise(s.key.Public(), &won.Promise, e.Receipt.Bytes))
	e.Promise = won.Promise
	sameEnd(t, won, e)
	got, err := s.Outcomes.Ended(t.Context(), c.CID)
	check(t, err)
	sameEnd(t, got, won)

	// the same again, and another one, both get what stands
	for _, given := range []relay.End{e, s.end(t, c, device(1)), s.end(t, c, device(2))} {
		again, err := s.Outcomes.End(t.Context(), given, s.sign)
		check(t, err)
		sameEnd(t, again, won)
	}
	s.verifyLedger(t, 1)
	check(t, s.Outcomes.Release(t.Context(), []protocol.CID{c.CID}))
	got, err = s.Outcomes.Ended(t.Context(), c.CID)
	check(t, err)
	if got.Box != nil || got.KEM != nil || !got.Same(won) || len(got.Receipt.Bytes) == 0 {
		t.Fatalf("released end %+v", got)
	}
	s.verifyLedger(t, 1)
}

func testEndRaces(t *testing.T, s *suite) {
	const phones, challenges = 32, 8
	for range challenges {
		c := s.claimedStored(t, device(1))
		given := make([]relay.End, phones)
		for i := range given {
			given[i] = s.end(t, c, device(i))
		}
		won := make([]relay.End, phones)
		for _, err := range race(phones, func(i int) error {
			var err error
			won[i], err = s.Outcomes.End(t.Context(), given[i], s.sign)
			return err
		}) {
			check(t, err)
		}
		own := 0
		for i := range won {
			sameEnd(t, won[i], won[0])
			if won[i].Same(given[i]) {
				own++
			}
		}
		if own != 1 {
			t.Fatalf("%d winners", own)
		}
	}
	s.verifyLedger(t, challenges)
}

func testUnapplied(t *testing.T, s *suite) {
	var ends []relay.End
	for i := range 3 {
		_, e := s.fulfilled(t, s.claimedStored(t, device(i)), device(i))
		won, err := s.Outcomes.End(t.Context(), e, s.sign)
		check(t, err)
		ends = append(ends, won)
		s.clock.Advance(time.Second)
	}
	wantUnapplied := func(want ...relay.End) {
		t.Helper()
		list, err := s.Outcomes.Unapplied(t.Context(), 2)
		check(t, err)
		if len(list) != len(want) {
			t.Fatalf("%d unapplied ends, want %d", len(list), len(want))
		}
		for i := range want {
			sameEnd(t, list[i], want[i])
		}
	}
	wantUnapplied(ends[0], ends[1])
	for range 2 {
		check(t, s.Outcomes.Applied(t.Context(), ends[0].CID))
	}
	wantUnapplied(ends[1], ends[2])
	check(t, s.Outcomes.Applied(t.Context(), ends[1].CID))
	check(t, s.Outcomes.Applied(t.Context(), ends[2].CID))
	wantUnapplied()
}

func testLedger(t *testing.T, s *suite) {
	const entries = 40
	all := make([]relay.Challenge, entries)
	given := make([]relay.End, entries)
	for i := range all {
		all[i] = s.claimedStored(t, device(1))
		given[i] = s.end(t, all[i], device(1))
	}
	var mu sync.Mutex
	promises := map[uint64]relay.End{}
	for _, err := range race(entries, func(i int) error {
		won, err := s.Outcomes.End(t.Context(), given[i], s.sign)
		mu.Lock()
		defer mu.Unlock()
		promises[won.Promise.Index] = won
		return err
	}) {
		check(t, err)
	}
	head := s.verifyLedger(t, entries)
	if !slices.Equal(head.Head, promises[entries-1].Promise.Head) || !slices.Equal(head.Entry, promises[entries-1].Promise.Entry) {
		t.Fatal("the head is not that of the last entry")
	}
	var from uint64
	for from < entries {
		list, err := s.Outcomes.Ledger(t.Context(), from, 7)
		check(t, err)
		if len(list) == 0 || len(list) > 7 {
			t.Fatalf("page of %d entries", len(list))
		}
		for _, e := range list {
			if w := promises[from]; e.Promise.Index != from || e.CID != w.CID || !slices.Equal(e.Receipt, w.Receipt.Bytes) {
				t.Fatalf("entry %d is another one", from)
			}
			from++
		}
	}
	if n, err := s.Outcomes.Unlisted(t.Context()); err != nil || n != 0 {
		t.Fatalf("%d unlisted ends, %v", n, err)
	}
	// a kept head has to be on the way
	kept := relay.LedgerHead{Size: 10, Head: promises[9].Promise.Head}
	_, err := relay.VerifyLedger(t.Context(), s.Outcomes, s.key.Public(), &kept)
	check(t, err)
	for _, wrong := range []relay.LedgerHead{{Size: 11, Head: kept.Head}, {Size: entries + 1, Head: head.Head}, {Size: 0, Head: kept.Head}} {
		_, err = relay.VerifyLedger(t.Context(), s.Outcomes, s.key.Public(), &wrong)
		want(t, err, &protocol.Error{Code: protocol.CodeLedgerInvalid})
	}
}

// testSignerFails: an end whose promise cannot be signed is not stored, and does
// not take others with it.
func testSignerFails(t *testing.T, s *suite) {
	broken := errors.New("key is away")
	const n = 16
	given := make([]relay.End, n)
	for i := range given {
		given[i] = s.end(t, s.claimedStored(t, device(1)), device(1))
	}
	errs := race(n, func(i int) error {
		sign := s.sign
		if i%4 == 0 {
			sign = func(*protocol.Promise) error { return broken }
		}
		_, err := s.Outcomes.End(t.Context(), given[i], sign)
		return err
	})
	for i, err := range errs {
		_, readErr := s.Outcomes.Ended(t.Context(), given[i].CID)
		if i%4 != 0 {
			check(t, errors.Join(err, readErr))
			continue
		}
		want(t, err, broken)
		want(t, readErr, relay.ErrNotFound)
	}
	s.verifyLedger(t, n-n/4)
	_, err := s.Outcomes.End(t.Context(), given[0], s.sign)
	check(t, err)
	s.verifyLedger(t, n-n/4+1)
}

// joint is the backend's Joint where state and ends are one database.
func (s *suite) joint() (relay.Joint, bool) {
	j, ok := s.State.(relay.Joint)
	return j, ok && any(s.State) == any(s.Outcomes)
}

func testJoint(t *testing.T, s *suite) {
	j, ok := s.joint()
	if !ok {
		return // two databases: the relay does the two steps, and its sweeper the rest
	}
	c := s.claimedStored(t, device(1))
	next, e := s.fulfilled(t, c, device(1))
	_, _, err := j.EndSwap(t.Context(), c.Rev+1, next, e, s.sign)
	want(t, err, relay.ErrConflict)
	_, err = s.Outcomes.Ended(t.Context(), c.CID)
	want(t, err, relay.ErrNotFound)

	stored, won, err := j.EndSwap(t.Context(), c.Rev, next, e, s.sign)
	check(t, err)
	e.Promise = won.Promise
	sameEnd(t, won, e)
	if stored.Rev <= c.Rev || stored.Promise == nil || stored.Promise.Index != won.Promise.Index {
		t.Fatalf("stored rev %d with %+v", stored.Rev, stored.Promise)
	}
	got, err := s.State.Get(t.Context(), c.CID)
	check(t, err)
	sameChallenge(t, got, stored)
	if list, err := s.Outcomes.Unapplied(t.Context(), 5); err != nil || len(list) != 0 {
		t.Fatalf("unapplied %v, %v", list, err)
	}
	_, _, err = j.EndSwap(t.Context(), c.Rev, next, e, s.sign)
	want(t, err, relay.ErrConflict)

	// a state that does not know of the end that stands
	c = s.claimedStored(t, device(1))
	_, e = s.fulfilled(t, c, device(1))
	won, err = s.Outcomes.End(t.Context(), e, s.sign)
	check(t, err)
	next, other := s.fulfilled(t, c, device(1))
	_, stands, err := j.EndSwap(t.Context(), c.Rev, next, other, s.sign)
	want(t, err, relay.ErrEnded)
	sameEnd(t, stands, won)
	got, err = s.State.Get(t.Context(), c.CID)
	check(t, err)
	sameChallenge(t, got, c)
	_, _, err = j.EndSwap(t.Context(), 1, s.fresh(t, "p1"), e, s.sign)
	want(t, err, relay.ErrNotFound)
	s.verifyLedger(t, 2)
}

func testJointRaces(t *testing.T, s *suite) {
	j, ok := s.joint()
	if !ok {
		return
	}
	const rivals, challenges = 32, 8
	for range challenges {
		c := s.claimedStored(t, device(1))
		next := make([]relay.Challenge, rivals)
		ends := make([]relay.End, rivals)
		for i := range next {
			next[i], ends[i] = s.fulfilled(t, c, device(1))
		}
		winners := 0
		for _, err := range race(rivals, func(i int) error {
			_, _, err := j.EndSwap(t.Context(), c.Rev, next[i], ends[i], s.sign)
			return err
		}) {
			if err == nil {
				winners++
			} else {
				want(t, err, relay.ErrConflict)
			}
		}
		if winners != 1 {
			t.Fatalf("%d winners", winners)
		}
		got, err := s.State.Get(t.Context(), c.CID)
		check(t, err)
		e, err := s.Outcomes.Ended(t.Context(), c.CID)
		check(t, err)
		if !slices.Equal(got.Progress.ResultDigest, e.Digest) || got.Promise == nil || !slices.Equal(got.Promise.Head, e.Promise.Head) {
			t.Fatal("state and end differ")
		}
	}
	s.verifyLedger(t, challenges)
}

// testLostAnswers: a write that failed may have happened, so each is repeated.
func testLostAnswers(t *testing.T, s *suite) {
	lossy := &Lossy{State: s.State, Nonces: s.Nonces, Counters: s.Counters, Outcomes: s.Outcomes}
	lossy.Lose(func(string) bool { return true })
	c := s.fresh(t, "p1")
	_, _, err := lossy.Create(t.Context(), c, []byte("request"), plenty)
	want(t, err, ErrLost)
	c, created, err := s.State.Create(t.Context(), c, []byte("request"), plenty)
	check(t, err)
	if created {
		t.Fatal("the lost create made nothing")
	}
	next := s.claimed(t, c, device(1))
	_, err = lossy.Swap(t.Context(), c.Rev, next)
	want(t, err, ErrLost)
	_, err = s.State.Swap(t.Context(), c.Rev, next)
	want(t, err, relay.ErrConflict)
	c, err = s.State.Get(t.Context(), c.CID)
	check(t, err)
	if c.Progress.Device != device(1) {
		t.Fatal("the lost swap stored nothing")
	}
	_, e := s.fulfilled(t, c, device(1))
	_, err = lossy.End(t.Context(), e, s.sign)
	want(t, err, ErrLost)
	stands, err := s.Outcomes.Ended(t.Context(), c.CID)
	check(t, err)
	won, err := s.Outcomes.End(t.Context(), e, s.sign)
	check(t, err)
	sameEnd(t, won, stands)
	s.verifyLedger(t, 1)
	_, err = lossy.UseNonce(t.Context(), "n", s.clock.Now().Add(time.Minute))
	want(t, err, ErrLost)
	if fresh, err := s.Nonces.UseNonce(t.Context(), "n", s.clock.Now().Add(time.Minute)); err != nil || fresh {
		t.Fatalf("a lost nonce is fresh: %t, %v", fresh, err)
	}
	// a caller that gives up does not undo or break anything
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.State.Swap(gone, c.Rev, s.canceled(t, c))
	if err == nil {
		t.Fatal("a call without a caller succeeded")
	}
	_, err = s.State.Get(t.Context(), c.CID)
	check(t, err)
}

// testForgottenClaims: the state goes back to before the claims, as after a
// failover, and other devices claim and deliver. The ends that stand are the
// first ones, and the states can follow them.
func testForgottenClaims(t *testing.T, s *suite) {
	const challenges, rivals = 4, 8
	for range challenges {
		before := s.created(t, "p1")
		c, err := s.State.Swap(t.Context(), before.Rev, s.claimed(t, before, device(1)))
		check(t, err)
		next, e := s.fulfilled(t, c, device(1))
		won, err := s.Outcomes.End(t.Context(), e, s.sign)
		check(t, err)
		forgotten, err := s.State.Swap(t.Context(), c.Rev, before)
		check(t, err)
		again, err := s.State.Swap(t.Context(), forgotten.Rev, s.claimed(t, forgotten, device(2)))
		check(t, err)
		given := make([]relay.End, rivals)
		for i := range given {
			_, given[i] = s.fulfilled(t, again, device(2))
		}
		for _, err := range race(rivals, func(i int) error {
			stands, err := s.Outcomes.End(t.Context(), given[i], s.sign)
			if err == nil && (stands.Device != device(1) || !slices.Equal(stands.Digest, e.Digest)) {
				return errors.New("another end took the place of the first")
			}
			return err
		}) {
			check(t, err)
		}
		next.Promise = &won.Promise
		stored, err := s.State.Swap(t.Context(), again.Rev, next)
		check(t, err)
		if stored.Rev <= again.Rev || stored.Progress.Device != device(1) {
			t.Fatalf("stored rev %d, %+v", stored.Rev, stored.Progress)
		}
	}
	s.verifyLedger(t, challenges)
}

func testReopen(t *testing.T, s *suite) {
	id, err := s.State.ID(t.Context())
	check(t, err)
	c := s.claimedStored(t, device(1))
	_, e := s.fulfilled(t, c, device(1))
	won, err := s.Outcomes.End(t.Context(), e, s.sign)
	check(t, err)
	_, err = s.Nonces.UseNonce(t.Context(), "n", s.clock.Now().Add(time.Minute))
	check(t, err)
	head := s.verifyLedger(t, 1)

	s.clock.Advance(-time.Hour) // the machine came back with a wrong clock
	s.Backend = s.Reopen(t)
	again, err := s.State.ID(t.Context())
	check(t, err)
	if again != id {
		t.Fatalf("store id %s, was %s", again, id)
	}
	got, err := s.State.Get(t.Context(), c.CID)
	check(t, err)
	sameChallenge(t, got, c)
	stands, err := s.Outcomes.Ended(t.Context(), c.CID)
	check(t, err)
	sameEnd(t, stands, won)
	if h := s.verifyLedger(t, 1); !slices.Equal(h.Head, head.Head) {
		t.Fatal("another head")
	}
	if fresh, err := s.Nonces.UseNonce(t.Context(), "n", s.clock.Now().Add(time.Minute)); err != nil || fresh {
		t.Fatalf("a nonce was forgotten: %t, %v", fresh, err)
	}
	if n := s.created(t, "p1"); n.Rev <= c.Rev {
		t.Fatalf("rev %d after %d", n.Rev, c.Rev)
	}
}
