package storetest

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
)

func testCreate(t *testing.T, s *suite) {
	c := s.fresh(t, "p1")
	request := random(t, 5000)
	stored, created, err := s.State.Create(t.Context(), c, request, plenty)
	check(t, err)
	if !created || stored.Rev < s.clock.Now().UnixMicro() {
		t.Fatalf("created %t with rev %d", created, stored.Rev)
	}
	got, err := s.State.Get(t.Context(), c.CID)
	check(t, err)
	sameChallenge(t, got, stored)

	moved, err := s.State.Swap(t.Context(), stored.Rev, s.claimed(t, stored, device(1)))
	check(t, err)
	again, created, err := s.State.Create(t.Context(), c, request, plenty)
	check(t, err)
	if created {
		t.Fatal("a repeated create made a challenge")
	}
	sameChallenge(t, again, moved)

	other := c
	other.CreateDigest = random(t, 32)
	_, _, err = s.State.Create(t.Context(), other, request, plenty)
	want(t, err, relay.ErrExists)
	other = c
	other.Platform = "p2"
	_, _, err = s.State.Create(t.Context(), other, request, plenty)
	want(t, err, relay.ErrExists)
	got, err = s.State.Get(t.Context(), c.CID)
	check(t, err)
	sameChallenge(t, got, moved)

	_, err = s.State.Get(t.Context(), s.fresh(t, "p1").CID)
	want(t, err, relay.ErrNotFound)
}

func testCreateRaces(t *testing.T, s *suite) {
	for range 8 {
		c := s.fresh(t, "p1")
		request := random(t, 64)
		var made atomic.Int32
		revs := make([]int64, 32)
		for _, err := range race(32, func(i int) error {
			stored, created, err := s.State.Create(t.Context(), c, request, plenty)
			if created {
				made.Add(1)
			}
			revs[i] = stored.Rev
			return err
		}) {
			check(t, err)
		}
		if made.Load() != 1 || slices.Min(revs) != slices.Max(revs) {
			t.Fatalf("made %d times, revs %v", made.Load(), revs)
		}
	}
}

func testOpenLimit(t *testing.T, s *suite) {
	create := func(platform string) (relay.Challenge, error) {
		c, _, err := s.State.Create(t.Context(), s.fresh(t, platform), random(t, 32), 2)
		return c, err
	}
	first, err := create("p1")
	check(t, err)
	_, err = create("p1")
	check(t, err)
	_, err = create("p1")
	want(t, err, relay.ErrFull)
	_, err = create("p2")
	check(t, err)
	claimed, err := s.State.Swap(t.Context(), first.Rev, s.claimed(t, first, device(1)))
	check(t, err)
	_, err = create("p1")
	want(t, err, relay.ErrFull)
	_, err = s.State.Swap(t.Context(), claimed.Rev, s.canceled(t, claimed))
	check(t, err)
	_, err = create("p1")
	check(t, err)
	_, err = create("p1")
	want(t, err, relay.ErrFull)
	list, err := s.State.Feed(t.Context(), "p1", 0, 10)
	check(t, err)
	if len(list) != 3 {
		t.Fatalf("%d challenges: a refused one was stored", len(list))
	}
}

func testSwap(t *testing.T, s *suite) {
	c := s.created(t, "p1")
	next := s.claimed(t, c, device(1))
	_, err := s.State.Swap(t.Context(), c.Rev-1, next)
	want(t, err, relay.ErrConflict)
	_, err = s.State.Swap(t.Context(), c.Rev+1, next)
	want(t, err, relay.ErrConflict)
	unknown := next
	unknown.CID = s.fresh(t, "p1").CID
	_, err = s.State.Swap(t.Context(), c.Rev, unknown)
	want(t, err, relay.ErrNotFound)

	stored, err := s.State.Swap(t.Context(), c.Rev, next)
	check(t, err)
	if stored.Rev <= c.Rev {
		t.Fatalf("rev %d after %d", stored.Rev, c.Rev)
	}
	next.Rev = stored.Rev
	sameChallenge(t, stored, next)
	got, err := s.State.Get(t.Context(), c.CID)
	check(t, err)
	sameChallenge(t, got, stored)
	_, err = s.State.Swap(t.Context(), c.Rev, next)
	want(t, err, relay.ErrConflict)
}

// testSwapRaces: 32 phones race for each of some challenges; one wins each.
func testSwapRaces(t *testing.T, s *suite) { swapRaces(t, s, 24) }

// testManySwapRaces is what a bid opening with hundreds of bidders looks like.
func testManySwapRaces(t *testing.T, s *suite) { swapRaces(t, s, 500) }

func swapRaces(t *testing.T, s *suite, challenges int) {
	t.Helper()
	const phones = 32
	all := make([]relay.Challenge, challenges)
	next := make([][]relay.Challenge, challenges)
	for i := range all {
		all[i] = s.created(t, "p1")
		for k := range phones {
			next[i] = append(next[i], s.claimed(t, all[i], device(k)))
		}
	}
	winners := make([]atomic.Int32, challenges)
	who := make([]atomic.Int32, challenges)
	for _, err := range race(phones, func(k int) error {
		for i := range all {
			_, err := s.State.Swap(t.Context(), all[i].Rev, next[i][k])
			if err == nil {
				winners[i].Add(1)
				who[i].Store(int32(k))
			} else if !errors.Is(err, relay.ErrConflict) {
				return err
			}
		}
		return nil
	}) {
		check(t, err)
	}
	for i := range all {
		got, err := s.State.Get(t.Context(), all[i].CID)
		check(t, err)
		if winners[i].Load() != 1 || got.Progress.Device != device(int(who[i].Load())) {
			t.Fatalf("challenge %d: %d winners, held by %s", i, winners[i].Load(), got.Progress.Device)
		}
	}
}

func testParts(t *testing.T, s *suite) {
	c := s.fresh(t, "p1")
	request, box := random(t, 70_000), random(t, 1<<20)
	stored, _, err := s.State.Create(t.Context(), c, request, plenty)
	check(t, err)
	wantPart := func(name string, data []byte) {
		t.Helper()
		got, err := s.State.Part(t.Context(), c.CID, name)
		check(t, err)
		if !slices.Equal(got, data) {
			t.Fatalf("part %s differs", name)
		}
	}
	wantPart(relay.PartRequest, request)
	_, err = s.State.Swap(t.Context(), stored.Rev-1, s.claimed(t, stored, device(1)), relay.Part{Name: "lost", Data: box})
	want(t, err, relay.ErrConflict)
	_, err = s.State.Part(t.Context(), c.CID, "lost")
	want(t, err, relay.ErrNotFound)
	stored, err = s.State.Swap(t.Context(), stored.Rev, s.claimed(t, stored, device(1)), relay.Part{Name: "one", Data: box}, relay.Part{Name: "two", Data: request})
	check(t, err)
	wantPart("one", box)
	wantPart("two", request)
	_, err = s.State.Swap(t.Context(), stored.Rev, s.canceled(t, stored), relay.Part{Name: "one", Data: request})
	check(t, err)
	wantPart("one", box) // never changes under one name
	_, err = s.State.Part(t.Context(), s.fresh(t, "p1").CID, "one")
	want(t, err, relay.ErrNotFound)
}

// testRevisions: the clock stands still or goes back, revs go on.
func testRevisions(t *testing.T, s *suite) {
	last := s.created(t, "p1").Rev
	if micro := s.clock.Now().UnixMicro(); last != micro {
		t.Fatalf("first rev %d at %d µs", last, micro)
	}
	for _, step := range []time.Duration{0, -time.Hour, time.Minute, 0} {
		s.clock.Advance(step)
		c := s.created(t, "p1")
		if c.Rev != last+1 {
			t.Fatalf("rev %d after %d", c.Rev, last)
		}
		moved, err := s.State.Swap(t.Context(), c.Rev, s.claimed(t, c, device(1)))
		check(t, err)
		if moved.Rev != c.Rev+1 {
			t.Fatalf("rev %d after %d", moved.Rev, c.Rev)
		}
		last = moved.Rev
	}
	s.clock.Advance(2 * time.Hour)
	if c := s.created(t, "p1"); c.Rev != s.clock.Now().UnixMicro() {
		t.Fatalf("rev %d at %d µs", c.Rev, s.clock.Now().UnixMicro())
	}
	if c := s.created(t, "p2"); c.Rev != s.clock.Now().UnixMicro() {
		t.Fatal("platforms share a revision")
	}
}

func testFeed(t *testing.T, s *suite) {
	var all []relay.Challenge
	for range 10 {
		all = append(all, s.created(t, "p1"))
		s.created(t, "p2")
	}
	moved, err := s.State.Swap(t.Context(), all[3].Rev, s.claimed(t, all[3], device(1)))
	check(t, err)
	order := append(append(slices.Clone(all[:3]), all[4:]...), moved)

	var got []relay.Challenge
	for after := int64(0); ; {
		page, err := s.State.Feed(t.Context(), "p1", after, 3)
		check(t, err)
		if len(page) == 0 {
			break
		}
		if len(page) > 3 {
			t.Fatalf("page of %d", len(page))
		}
		got = append(got, page...)
		after = page[len(page)-1].Rev
	}
	if len(got) != len(order) {
		t.Fatalf("%d challenges, want %d", len(got), len(order))
	}
	for i := range order {
		sameChallenge(t, got[i], order[i])
	}
	none, err := s.State.Feed(t.Context(), "nobody", 0, 3)
	check(t, err)
	if len(none) != 0 {
		t.Fatal("a platform without challenges has a feed")
	}
	id, err := s.State.ID(t.Context())
	check(t, err)
	if again, err := s.State.ID(t.Context()); err != nil || len(id) < 16 || again != id {
		t.Fatalf("store id %q, then %q, %v", id, again, err)
	}
}

// testFeedFollows: a reader that always continues after the last rev it saw
// misses nothing of what many writers do at the same time.
func testFeedFollows(t *testing.T, s *suite) {
	const writers, each = 8, 12
	done := make(chan []error, 1)
	go func() {
		done <- race(writers, func(int) error {
			for range each {
				c, _, err := s.State.Create(t.Context(), s.fresh(t, "p1"), []byte("request"), plenty)
				if err != nil {
					return err
				}
				if _, err := s.State.Swap(t.Context(), c.Rev, s.canceled(t, c)); err != nil {
					return err
				}
			}
			return nil
		})
	}()
	ended := map[protocol.CID]bool{}
	var after int64
	for finished := false; ; {
		page, err := s.State.Feed(t.Context(), "p1", after, 5)
		check(t, err)
		for _, c := range page {
			if c.Rev <= after {
				t.Fatalf("rev %d after %d", c.Rev, after)
			}
			after = c.Rev
			if ended[c.CID] {
				t.Fatalf("challenge %s changed after its end", c.CID)
			}
			ended[c.CID] = c.Progress.State.Terminal()
		}
		if len(page) > 0 {
			continue
		}
		if finished {
			break
		}
		select {
		case errs := <-done:
			for _, err := range errs {
				check(t, err)
			}
			finished = true // and read to the end once more
		default:
		}
	}
	n := 0
	for _, e := range ended {
		if e {
			n++
		}
	}
	if n != writers*each {
		t.Fatalf("saw the end of %d challenges, want %d", n, writers*each)
	}
}

func testDue(t *testing.T, s *suite) {
	first := s.created(t, "p1")
	s.clock.Advance(time.Second)
	second := s.created(t, "p2")
	s.clock.Advance(time.Second)
	third := s.created(t, "p1")
	due := func(now int64, limit int) []protocol.CID {
		t.Helper()
		list, err := s.State.Due(t.Context(), now, limit)
		check(t, err)
		return list
	}
	if l := due(first.Progress.Due(), 10); len(l) != 0 {
		t.Fatalf("due at the deadline itself: %v", l)
	}
	if l := due(third.Progress.Due()+1, 2); !slices.Equal(l, []protocol.CID{first.CID, second.CID}) {
		t.Fatalf("due: %v", l)
	}
	s.clock.Advance(time.Second)
	moved, err := s.State.Swap(t.Context(), first.Rev, s.claimed(t, first, device(1)))
	check(t, err)
	if l := due(third.Progress.Due()+1, 10); !slices.Equal(l, []protocol.CID{second.CID, third.CID}) {
		t.Fatalf("due after a claim: %v", l)
	}
	_, err = s.State.Swap(t.Context(), second.Rev, s.canceled(t, second))
	check(t, err)
	if l := due(moved.Progress.Due()+1, 10); !slices.Equal(l, []protocol.CID{third.CID, first.CID}) {
		t.Fatalf("due after an end: %v", l)
	}
}

func testPurge(t *testing.T, s *suite) {
	ended, open := s.created(t, "p1"), s.created(t, "p1")
	ended, err := s.State.Swap(t.Context(), ended.Rev, s.canceled(t, ended))
	check(t, err)
	s.clock.Advance(time.Hour)
	late := s.created(t, "p1")
	late, err = s.State.Swap(t.Context(), late.Rev, s.canceled(t, late))
	check(t, err)

	if gone, err := s.State.Purge(t.Context(), ended.ChangedAt, 10); err != nil || len(gone) != 0 {
		t.Fatalf("purged %v, %v at the time of the end itself", gone, err)
	}
	gone, err := s.State.Purge(t.Context(), late.ChangedAt, 10)
	check(t, err)
	if !slices.Equal(gone, []protocol.CID{ended.CID}) {
		t.Fatalf("purged %v", gone)
	}
	_, err = s.State.Get(t.Context(), ended.CID)
	want(t, err, relay.ErrNotFound)
	_, err = s.State.Part(t.Context(), ended.CID, relay.PartRequest)
	want(t, err, relay.ErrNotFound)
	for _, c := range []relay.Challenge{open, late} {
		got, err := s.State.Get(t.Context(), c.CID)
		check(t, err)
		sameChallenge(t, got, c)
	}
	list, err := s.State.Feed(t.Context(), "p1", 0, 10)
	check(t, err)
	if len(list) != 2 {
		t.Fatalf("feed of %d", len(list))
	}
}

func testNonces(t *testing.T, s *suite) {
	until := s.clock.Now().Add(time.Minute)
	var fresh atomic.Int32
	for _, err := range race(32, func(int) error {
		ok, err := s.Nonces.UseNonce(t.Context(), "p1:a", until)
		if ok {
			fresh.Add(1)
		}
		return err
	}) {
		check(t, err)
	}
	if fresh.Load() != 1 {
		t.Fatalf("fresh %d times", fresh.Load())
	}
	use := func(nonce string) bool {
		t.Helper()
		ok, err := s.Nonces.UseNonce(t.Context(), nonce, until)
		check(t, err)
		return ok
	}
	if !use("p2:a") || use("p2:a") {
		t.Fatal("nonces of two platforms are mixed up, or taken twice")
	}
	_, err := s.State.Purge(t.Context(), 0, 10)
	check(t, err)
	if use("p1:a") {
		t.Fatal("a nonce was forgotten before its time")
	}
}

func testCounters(t *testing.T, s *suite) {
	hit := func(key string) int {
		t.Helper()
		n, err := s.Counters.Hit(t.Context(), key, time.Minute)
		check(t, err)
		return n
	}
	for i := 1; i <= 3; i++ {
		if n := hit("a"); n != i {
			t.Fatalf("hit %d counted %d", i, n)
		}
	}
	if hit("b") != 1 {
		t.Fatal("keys are mixed up")
	}
	s.clock.Advance(59 * time.Second)
	if n := hit("a"); n != 4 {
		t.Fatalf("within the window: %d", n)
	}
	s.clock.Advance(time.Second)
	if n := hit("a"); n != 1 {
		t.Fatalf("in the next window: %d", n)
	}
}
