package life_test

import (
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ours fails the test when an error escapes that callers could not tell.
func ours(t *testing.T, err error) {
	t.Helper()
	var own *protocol.Error
	if err != nil && !errors.As(err, &own) {
		t.Fatalf("an error without a code: %v", err)
	}
}

// refusedWith fails unless err carries the code.
func refusedWith(t testing.TB, err error, code protocol.Code) {
	t.Helper()
	if protocol.CodeOf(err) != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

func TestRenewalDates(t *testing.T) {
	at := func(text string) time.Time {
		parsed, err := time.Parse(time.RFC3339, text)
		must(t, err)
		return parsed
	}
	for _, c := range []struct{ end, opens, oneYear string }{
		{"2026-07-15T12:00:00Z", "2026-04-15T12:00:00Z", "2027-07-15T12:00:00Z"},
		{"2026-05-31T00:00:00Z", "2026-02-28T00:00:00Z", "2027-05-31T00:00:00Z"},
		{"2028-05-31T00:00:00Z", "2028-02-29T00:00:00Z", "2029-05-31T00:00:00Z"},
		{"2028-02-29T23:59:59Z", "2027-11-29T23:59:59Z", "2029-02-28T23:59:59Z"},
		{"2026-01-01T00:00:00Z", "2025-10-01T00:00:00Z", "2027-01-01T00:00:00Z"},
	} {
		if got := life.RenewalOpens(at(c.end)); !got.Equal(at(c.opens)) {
			t.Errorf("%s opens %s, want %s", c.end, got, c.opens)
		}
		_, err := life.RenewedEnd(at(c.end), 1, at(c.opens).Add(-time.Second))
		refusedWith(t, err, protocol.CodeRenewalClosed)
		got, err := life.RenewedEnd(at(c.end), 1, at(c.opens))
		must(t, err)
		if !got.Equal(at(c.oneYear)) {
			t.Errorf("%s renewed ends %s, want %s", c.end, got, c.oneYear)
		}
	}
	for _, years := range []int{0, 4, -1} {
		_, err := life.RenewedEnd(at("2026-01-01T00:00:00Z"), years, at("2025-12-01T00:00:00Z"))
		refusedWith(t, err, protocol.CodeMalformed)
	}
}

func TestCodeIsReadAsPeopleTypeIt(t *testing.T) {
	if life.CodeDigest("abcd-efgh ijkl") != life.CodeDigest("ABCDEFGHIJKL") || life.CodeDigest("A") == life.CodeDigest("B") {
		t.Error("digests")
	}
}

func FuzzCSR(f *testing.F) {
	key, err := sm2.GenerateKey(rand.Reader)
	must(f, err)
	der, err := smx509.CreateCertificateRequest(rand.Reader, &smx509.CertificateRequest{}, key)
	must(f, err)
	f.Add(der)
	f.Fuzz(func(t *testing.T, der []byte) {
		spki, err := life.ReadCSR(issuance.SM2, der)
		ours(t, err)
		if err == nil {
			if _, err := smx509.ParsePKIXPublicKey(spki); err != nil {
				t.Fatal("a key that cannot be read again")
			}
		}
	})
}
