package hsm

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/asn1"
	"errors"
	"math/big"
	"testing"

	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// softToken is a token in software: it knows digests and nothing of messages.
type softToken struct {
	key   *sm2.PrivateKey
	seen  [][]byte
	spoil func([]byte) []byte
}

func (s *softToken) SignDigest(digest []byte) ([]byte, error) {
	if len(digest) != 32 {
		return nil, errors.New("not a digest")
	}
	s.seen = append(s.seen, bytes.Clone(digest))
	der, err := s.key.Sign(rand.Reader, digest, nil) // without options gmsm takes a digest
	if err != nil {
		return nil, err
	}
	var sig struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &sig); err != nil {
		return nil, err
	}
	rs := sig.S.FillBytes(append(sig.R.FillBytes(make([]byte, 32)), make([]byte, 32)...)[32:])
	rs = append(sig.R.FillBytes(make([]byte, 32)), rs...)
	if s.spoil != nil {
		rs = s.spoil(rs)
	}
	return rs, nil
}

// TestSM2ThroughAToken: what the adapter and a token make together, gmsm
// verifies as an SM2 signature over the message.
func TestSM2ThroughAToken(t *testing.T) {
	key, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	token := &softToken{key: key}
	signer, err := NewSM2(&key.PublicKey, token)
	must(t, err)
	for range 600 { // short r and s come about once in 128 times each
		message := make([]byte, 100)
		_, err := rand.Read(message)
		must(t, err)
		signature, err := signer.Sign(rand.Reader, message, sm2.DefaultSM2SignerOpts)
		must(t, err)
		if !sm2.VerifyASN1WithSM2(&key.PublicKey, nil, message, signature) {
			t.Fatalf("signature %x", signature)
		}
	}
	// a whole certificate request and our own ASN.1 signing helper
	der, err := smx509.CreateCertificateRequest(rand.Reader, &smx509.CertificateRequest{}, signer)
	must(t, err)
	csr, err := smx509.ParseCertificateRequest(der)
	must(t, err)
	must(t, csr.CheckSignature())
	_, signature, err := trust.SignASN1(rand.Reader, signer, []byte("to be signed"))
	must(t, err)
	if !sm2.VerifyASN1WithSM2(&key.PublicKey, nil, []byte("to be signed"), signature) {
		t.Error("SignASN1")
	}
	want, err := sm2.CalculateSM2Hash(&key.PublicKey, []byte("to be signed"), []byte("1234567812345678"))
	must(t, err)
	if !bytes.Equal(token.seen[len(token.seen)-1], want) {
		t.Error("the token saw another digest than SM3(ZA | M) with the standard user id")
	}
}

func TestSM2Refuses(t *testing.T) {
	key, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	other, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	for name, token := range map[string]*softToken{
		"another key":     {key: other},
		"short":           {key: key, spoil: func(rs []byte) []byte { return rs[1:] }},
		"flipped":         {key: key, spoil: func(rs []byte) []byte { rs[40] ^= 1; return rs }},
		"zero":            {key: key, spoil: func([]byte) []byte { return make([]byte, 64) }},
		"r and s swapped": {key: key, spoil: func(rs []byte) []byte { return append(rs[32:64:64], rs[:32]...) }},
	} {
		signer, err := NewSM2(&key.PublicKey, token)
		must(t, err)
		if _, err := signer.Sign(rand.Reader, []byte("m"), sm2.DefaultSM2SignerOpts); !errors.Is(err, ErrToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	signer, err := NewSM2(&key.PublicKey, &softToken{key: key})
	must(t, err)
	for name, opts := range map[string]crypto.SignerOpts{
		"digest": crypto.SHA256, "no options": nil, "another user id": sm2.NewSM2SignerOption(true, []byte("me")), "raw digest": sm2.NewSM2SignerOption(false, nil),
	} {
		if _, err := signer.Sign(rand.Reader, make([]byte, 32), opts); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	if _, err := NewSM2(&p256.PublicKey, nil); err == nil {
		t.Error("a P-256 key")
	}
}
