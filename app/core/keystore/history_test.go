package keystore_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"testing"

	"github.com/bidseal/bidseal/app/core/keys"
	"github.com/bidseal/bidseal/app/core/storage"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// earlier is an encryption key from before the phone, with its certificates.
type earlier struct {
	key   *sm2.PrivateKey
	certs [][]byte // oldest first
}

func newEarlier(t testing.TB, serials ...int64) *earlier {
	t.Helper()
	key, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	e := &earlier{key: key}
	for _, serial := range serials {
		e.certs = append(e.certs, certify(t, serial, &key.PublicKey))
	}
	return e
}

// historic is the key as an answer brings it to the signing key of a request.
func (e *earlier) historic(t testing.TB, csr []byte) keys.HistoricKey {
	t.Helper()
	request, err := smx509.ParseCertificateRequest(csr)
	must(t, err)
	var h keys.HistoricKey
	h.Enveloped, err = sm2.MarshalEnvelopedPrivateKey(rand.Reader, request.PublicKey.(*ecdsa.PublicKey), e.key)
	must(t, err)
	for i := len(e.certs) - 1; i >= 0; i-- {
		h.Chains = append(h.Chains, [][]byte{e.certs[i]})
	}
	return h
}

// wrapped is a key that somebody wrapped for the certificate.
func (e *earlier) wrapped(t testing.TB, secret []byte) []byte {
	t.Helper()
	der, err := sm2.EncryptASN1(rand.Reader, &e.key.PublicKey, secret)
	must(t, err)
	return der
}

func serialOf(t testing.TB, der []byte) keys.Recipient {
	t.Helper()
	cert, err := smx509.ParseCertificate(der)
	must(t, err)
	return keys.Recipient{Issuer: cert.RawIssuer, Serial: cert.SerialNumber.Bytes()}
}

func TestRecoveredKeysOpen(t *testing.T) {
	files := storage.NewMemory()
	s := open(t, files)
	first, second := newEarlier(t, 21, 22), newEarlier(t, 23)
	csr, err := s.Request(t.Context(), "r", []byte(right))
	must(t, err)
	g := answer(t, csr, 30)
	current, err := smx509.ParseCertificate(g.Encrypt[0])
	must(t, err)
	before := certify(t, 29, current.PublicKey)
	g.History = []keys.HistoricKey{{Chains: [][][]byte{{before}}}, second.historic(t, csr), first.historic(t, csr)}
	for range 2 { // the same grant again changes nothing
		must(t, s.Install(t.Context(), "r", []byte(right), g))
	}
	all, err := open(t, files).Certificates(t.Context())
	must(t, err)
	if len(all) != 2+4 {
		t.Fatalf("%d certificates", len(all))
	}
	secret := []byte("0123456789abcdef")
	for _, e := range []*earlier{first, second} {
		for _, der := range e.certs {
			found, err := s.Find(t.Context(), serialOf(t, der))
			must(t, err)
			if found.Current || found.ID != keys.CertificateID(der) {
				t.Errorf("found %+v", found)
			}
			must(t, s.Use(t.Context(), []byte(right), func(signer keys.Signer) error {
				opened, err := signer.(keys.Opener).Open(found.ID, e.wrapped(t, secret))
				if err == nil && !bytes.Equal(opened, secret) {
					t.Error("another plaintext")
				}
				return err
			}))
		}
	}
	must(t, s.Use(t.Context(), []byte(right), func(signer keys.Signer) error {
		opener := signer.(keys.Opener)
		_, err := opener.Open(keys.CertificateID(before), first.wrapped(t, secret))
		wantCode(t, err, protocol.CodeUnwrapFailed)
		_, err = opener.Open(keys.CertificateID(g.Sign[0]), first.wrapped(t, secret)) // a signing key decrypts nothing
		wantCode(t, err, protocol.CodeNoCertificate)
		_, err = opener.Open(keys.CertificateID(before), make([]byte, keys.MaxWrapped+1))
		wantCode(t, err, protocol.CodeTooLarge)
		return nil
	}))
}

// TestRecoveryIsAllOrNothing: an answer with one bad historic key leaves the
// request waiting for a good one.
func TestRecoveryIsAllOrNothing(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(h *keys.HistoricKey, other *earlier)
		want  protocol.Code
	}{
		"certificate of another key": {func(h *keys.HistoricKey, other *earlier) { h.Chains[0] = [][]byte{other.certs[0]} }, protocol.CodeIssuanceConflict},
		"a second certificate of another key": {func(h *keys.HistoricKey, other *earlier) {
			h.Chains = append(h.Chains, [][]byte{other.certs[0]})
		}, protocol.CodeIssuanceConflict},
		"altered envelope": {func(h *keys.HistoricKey, _ *earlier) { h.Enveloped = flip(h.Enveloped) }, protocol.CodeUnwrapFailed},
		"no envelope":      {func(h *keys.HistoricKey, _ *earlier) { h.Enveloped = nil }, protocol.CodeIssuanceConflict},
		"no certificate":   {func(h *keys.HistoricKey, _ *earlier) { h.Chains = nil }, protocol.CodeIssuanceConflict},
	} {
		t.Run(name, func(t *testing.T) {
			files := storage.NewMemory()
			s := open(t, files)
			csr, err := s.Request(t.Context(), "r", []byte(right))
			must(t, err)
			good, bad := answer(t, csr, 30), newEarlier(t, 21)
			h := bad.historic(t, csr)
			c.spoil(&h, newEarlier(t, 25))
			spoiled := good
			spoiled.History = []keys.HistoricKey{newEarlier(t, 26).historic(t, csr), h}
			wantCode(t, s.Install(t.Context(), "r", []byte(right), spoiled), c.want)
			if all, err := open(t, files).Certificates(t.Context()); err != nil || len(all) != 0 {
				t.Errorf("%d certificates were kept: %v", len(all), err)
			}
			good.History = []keys.HistoricKey{bad.historic(t, csr)}
			must(t, s.Install(t.Context(), "r", []byte(right), good))
		})
	}
}

// TestSupersededCertificatesSignNoMore: the next pair makes them historic.
func TestSupersededCertificatesSignNoMore(t *testing.T) {
	s := open(t, storage.NewMemory())
	old := pair(t, s, "r1", 10)
	csr, err := s.Request(t.Context(), "r2", []byte(right))
	must(t, err)
	next := answer(t, csr, 20)
	next.Supersedes = []string{keys.CertificateID(old.Sign[0]), keys.CertificateID(old.Encrypt[0])}
	must(t, s.Install(t.Context(), "r2", []byte(right), next))
	must(t, s.Use(t.Context(), []byte(right), func(signer keys.Signer) error {
		_, err := signer.Sign(keys.CertificateID(old.Sign[0]), statement(t))
		wantCode(t, err, protocol.CodeNoCertificate)
		_, err = signer.Sign(keys.CertificateID(next.Sign[0]), statement(t))
		return err
	}))
	found, err := s.Find(t.Context(), serialOf(t, old.Encrypt[0]))
	must(t, err)
	if found.Current {
		t.Error("the old encryption certificate is current")
	}
}
