package bidseal_test

import (
	"context"
	"crypto/cipher"
	"crypto/hkdf"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/sdk/sdktest"
	"github.com/emmansun/gmsm/sm3"
	"github.com/emmansun/gmsm/sm4"
)

// sealed opens records as the SDK does: SM4-GCM under a key that HKDF-SM3
// derives from the store key, a nonce in front, the record's key as additional data.
type sealed struct {
	t     *testing.T
	store bidseal.Store
	aead  cipher.AEAD
}

func sealedStore(t *testing.T, config bidseal.Config) *sealed {
	t.Helper()
	key, err := hkdf.Key(sm3.New, config.StoreKey, []byte("bidseal/1"), "sdk store", 16)
	must(t, err)
	block, err := sm4.NewCipher(key)
	must(t, err)
	aead, err := cipher.NewGCM(block)
	must(t, err)
	return &sealed{t, config.Store, aead}
}

// read returns the members of a record.
func (s *sealed) read(key string) map[string]json.RawMessage {
	s.t.Helper()
	r, err := s.store.Get(context.Background(), key)
	must(s.t, err)
	n := s.aead.NonceSize()
	plain, err := s.aead.Open(nil, r.Value[:n], r.Value[n:], []byte(key))
	must(s.t, err)
	var members map[string]json.RawMessage
	must(s.t, json.Unmarshal(plain, &members))
	return members
}

// TestStoredRecordIsBoundToItsKey: whoever can write the store cannot put one
// session's record in the place of another's.
func TestStoredRecordIsBoundToItsKey(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	client := env.Client()
	mine := begin(t, ctx, client, bidseal.LoginOptions{Static: true})
	other := begin(t, ctx, client, bidseal.LoginOptions{Static: true})
	from, err := env.Store.Get(ctx, "s/"+other.ID())
	must(t, err)
	to, err := env.Store.Get(ctx, "s/"+mine.ID())
	must(t, err)
	to.Value = from.Value
	must(t, env.Store.CompareAndSwap(ctx, to))
	if ch, err := client.Challenge(ctx, mine.ID()); err == nil || errors.Is(err, bidseal.ErrNotFound) {
		t.Errorf("another session's record was taken: %v, %v", ch, err)
	}
}

// TestEphemeralKeyIsForgotten: once a result was judged nobody can open its box with
// what the store holds.
func TestEphemeralKeyIsForgotten(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	none := protocol.MatchNone
	ch := begin(t, ctx, env.Client(), bidseal.LoginOptions{Static: true, Match: &none})
	store, key := sealedStore(t, env.Config()), "c/"+ch.CID().String()
	if before := store.read(key); before["ephemeral"] == nil {
		t.Fatal("an open challenge has no ephemeral key")
	}
	must(t, env.Phone("张三").Approve(ctx, ch.Payload()))
	await(t, ch, "the verdict", inState(bidseal.StateDone))
	after := store.read(key)
	for _, name := range []string{"ephemeral", "kem", "digits", "ready"} {
		if after[name] != nil {
			t.Errorf("the record still has %s: %s", name, after[name])
		}
	}
}

// TestCollectedTooLate: a result is not collected after its time, also where the
// relay cannot say so.
func TestCollectedTooLate(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	client, stop := env.Start()
	ch := begin(t, ctx, client, bidseal.LoginOptions{})
	must(t, env.Phone("张三").Approve(ctx, ch.Payload()))
	await(t, ch, "the verdict", inState(bidseal.StateDone))
	stop() // nobody sweeps, nobody hears of the relay
	env.Relay.SetDown(true)
	env.Clock.Advance(protocol.PendingLimit + protocol.ClaimLimit(protocol.KindLogin) + protocol.UnackedAfter + 5*time.Second)
	_, err := ch.Wait(ctx)
	wantCode(t, err, protocol.CodeUnacked)
}
