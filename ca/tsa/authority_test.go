package tsa_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"log/slog"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/tsa"
	"github.com/bidseal/bidseal/trust"
	"github.com/bidseal/bidseal/trust/timestamp"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// world is an authority with its own root right above it.
type world struct {
	clock  *clock
	signer timestamp.Signer
	store  *trust.Store
	ledger *tsa.MemoryLedger
}

func policy() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1, 20} }

func newWorld(t testing.TB, key crypto.Signer) *world {
	t.Helper()
	w := &world{clock: &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}, ledger: new(tsa.MemoryLedger)}
	rootKey, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	root := &smx509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: w.clock.now.Add(-time.Hour), NotAfter: w.clock.now.Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: -1, KeyUsage: smx509.KeyUsageCertSign, SubjectKeyId: []byte("root"),
	}
	root = certify(t, root, root, rootKey.Public(), rootKey)
	w.store, err = trust.NewStore(trust.DocumentationAuthority(root))
	must(t, err)
	der, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	must(t, err)
	w.signer = timestamp.Signer{Key: key, Certificate: certify(t, &smx509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "tsa"}, NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		KeyUsage: smx509.KeyUsageDigitalSignature, ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: der}},
	}, root, key.Public(), rootKey)}
	return w
}

func certify(t testing.TB, template, issuer *smx509.Certificate, public crypto.PublicKey, key crypto.Signer) *smx509.Certificate {
	t.Helper()
	der, err := smx509.CreateCertificate(rand.Reader, template, issuer, public, key)
	must(t, err)
	cert, err := trust.ParseCertificate(der)
	must(t, err)
	return cert
}

func newSM2(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	return key
}

func (w *world) open(t testing.TB, change ...func(*tsa.Options)) *tsa.Authority {
	t.Helper()
	o := tsa.Options{Signer: w.signer, Policy: policy(), Ledger: w.ledger, Now: w.clock.Now, Logger: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(&o)
	}
	a, err := tsa.New(o)
	must(t, err)
	return a
}

// stamp asks for a token and judges it.
func (w *world) stamp(t testing.TB, a *tsa.Authority) (*timestamp.Stamp, error) {
	t.Helper()
	imprint := timestamp.SumSM3([]byte("message"))
	nonce, question, err := timestamp.NewRequest(imprint)
	must(t, err)
	answer, err := a.Respond(t.Context(), question)
	if err != nil {
		return nil, err
	}
	token, err := timestamp.ReadResponse(answer)
	if err != nil {
		return nil, err
	}
	stamp, err := timestamp.Verify(token, timestamp.Options{Anchors: w.store, Imprint: imprint, Nonce: nonce, Policy: policy()})
	must(t, err)
	return stamp, nil
}

func refusedWith(t *testing.T, err error, want timestamp.Failure) {
	t.Helper()
	var refused *timestamp.Rejection
	if !errors.As(err, &refused) || refused.Failure != want {
		t.Errorf("%v, want %v", err, want)
	}
}

func TestEachKeyFamily(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	longRSA, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	for name, key := range map[string]crypto.Signer{"SM2": newSM2(t), "P-256": p256, "RSA": longRSA} {
		w := newWorld(t, key)
		stamp, err := w.stamp(t, w.open(t))
		must(t, err)
		if !stamp.Info.Time.Equal(w.clock.Now()) || stamp.Info.Accuracy != time.Second || stamp.Info.Ordering || stamp.Info.Serial.BitLen() > 159 {
			t.Errorf("%s: %+v", name, stamp.Info)
		}
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, newSM2(t))
	a := w.open(t)
	imprint := timestamp.SumSM3([]byte("message"))
	ask := func(r timestamp.Request) error {
		der, err := r.Marshal()
		must(t, err)
		answer, err := a.Respond(t.Context(), der)
		must(t, err)
		_, err = timestamp.ReadResponse(answer)
		return err
	}
	refusedWith(t, ask(timestamp.Request{Imprint: imprint, Policy: asn1.ObjectIdentifier{1, 2, 3}}), timestamp.UnacceptedPolicy)
	refusedWith(t, ask(timestamp.Request{Imprint: timestamp.SM3(imprint.Digest[1:])}), timestamp.BadDataFormat)
	refusedWith(t, ask(timestamp.Request{Imprint: timestamp.Imprint{Algorithm: asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}, Digest: make([]byte, 20)}}), timestamp.BadAlg)
	must(t, ask(timestamp.Request{Imprint: imprint, Policy: policy()}))
	answer, err := a.Respond(t.Context(), []byte("?"))
	must(t, err)
	_, err = timestamp.ReadResponse(answer)
	refusedWith(t, err, timestamp.BadDataFormat)
	w.clock.add(2 * time.Hour)
	refusedWith(t, ask(timestamp.Request{Imprint: imprint}), timestamp.SystemFailure) // the certificate has ended
}

func TestCertificatesOnlyWhereAskedFor(t *testing.T) {
	w := newWorld(t, newSM2(t))
	a := w.open(t)
	for _, want := range []bool{false, true} {
		der, err := (&timestamp.Request{Imprint: timestamp.SumSM3(nil), CertReq: want}).Marshal()
		must(t, err)
		answer, err := a.Respond(t.Context(), der)
		must(t, err)
		token, err := timestamp.ReadResponse(answer)
		must(t, err)
		read, err := timestamp.Parse(token)
		must(t, err)
		if (len(read.Certificates) > 0) != want || read.Info.Nonce != nil {
			t.Errorf("asked %v: %d certificates", want, len(read.Certificates))
		}
	}
}

func TestClockGoesBack(t *testing.T) {
	w := newWorld(t, newSM2(t))
	a := w.open(t)
	_, err := w.stamp(t, a)
	must(t, err)
	w.clock.add(-time.Second)
	_, err = w.stamp(t, a)
	refusedWith(t, err, timestamp.TimeNotAvailable)
	w.clock.add(time.Second)
	_, err = w.stamp(t, a)
	must(t, err)

	w.clock.add(time.Minute)
	_, err = w.stamp(t, a)
	must(t, err)
	after := w.open(t) // what follows a crash knows the ledger alone
	_, err = w.stamp(t, after)
	must(t, err)
	w.clock.add(-2 * time.Second)
	_, err = w.stamp(t, w.open(t))
	refusedWith(t, err, timestamp.TimeNotAvailable)
}

// TestSerialsNeverRepeat: over blocks, concurrent requests, restarts, and a
// ledger that was set back to an old copy.
func TestSerialsNeverRepeat(t *testing.T) {
	w := newWorld(t, newSM2(t))
	small := func(o *tsa.Options) { o.BlockSize = 3 }
	seen := make(map[string]bool)
	var mu sync.Mutex
	for restart := range 4 {
		if restart == 2 {
			w.ledger = new(tsa.MemoryLedger)
		}
		a := w.open(t, small)
		var group sync.WaitGroup
		for range 10 {
			group.Go(func() {
				stamp, err := w.stamp(t, a)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if seen[stamp.Info.Serial.String()] {
					t.Errorf("serial number %v twice", stamp.Info.Serial)
				}
				seen[stamp.Info.Serial.String()] = true
			})
		}
		group.Wait()
	}
	if len(seen) != 40 {
		t.Errorf("%d serial numbers", len(seen))
	}
}

// brokenLedger fails as a database does.
type brokenLedger struct{ reserve, advance error }

func (b brokenLedger) Reserve(context.Context) (tsa.Block, error) { return tsa.Block{}, b.reserve }
func (b brokenLedger) Advance(context.Context, time.Time, time.Duration) error {
	return b.advance
}

func TestNothingWithoutTheLedger(t *testing.T) {
	w := newWorld(t, newSM2(t))
	for _, ledger := range []tsa.Ledger{brokenLedger{reserve: errors.New("disk full")}, brokenLedger{advance: errors.New("disk full")}} {
		_, err := w.stamp(t, w.open(t, func(o *tsa.Options) { o.Ledger = ledger }))
		refusedWith(t, err, timestamp.SystemFailure)
	}
}

func TestRate(t *testing.T) {
	w := newWorld(t, newSM2(t))
	a := w.open(t, func(o *tsa.Options) { o.Rate = 3 })
	for range 3 {
		_, err := w.stamp(t, a)
		must(t, err)
	}
	if _, err := w.stamp(t, a); !errors.Is(err, tsa.ErrBusy) {
		t.Errorf("the fourth in one moment: %v", err)
	}
	w.clock.add(time.Second)
	_, err := w.stamp(t, a)
	must(t, err)
}

func TestNewRefuses(t *testing.T) {
	w := newWorld(t, newSM2(t))
	options := func(change func(*tsa.Options)) tsa.Options {
		o := tsa.Options{Signer: w.signer, Policy: policy(), Ledger: w.ledger, Now: w.clock.Now, Logger: slog.New(slog.DiscardHandler)}
		change(&o)
		return o
	}
	for name, o := range map[string]tsa.Options{
		"no policy":   options(func(o *tsa.Options) { o.Policy = nil }),
		"no ledger":   options(func(o *tsa.Options) { o.Ledger = nil }),
		"another key": options(func(o *tsa.Options) { o.Signer.Key = newSM2(t) }),
		"a root":      options(func(o *tsa.Options) { o.Signer.Certificate = w.store.Anchors()[0] }),
	} {
		if _, err := tsa.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzRespond(f *testing.F) {
	w := newWorld(f, newSM2(f))
	a := w.open(f, func(o *tsa.Options) { o.Rate = 1 << 30 })
	_, question, err := timestamp.NewRequest(timestamp.SumSM3(nil))
	must(f, err)
	f.Add(question)
	f.Fuzz(func(t *testing.T, der []byte) {
		answer, err := a.Respond(t.Context(), der)
		if errors.Is(err, tsa.ErrBusy) {
			w.clock.add(time.Second)
			return
		}
		must(t, err)
		var refused *timestamp.Rejection
		if _, err := timestamp.ReadResponse(answer); err != nil && !errors.As(err, &refused) {
			t.Fatalf("an answer that cannot be read: %v", err)
		}
	})
}
