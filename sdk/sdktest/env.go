package sdktest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
)

// What the test platform is called.
const (
	PlatformID   = "test-platform"
	PlatformName = "测试交易平台"
	// App is the app's origin in the codes, Origin the platform's own.
	App    = "https://app.example.cn"
	Origin = "https://bid.example.cn"
)

// Env is everything around a client. It ends with the test.
type Env struct {
	Clock     *Clock
	Authority *Authority
	Relay     *Relay
	Store     bidseal.Store // shared by all clients of the env; replace it before the first

	t        testing.TB
	platform certified
	apiKey   *ecdsa.PrivateKey
	storeKey []byte
}

// New makes an env.
func New(t testing.TB) *Env {
	t.Helper()
	e := &Env{t: t, Clock: NewClock(), Store: bidseal.NewMemoryStore()}
	var err error
	e.Authority, err = NewAuthority(e.Clock.Now)
	e.must(err)
	e.platform, err = e.Authority.platform(PlatformID, PlatformName)
	e.must(err)
	e.apiKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	e.must(err)
	e.storeKey, err = protocol.Random(32)
	e.must(err)
	e.Relay, err = newRelay(e.Clock, PlatformID, e.apiKey.Public())
	e.must(err)
	t.Cleanup(e.Relay.close)
	return e
}

func (e *Env) must(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

// Config is the configuration of the test platform.
func (e *Env) Config() bidseal.Config {
	e.t.Helper()
	anchors, err := e.Authority.Anchors()
	e.must(err)
	return bidseal.Config{
		Platform: PlatformID, Name: PlatformName, RequestKey: e.platform.key, Chain: e.Authority.chain(e.platform.cert), APIKey: e.apiKey,
		Relay: e.Relay.URL(), App: App, LedgerKeys: []crypto.PublicKey{e.Relay.LedgerKey()}, Anchors: anchors, OCSP: e.Authority, TSA: e.Authority,
		Store: e.Store, StoreKey: e.storeKey, Origins: []string{Origin}, Clock: e.Clock.Now, After: e.Clock.After,
	}
}

// Client makes a client and runs it until the test ends. Several clients of one
// env are nodes of one platform.
func (e *Env) Client(change ...func(*bidseal.Config)) *bidseal.Client {
	e.t.Helper()
	client, stop := e.Start(change...)
	e.t.Cleanup(stop)
	return client
}

// Start makes a client and runs it until stop is called, which waits for its
// end, or the test ends.
func (e *Env) Start(change ...func(*bidseal.Config)) (client *bidseal.Client, stop func()) {
	e.t.Helper()
	config := e.Config()
	for _, f := range change {
		f(&config)
	}
	client, err := bidseal.New(config)
	e.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := client.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			e.t.Errorf("run: %v", err)
		}
	})
	stop = func() { cancel(); running.Wait() }
	e.t.Cleanup(stop)
	return client, stop
}

// Advance moves the clock, and lets the relay expire what is then due.
func (e *Env) Advance(d time.Duration) {
	e.Clock.Advance(d)
	e.Relay.Sweep()
}

// Phone makes a phone with a new certificate of a natural person.
func (e *Env) Phone(person string) *Phone { return e.PhoneOf(Holder{Person: person}) }

// PhoneOf makes a phone with a new certificate of the given holder.
func (e *Env) PhoneOf(h Holder) *Phone {
	e.t.Helper()
	return e.PhoneUnder(e.Authority, h)
}

// PhoneUnder makes a phone whose certificate another authority issued.
func (e *Env) PhoneUnder(a *Authority, h Holder) *Phone {
	e.t.Helper()
	holder, err := a.person(h)
	e.must(err)
	p, err := newPhone(e, a, holder)
	e.must(err)
	return p
}
