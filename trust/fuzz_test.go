package trust_test

import (
	"errors"
	"testing"

	"github.com/bidseal/bidseal/trust"
)

// ours fails the test when an error escapes that is none of the package's.
func ours(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, known := range []error{
		trust.ErrMalformed, trust.ErrUntrusted, trust.ErrExpired, trust.ErrNotYetValid, trust.ErrKeyUsage, trust.ErrConstraint,
		trust.ErrCritical, trust.ErrAlgorithm, trust.ErrStatusUnknown, trust.ErrStaleStatus, trust.ErrStatusMismatch,
	} {
		if errors.Is(err, known) {
			return
		}
	}
	t.Fatalf("an error that callers cannot tell: %v", err)
}

func FuzzOCSPRequest(f *testing.F) {
	c := newChain(f, newSM2, template(3, "leaf"))
	for _, nonce := range [][]byte{nil, []byte("0123456789abcdef")} {
		der, err := trust.NewOCSPRequest(c.leaf.cert, c.issuing.cert, nonce)
		must(f, err)
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		request, err := trust.ParseOCSPRequest(der)
		ours(t, err)
		if err == nil {
			request.About(c.issuing.cert)
		}
	})
}

func FuzzOCSPResponse(f *testing.F) {
	c := newChain(f, newSM2, template(3, "leaf"))
	revoked := good()
	revoked.State, revoked.RevokedAt = trust.Revoked, day()
	r := c.responder(f)
	genuine := answer(f, c, r, nil, revoked)
	f.Add(genuine)
	f.Add(answer(f, c, r, []byte("nonce"), good()))
	f.Add(trust.OCSPError(trust.TryLater))
	f.Fuzz(func(t *testing.T, der []byte) {
		status, err := trust.VerifyOCSP(der, c.leaf.cert, c.issuing.cert, trust.OCSPOptions{Now: day()})
		ours(t, err)
		if err == nil && status.State != trust.Good && status.State != trust.Revoked {
			t.Fatalf("a state that was never signed: %v", status.State)
		}
	})
}

func FuzzCRL(f *testing.F) {
	c := newChain(f, newSM2, template(3, "leaf"))
	f.Add(makeCRL(f, c.issuing, "http://ca.example/1.crl", c.leaf.cert.SerialNumber))
	f.Fuzz(func(t *testing.T, der []byte) {
		crl, err := trust.VerifyCRL(der, c.issuing.cert, trust.CRLOptions{Now: day()})
		ours(t, err)
		if err == nil {
			_, err = crl.Status(c.leaf.cert)
			ours(t, err)
		}
	})
}

func FuzzCertificate(f *testing.F) {
	c := newChain(f, newSM2, template(3, "leaf"))
	f.Add(c.leaf.cert.Raw)
	f.Add(c.issuing.cert.Raw)
	store := c.store(f)
	f.Fuzz(func(t *testing.T, der []byte) {
		chain, err := trust.ParseChain([][]byte{der, c.issuing.cert.Raw})
		ours(t, err)
		if err != nil {
			return
		}
		_, err = trust.ReadSubject(chain[0], trust.DocumentationOIDs())
		ours(t, err)
		_, err = store.Verify(chain, trust.VerifyOptions{Time: day(), Usage: trust.Signing})
		ours(t, err)
	})
}
