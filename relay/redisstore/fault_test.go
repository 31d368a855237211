//go:build redis

package redisstore

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
	"github.com/bidseal/bidseal/relay/redisstore/redistest"
)

const plenty = 1 << 20

// fresh is a challenge that is not stored yet.
func fresh(t testing.TB, platform string) relay.Challenge {
	t.Helper()
	id, err := protocol.Random(48)
	must(t, err)
	now := time.Now().UnixMilli()
	terms := protocol.Terms{Kind: protocol.KindLogin, Pending: 120_000, Claim: 120_000, Ready: 60_000, Keep: 86_400_000}
	c := relay.Challenge{Platform: platform, CreateDigest: id[16:], HClaim: id[16:], HWatch: id[16:], Terms: terms, CreatedAt: now, ChangedAt: now, Progress: protocol.Begin(terms, now)}
	copy(c.CID[:], id)
	return c
}

func created(t testing.TB, s *Store, platform string) relay.Challenge {
	t.Helper()
	c, made, err := s.Create(t.Context(), fresh(t, platform), []byte("request"), plenty)
	must(t, err)
	if !made {
		t.Fatal("a new challenge was there already")
	}
	return c
}

// claimed is the next state, with a device for each n.
func claimed(t testing.TB, c relay.Challenge, n int) relay.Challenge {
	t.Helper()
	var err error
	c.Progress, err = c.Progress.Claim(c.Terms, c.CreatedAt, fmt.Sprintf("%032d", n), bytes.Repeat([]byte{byte(n)}, 16), nil)
	must(t, err)
	return c
}

// warm makes the server know the scripts, so that each call is one request.
func warm(t testing.TB, s *Store) {
	t.Helper()
	c := created(t, s, "warm")
	_, err := s.Swap(t.Context(), c.Rev, claimed(t, c, 1))
	must(t, err)
	_, err = s.Hit(t.Context(), "warm", time.Minute)
	must(t, err)
}

// TestCutOnce: one connection breaks in the middle of each operation, before the
// server has the whole request or after it has run the script. The operation is
// sent again and happens once, and its caller hears the truth.
func TestCutOnce(t *testing.T) {
	server := redistest.Start(t)
	for name, f := range map[string]fault{"reply": cutReply, "request": cutRequest} {
		t.Run(name, func(t *testing.T) {
			p := newProxy(t, server.Addr)
			config := Config{Addresses: []string{p.addr}, Prefix: freshPrefix(t)}
			s := openStore(t, config)
			warm(t, s)
			c := fresh(t, "p1")
			p.next("evalsha", f)
			c, made, err := s.Create(t.Context(), c, []byte("request"), 1)
			must(t, err)
			if !made {
				t.Error("the caller does not hear that it created")
			}
			p.next("evalsha", f)
			moved, err := s.Swap(t.Context(), c.Rev, claimed(t, c, 1), relay.Part{Name: "box", Data: make([]byte, 100_000)})
			must(t, err)
			got, err := s.Get(t.Context(), c.CID)
			must(t, err)
			if got.Rev != moved.Rev || got.Progress.Device != moved.Progress.Device {
				t.Errorf("stored %+v, heard %+v", got, moved)
			}
			if _, err := s.Swap(t.Context(), c.Rev, claimed(t, c, 2)); !errors.Is(err, relay.ErrConflict) {
				t.Errorf("another swap of the same rev: %v", err)
			}
			if part, err := s.Part(t.Context(), c.CID, "box"); err != nil || len(part) != 100_000 {
				t.Errorf("part of %d bytes, %v", len(part), err)
			}
			for _, word := range []string{"hmget", "zrange", "hget"} {
				p.next(word, f)
				_, err1 := s.Get(t.Context(), c.CID)
				page, err2 := s.Feed(t.Context(), "p1", 0, 10)
				_, err3 := s.Part(t.Context(), c.CID, relay.PartRequest)
				if must(t, errors.Join(err1, err2, err3)); len(page) != 1 || page[0].Rev != moved.Rev {
					t.Errorf("feed %+v", page)
				}
			}
			// Where the answer is lost these two may err on the safe side.
			p.next("nonce", f)
			isNew, err := s.UseNonce(t.Context(), "n", time.Now().Add(time.Minute))
			must(t, err)
			if again, err := s.UseNonce(t.Context(), "n", time.Now().Add(time.Minute)); err != nil || again || f == cutRequest && !isNew {
				t.Errorf("nonce: %t, then %t, %v", isNew, again, err)
			}
			p.next("evalsha", f)
			if n, err := s.Hit(t.Context(), "k", time.Minute); err != nil || n < 1 || n > 2 || f == cutRequest && n != 1 {
				t.Errorf("counted %d, %v", n, err)
			}
			if p.cuts.Load() != 7 {
				t.Errorf("%d connections were cut, want 7", p.cuts.Load())
			}
		})
	}
}

// TestCutForGood: no answer arrives any more. The callers get errors in bounded
// time; when the network is back, what they repeat meets what was written.
func TestCutForGood(t *testing.T) {
	p := newProxy(t, redistest.Start(t).Addr)
	s := openStore(t, Config{Addresses: []string{p.addr}, Prefix: freshPrefix(t), Timeout: time.Second})
	warm(t, s)
	c := created(t, s, "p1")
	lose := func(request []byte) fault {
		if bytes.Contains(bytes.ToLower(request), []byte("evalsha")) {
			return cutReply
		}
		return pass
	}
	p.when(lose)
	other := fresh(t, "p1")
	if _, _, err := s.Create(t.Context(), other, []byte("request"), plenty); err == nil {
		t.Fatal("a create without an answer succeeded")
	}
	next := claimed(t, c, 1)
	if _, err := s.Swap(t.Context(), c.Rev, next); err == nil || errors.Is(err, relay.ErrConflict) {
		t.Fatalf("a swap without an answer: %v", err)
	}
	p.when(func([]byte) fault { return pass })
	stored, made, err := s.Create(t.Context(), other, []byte("request"), plenty)
	must(t, err)
	if made || stored.Rev == 0 {
		t.Errorf("repeated: created %t, rev %d", made, stored.Rev)
	}
	if _, err := s.Swap(t.Context(), c.Rev, next); !errors.Is(err, relay.ErrConflict) {
		t.Errorf("repeated swap: %v", err)
	}
	got, err := s.Get(t.Context(), c.CID)
	must(t, err)
	if got.Progress.Device != next.Progress.Device {
		t.Errorf("state %+v", got.Progress)
	}
}

// TestCutRaces: 32 phones race for each of many challenges while every seventh
// answer of a script is lost, the same call's twice at most, because the client
// repeats it three times. One wins each, and knows it.
func TestCutRaces(t *testing.T) {
	const phones, challenges = 32, 60
	p := newProxy(t, redistest.Start(t).Addr)
	s := openStore(t, Config{Addresses: []string{p.addr}, Prefix: freshPrefix(t), PoolSize: phones})
	warm(t, s)
	all := make([]relay.Challenge, challenges)
	for i := range all {
		all[i] = created(t, s, "p1")
	}
	var mu sync.Mutex
	scripts, lost := 0, map[string]int{} // lost counts by the call's bytes, which are the same when it is repeated
	p.when(func(request []byte) fault {
		if !bytes.Contains(bytes.ToLower(request), []byte("evalsha")) {
			return pass
		}
		mu.Lock()
		defer mu.Unlock()
		scripts++
		if call := string(request); scripts%7 == 0 && lost[call] < 2 {
			lost[call]++
			return cutReply
		}
		return pass
	})
	winners := make([][]int, challenges)
	var group sync.WaitGroup
	errs := make([]error, phones)
	for n := range phones {
		next := make([]relay.Challenge, challenges)
		for i, c := range all {
			next[i] = claimed(t, c, n)
		}
		group.Go(func() {
			for i, c := range all {
				_, err := s.Swap(t.Context(), c.Rev, next[i])
				if err == nil {
					mu.Lock()
					winners[i] = append(winners[i], n)
					mu.Unlock()
				} else if !errors.Is(err, relay.ErrConflict) {
					errs[n] = err
					return
				}
			}
		})
	}
	group.Wait()
	must(t, errors.Join(errs...))
	for i, c := range all {
		got, err := s.Get(t.Context(), c.CID)
		must(t, err)
		if len(winners[i]) != 1 || got.Progress.Device != fmt.Sprintf("%032d", winners[i][0]) {
			t.Errorf("challenge %d: winners %v, held by %s", i, winners[i], got.Progress.Device)
		}
	}
	if p.cuts.Load() < challenges {
		t.Errorf("only %d answers were lost", p.cuts.Load())
	}
}

// TestServerAgain: the server dies and comes back empty. The store has another
// id then, unknown challenges, and works.
func TestServerAgain(t *testing.T) {
	server := redistest.Start(t)
	s := openStore(t, Config{Addresses: []string{server.Addr}, Timeout: time.Second})
	id, err := s.ID(t.Context())
	must(t, err)
	c := created(t, s, "p1")
	server.Kill(t)
	if _, err := s.Get(t.Context(), c.CID); err == nil || errors.Is(err, relay.ErrNotFound) {
		t.Fatalf("a server that is gone answers %v", err)
	}
	server.Again(t)
	if _, err := s.Get(t.Context(), c.CID); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("an empty server answers %v", err)
	}
	if _, err := s.Swap(t.Context(), c.Rev, claimed(t, c, 1)); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("a swap on an empty server: %v", err)
	}
	if again, err := s.ID(t.Context()); err != nil || again == id {
		t.Errorf("id %q, was %q, %v", again, id, err)
	}
	if later := created(t, s, "p1"); later.Rev <= c.Rev { // a feed's cursor from before misses nothing
		t.Errorf("rev %d after %d", later.Rev, c.Rev)
	}
}
