// Package storetest is the one suite that every backend of a relay passes. It
// holds what the comments of relay.State, relay.Nonces, relay.Counters, relay.Outcomes and relay.Joint promise.
package storetest

import (
	"crypto"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
	"github.com/emmansun/gmsm/sm2"
)

// Backend is what the suite tests.
type Backend struct {
	State    relay.State
	Nonces   relay.Nonces
	Counters relay.Counters
	Outcomes relay.Outcomes
	// Reopen closes the backend and opens the same data again, with nothing kept
	// in memory.
	Reopen func(t *testing.T) Backend
}

// Clock is the store's time; only tests move it. Safe for concurrent use.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock starts at a fixed time.
func NewClock() *Clock { return &Clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

// Now is the clock to inject.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock; backwards, too, as clocks of machines do.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Run runs the suite. open makes an empty backend on the given clock and cleans
// up by itself.
func Run(t *testing.T, open func(t *testing.T, clock func() time.Time) Backend) {
	t.Helper()
	for _, part := range []struct {
		name string
		run  func(t *testing.T, s *suite)
	}{
		{"create", testCreate}, {"create races", testCreateRaces}, {"open limit", testOpenLimit},
		{"swap", testSwap}, {"swap races", testSwapRaces}, {"many swap races", testManySwapRaces}, {"parts", testParts},
		{"revisions", testRevisions}, {"feed", testFeed}, {"feed follows writers", testFeedFollows},
		{"due", testDue}, {"purge", testPurge}, {"nonces", testNonces}, {"counters", testCounters},
		{"ends", testEnds}, {"end races", testEndRaces}, {"unapplied", testUnapplied}, {"ledger", testLedger},
		{"signer fails", testSignerFails}, {"joint", testJoint}, {"joint races", testJointRaces},
		{"lost answers", testLostAnswers}, {"forgotten claims", testForgottenClaims}, {"reopen", testReopen},
	} {
		t.Run(part.name, func(t *testing.T) {
			key, err := sm2.GenerateKey(rand.Reader)
			check(t, err)
			clock := NewClock()
			b := open(t, clock.Now)
			part.run(t, &suite{Backend: b, clock: clock, key: key, sign: relay.SignPromises(key)})
		})
	}
}

type suite struct {
	Backend
	clock *Clock
	key   crypto.Signer
	sign  relay.PromiseSigner
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got %v, want %v", err, target)
	}
}

func random(t *testing.T, n int) []byte {
	t.Helper()
	b, err := protocol.Random(n)
	check(t, err)
	return b
}

// fresh is a challenge that is not stored yet.
func (s *suite) fresh(t *testing.T, platform string) relay.Challenge {
	t.Helper()
	now := s.clock.Now().UnixMilli()
	terms := protocol.Terms{Kind: protocol.KindLogin, Pending: 120_000, Claim: 120_000, Ready: 60_000, Keep: 86_400_000}
	c := relay.Challenge{Platform: platform, CreateDigest: random(t, 32), HClaim: random(t, 32), HWatch: random(t, 32), Terms: terms,
		CreatedAt: now, ChangedAt: now, Progress: protocol.Begin(terms, now)}
	copy(c.CID[:], random(t, 16))
	return c
}

const plenty = 1 << 20

// created stores a fresh challenge.
func (s *suite) created(t *testing.T, platform string) relay.Challenge {
	t.Helper()
	c, created, err := s.State.Create(t.Context(), s.fresh(t, platform), random(t, 100), plenty)
	check(t, err)
	if !created {
		t.Fatal("a new challenge was there already")
	}
	return c
}

// claimed is the next state of a challenge that a device claims.
func (s *suite) claimed(t *testing.T, c relay.Challenge, device string) relay.Challenge {
	t.Helper()
	var err error
	now := s.clock.Now().UnixMilli()
	c.Progress, err = c.Progress.Claim(c.Terms, now, device, random(t, 16), nil)
	check(t, err)
	c.ChangedAt = now
	return c
}

// canceled is the next state of a challenge that ends.
func (s *suite) canceled(t *testing.T, c relay.Challenge) relay.Challenge {
	t.Helper()
	var err error
	now := s.clock.Now().UnixMilli()
	c.Progress, err = c.Progress.Cancel(now)
	check(t, err)
	c.ChangedAt = now
	return c
}

// fulfilled is a claimed challenge's next state and its end.
func (s *suite) fulfilled(t *testing.T, c relay.Challenge, device string) (relay.Challenge, relay.End) {
	t.Helper()
	kem, box := random(t, 140), random(t, 300)
	digest := protocol.ResultDigest(c.CID, c.Progress.ClaimSeq, kem, box)
	now := s.clock.Now().UnixMilli()
	var err error
	c.Progress, err = c.Progress.Fulfil(c.Terms, now, device, c.Progress.ClaimSeq, digest)
	check(t, err)
	c.ChangedAt = now
	e := s.end(t, c, device)
	e.Digest, e.KEM, e.Box = digest, kem, box
	c.Result = &protocol.StoredResult{KEMBox: protocol.KEMBox{ClaimSeq: e.ClaimSeq, KEM: kem, Box: box, Size: len(box)}, Digest: digest, Receipt: e.Receipt}
	return c, e
}

// end is a result of the challenge by the device, without ciphertext.
func (s *suite) end(t *testing.T, c relay.Challenge, device string) relay.End {
	t.Helper()
	digest := random(t, 32)
	r, err := protocol.SignReceipt(s.key, protocol.TagReceipt, protocol.Receipt{V: 1, CID: c.CID, Kind: c.Terms.Kind, Platform: c.Platform,
		Device: device, ClaimSeq: 1, Cert: random(t, 32), Result: digest, NOK: 1, IAT: s.clock.Now().Unix()}, nil)
	check(t, err)
	return relay.End{CID: c.CID, Platform: c.Platform, Kind: c.Terms.Kind, State: protocol.StateFulfilled, Device: device, Account: "a",
		ClaimSeq: 1, At: s.clock.Now().UnixMilli(), Digest: digest, Receipt: *r}
}

// device is an id in the form of a device's.
func device(n int) string {
	return string([]byte{'0' + byte(n/10%10), '0' + byte(n%10)}) + "3456789abcdef0123456789abcdef000"[:30]
}

// race runs n functions at the same time and returns their errors.
func race(n int, run func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			<-start
			errs[i] = run(i)
		})
	}
	close(start)
	group.Wait()
	return errs
}

// sameChallenge compares what is stored, the revision included.
func sameChallenge(t *testing.T, got, want relay.Challenge) {
	t.Helper()
	a, err := got.Encode()
	check(t, err)
	b, err := want.Encode()
	check(t, err)
	if got.CID != want.CID || got.Platform != want.Platform || got.Rev != want.Rev || !slices.Equal(a, b) {
		t.Fatalf("got  %s rev %d %s\nwant %s rev %d %s", got.CID, got.Rev, a, want.CID, want.Rev, b)
	}
}
