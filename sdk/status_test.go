package bidseal_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/sdk/sdktest"
	"github.com/emmansun/gmsm/smx509"
)

// preproduced answers every question with the first answer it ever got, as a
// responder does that signs for hours in advance.
type preproduced struct {
	source bidseal.StatusSource
	mu     sync.Mutex
	first  map[string][]byte
}

func (p *preproduced) OCSP(ctx context.Context, cert, issuer *smx509.Certificate) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := string(cert.Raw)
	if der, found := p.first[key]; found {
		return der, nil
	}
	der, err := p.source.OCSP(ctx, cert, issuer)
	if err == nil {
		p.first[key] = der
	}
	return der, err
}

// TestOldStatusIsNoStatus: an answer that is still valid but older than a
// verifier of the evidence accepts does not sign anyone in.
func TestOldStatusIsNoStatus(t *testing.T) {
	env := sdktest.New(t)
	client := env.Client(func(c *bidseal.Config) { c.OCSP = &preproduced{source: c.OCSP, first: map[string][]byte{}} })
	phone := env.Phone("张三")
	ctx := testContext(t)

	ch := begin(t, ctx, client, bidseal.LoginOptions{})
	must(t, phone.Approve(ctx, ch.Payload()))
	login, err := ch.Wait(ctx)
	must(t, err)
	if _, err := verifierOf(t, env).VerifyEvidence(login.Evidence); err != nil {
		t.Fatal(err)
	}

	env.Advance(30 * time.Minute)
	phone.Alter = func(b *protocol.ResultBox) { b.OCSP = nil } // without a staple nothing fresh is left
	ch = begin(t, ctx, client, bidseal.LoginOptions{})
	must(t, phone.Approve(ctx, ch.Payload()))
	_, err = ch.Wait(ctx)
	wantCode(t, err, protocol.CodeRevocationUnknown)
}

// TestStatusFollowsNoRedirect: nobody sends the platform's server elsewhere.
func TestStatusFollowsNoRedirect(t *testing.T) {
	var reached bool
	inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer inner.Close()
	outer := httptest.NewServer(http.RedirectHandler(inner.URL, http.StatusTemporaryRedirect))
	defer outer.Close()
	env := sdktest.New(t)
	config := env.Config()
	config.OCSP, config.OCSPURL, config.HTTP = nil, outer.URL, nil
	client, err := bidseal.New(config)
	must(t, err)
	if _, err := client.Login(testContext(t), bidseal.LoginOptions{}); err == nil {
		t.Error("a challenge was made without status")
	}
	if reached {
		t.Error("the redirect was followed")
	}
}
