package timestamp_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/bidseal/bidseal/trust"
	"github.com/bidseal/bidseal/trust/timestamp"
	"github.com/emmansun/gmsm/smx509"
)

func TestTokenEachKeyFamily(t *testing.T) {
	for name, newKey := range families() {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, newKey)
			token := w.token(t)
			o := w.options()
			o.Nonce, o.Policy = big.NewInt(99), asn1.ObjectIdentifier{1, 2, 3, 4}
			stamp, err := timestamp.Verify(token, o)
			must(t, err)
			if !stamp.Info.Time.Equal(noon()) || stamp.Info.Serial.Int64() != 77 || stamp.Info.Accuracy != time.Second || stamp.Info.Ordering ||
				!stamp.Authority.Leaf().Equal(w.tsa) || !stamp.Authority.Anchor.Equal(w.root) || !stamp.Until().Equal(noon().Add(time.Second)) {
				t.Errorf("%+v", stamp.Info)
			}
			flipped := bytes.Clone(token)
			flipped[len(flipped)-1] ^= 1
			if _, err := timestamp.Verify(flipped, w.options()); !errors.Is(err, trust.ErrUntrusted) {
				t.Errorf("with another signature: %v", err)
			}
		})
	}
}

// TestEveryByteOfATokenCounts: nothing in a token can be changed without notice,
// whatever error it gives. SM2 signatures and DER leave no second form.
func TestEveryByteOfATokenCounts(t *testing.T) {
	w := newWorld(t, families()["SM2"])
	token, err := w.signer().Sign(rand.Reader, w.info(timestamp.SumSM3([]byte("message"))), false)
	must(t, err)
	o := w.options()
	o.Certificates = []*smx509.Certificate{w.issuing, w.tsa}
	_, err = timestamp.Verify(token, o)
	must(t, err)
	for i := range token {
		for _, bit := range []byte{1, 0x10, 0x80} {
			changed := bytes.Clone(token)
			changed[i] ^= bit
			if _, err := timestamp.Verify(changed, o); err == nil && !unsigned(token, i) {
				t.Errorf("byte %d changed by %02x is not noticed", i, bit)
			} else if err != nil {
				ours(t, err)
			}
		}
	}
	for _, other := range [][]byte{append(bytes.Clone(token), 0), token[:len(token)-1], nil} {
		if _, err := timestamp.Verify(other, o); err == nil {
			t.Errorf("%d bytes more", len(other)-len(token))
		}
	}
}

// TestUnknownFieldsAreRefused: what nobody looks at has no place in a token,
// although the signature does not cover it.
func TestUnknownFieldsAreRefused(t *testing.T) {
	w := newWorld(t, families()["SM2"])
	open := func(der []byte) (v asn1.RawValue) {
		_, err := asn1.Unmarshal(der, &v)
		must(t, err)
		return v
	}
	wrap := func(like asn1.RawValue, content ...[]byte) []byte {
		der, err := asn1.Marshal(asn1.RawValue{Class: like.Class, Tag: like.Tag, IsCompound: true, Bytes: bytes.Join(content, nil)})
		must(t, err)
		return der
	}
	outer := open(w.token(t))
	kind := open(outer.Bytes)
	explicit := open(outer.Bytes[len(kind.FullBytes):])
	data := open(explicit.Bytes)
	null := asn1.NullBytes
	for name, der := range map[string][]byte{
		"in ContentInfo": wrap(outer, outer.Bytes, null),
		"in SignedData":  wrap(outer, kind.FullBytes, wrap(explicit, wrap(data, data.Bytes, null))),
		"beside it":      wrap(outer, kind.FullBytes, wrap(explicit, data.FullBytes, null)),
	} {
		if _, err := timestamp.Verify(der, w.options()); !errors.Is(err, trust.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	again := wrap(outer, kind.FullBytes, wrap(explicit, wrap(data, data.Bytes)))
	_, err := timestamp.Verify(again, w.options())
	must(t, err)
}

// unsigned says where a change does no harm: the two version numbers and the set
// of digests, which CMS leaves outside the signature and which decide nothing.
func unsigned(token []byte, at int) bool {
	content := bytes.Index(token, []byte{0x06, 0x0B, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x09, 0x10, 0x01, 0x04})
	signer := bytes.LastIndex(token[:bytes.Index(token, []byte{0xA0, 0x81})], []byte{0x02, 0x01, 0x01}) // of SignerInfo
	return at < content || at == signer+2
}

func TestTokenRefused(t *testing.T) {
	w := newWorld(t, families()["SM2"])
	stranger := newWorld(t, families()["SM2"])
	token := w.token(t)
	with := func(change func(*timestamp.Options)) timestamp.Options {
		o := w.options()
		change(&o)
		return o
	}
	for name, v := range map[string]struct {
		o    timestamp.Options
		want error
	}{
		"other data":      {with(func(o *timestamp.Options) { o.Imprint = timestamp.SumSM3([]byte("other")) }), timestamp.ErrImprint},
		"other algorithm": {with(func(o *timestamp.Options) { o.Imprint = timestamp.SHA256(o.Imprint.Digest) }), timestamp.ErrImprint},
		"other nonce":     {with(func(o *timestamp.Options) { o.Nonce = big.NewInt(98) }), timestamp.ErrMismatch},
		"other policy":    {with(func(o *timestamp.Options) { o.Policy = asn1.ObjectIdentifier{1, 2, 3} }), timestamp.ErrMismatch},
		"other root":      {with(func(o *timestamp.Options) { o.Anchors = stranger.store }), trust.ErrUntrusted},
	} {
		if _, err := timestamp.Verify(token, v.o); !errors.Is(err, v.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	sign := func(change func(*timestamp.Signer, *timestamp.Info)) []byte {
		signer, info := w.signer(), w.info(timestamp.SumSM3([]byte("message")))
		change(&signer, info)
		der, err := signer.Sign(rand.Reader, info, true)
		must(t, err)
		return der
	}
	tsa := func(change func(*smx509.Certificate)) func(*timestamp.Signer, *timestamp.Info) {
		template := w.template(9)
		change(template)
		cert := certify(t, template, w.issuing, w.tsaKey, w.issuingKey)
		return func(s *timestamp.Signer, _ *timestamp.Info) { s.Certificate = cert }
	}
	for name, v := range map[string]struct {
		token []byte
		want  error
	}{
		"usage not critical": {sign(tsa(func(c *smx509.Certificate) { c.ExtraExtensions = []pkix.Extension{usage(false)} })), trust.ErrKeyUsage},
		"no usage":           {sign(tsa(func(c *smx509.Certificate) { c.ExtraExtensions = nil })), trust.ErrKeyUsage},
		"after its end":      {sign(func(_ *timestamp.Signer, i *timestamp.Info) { i.Time = noon().Add(2 * time.Minute) }), trust.ErrExpired},
		"before its start":   {sign(func(_ *timestamp.Signer, i *timestamp.Info) { i.Time = noon().Add(-2 * time.Minute) }), trust.ErrNotYetValid},
		"chain too short":    {sign(func(s *timestamp.Signer, _ *timestamp.Info) { s.Above = nil }), trust.ErrUntrusted},
		"stranger's key":     {sign(func(s *timestamp.Signer, _ *timestamp.Info) { s.Key = stranger.tsaKey }), trust.ErrUntrusted},
		"serial of 161 bits": {sign(func(_ *timestamp.Signer, i *timestamp.Info) { i.Serial = new(big.Int).Lsh(big.NewInt(1), 160) }), trust.ErrMalformed},
		"short imprint":      {sign(func(_ *timestamp.Signer, i *timestamp.Info) { i.Imprint.Digest = i.Imprint.Digest[1:] }), trust.ErrMalformed},
		"SHA-1 imprint": {sign(func(_ *timestamp.Signer, i *timestamp.Info) {
			i.Imprint = timestamp.Imprint{Algorithm: asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}, Digest: make([]byte, 20)}
		}), trust.ErrAlgorithm},
	} {
		if _, err := timestamp.Verify(v.token, w.options()); !errors.Is(err, v.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCertificateSubstitution: another certificate over the same key, with the
// same issuer and serial number, is not the one that the attributes name.
func TestCertificateSubstitution(t *testing.T) {
	w := newWorld(t, families()["SM2"])
	token, err := w.signer().Sign(rand.Reader, w.info(timestamp.SumSM3([]byte("message"))), false)
	must(t, err)
	o := w.options()
	o.Certificates = []*smx509.Certificate{w.issuing, certify(t, w.template(3), w.issuing, w.tsaKey, w.issuingKey)}
	if _, err := timestamp.Verify(token, o); !errors.Is(err, timestamp.ErrSigner) {
		t.Errorf("another certificate: %v", err)
	}
	o.Certificates = []*smx509.Certificate{w.issuing}
	if _, err := timestamp.Verify(token, o); !errors.Is(err, timestamp.ErrSigner) {
		t.Errorf("no certificate: %v", err)
	}
	o.Certificates = []*smx509.Certificate{w.tsa, w.issuing}
	_, err = timestamp.Verify(token, o)
	must(t, err)
}

func TestRequest(t *testing.T) {
	nonce, der, err := timestamp.NewRequest(timestamp.SumSM3([]byte("message")))
	must(t, err)
	r, err := timestamp.ParseRequest(der)
	must(t, err)
	if !r.Imprint.Equal(timestamp.SumSM3([]byte("message"))) || r.Nonce.Cmp(nonce) != 0 || !r.CertReq || len(r.Policy) != 0 {
		t.Errorf("%+v", r)
	}
	other, _, err := timestamp.NewRequest(r.Imprint)
	must(t, err)
	if other.Cmp(nonce) == 0 {
		t.Error("one nonce twice")
	}
	type ext = []pkix.Extension
	type imprint struct {
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}
	type request struct {
		Version    int
		Imprint    imprint
		CertReq    bool `asn1:"optional"`
		Extensions ext  `asn1:"tag:0,optional"`
	}
	sm3 := func(n int) imprint {
		return imprint{pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 156, 10197, 1, 401}}, make([]byte, n)}
	}
	sha1 := imprint{pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}}, make([]byte, 20)}
	for name, v := range map[string]struct {
		request any
		want    timestamp.Failure
	}{
		"version 2":     {request{Version: 2, Imprint: sm3(32)}, timestamp.BadRequest},
		"long imprint":  {request{Version: 1, Imprint: sm3(33)}, timestamp.BadDataFormat},
		"empty imprint": {request{Version: 1, Imprint: sm3(0)}, timestamp.BadDataFormat},
		"SHA-1":         {request{Version: 1, Imprint: sha1}, timestamp.BadAlg},
		"extension":     {request{Version: 1, Imprint: sm3(32), Extensions: ext{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: []byte{5, 0}}}}, timestamp.UnacceptedExtension},
		"another thing": {"text", timestamp.BadDataFormat},
	} {
		der, err := asn1.Marshal(v.request)
		must(t, err)
		var refused *timestamp.Rejection
		if _, err = timestamp.ParseRequest(der); !errors.As(err, &refused) || refused.Failure != v.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, der := range map[string][]byte{"trailing byte": append(bytes.Clone(der), 0), "too long": make([]byte, timestamp.MaxRequest+1), "nothing": nil} {
		var refused *timestamp.Rejection
		if _, err := timestamp.ParseRequest(der); !errors.As(err, &refused) || refused.Failure != timestamp.BadDataFormat {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestResponse(t *testing.T) {
	w := newWorld(t, families()["SM2"])
	token := w.token(t)
	granted, err := timestamp.GrantedResponse(token)
	must(t, err)
	got, err := timestamp.ReadResponse(granted)
	must(t, err)
	if !bytes.Equal(got, token) {
		t.Error("another token came out")
	}
	for _, failure := range []timestamp.Failure{timestamp.BadAlg, timestamp.BadDataFormat, timestamp.TimeNotAvailable, timestamp.SystemFailure} {
		der, err := (&timestamp.Rejection{Failure: failure, Text: "why"}).Response()
		must(t, err)
		var refused *timestamp.Rejection
		if _, err := timestamp.ReadResponse(der); !errors.As(err, &refused) || refused.Failure != failure || refused.Text != "why" {
			t.Errorf("%v came out as %v", failure, err)
		}
	}
	if _, err := timestamp.ReadResponse([]byte{0x30, 0x05, 0x30, 0x03, 0x02, 0x01, 0x00}); !errors.Is(err, trust.ErrMalformed) {
		t.Errorf("granted without a token: %v", err)
	}
}

func ours(t *testing.T, err error) {
	t.Helper()
	for _, known := range []error{
		timestamp.ErrImprint, timestamp.ErrMismatch, timestamp.ErrSigner, trust.ErrMalformed, trust.ErrUntrusted, trust.ErrExpired,
		trust.ErrNotYetValid, trust.ErrKeyUsage, trust.ErrConstraint, trust.ErrCritical, trust.ErrAlgorithm,
	} {
		if errors.Is(err, known) {
			return
		}
	}
	t.Fatalf("an error that callers cannot tell: %v", err)
}

func FuzzToken(f *testing.F) {
	for _, name := range []string{"SM2", "P-256"} {
		w := newWorld(f, families()[name])
		f.Add(w.token(f))
	}
	w := newWorld(f, families()["SM2"])
	f.Add(w.token(f))
	f.Fuzz(func(t *testing.T, der []byte) {
		stamp, err := timestamp.Verify(der, w.options())
		if err != nil {
			ours(t, err)
		} else if !stamp.Info.Time.Equal(noon()) {
			t.Fatal("a time that was never signed")
		}
	})
}

func FuzzRequest(f *testing.F) {
	_, der, err := timestamp.NewRequest(timestamp.SumSM3([]byte("message")))
	must(f, err)
	f.Add(der)
	f.Fuzz(func(t *testing.T, der []byte) {
		r, err := timestamp.ParseRequest(der)
		var refused *timestamp.Rejection
		if err != nil && !errors.As(err, &refused) {
			t.Fatalf("an error that is no rejection: %v", err)
		}
		if err != nil {
			return
		}
		again, err := r.Marshal()
		must(t, err)
		if _, err := timestamp.ParseRequest(again); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzResponse(f *testing.F) {
	w := newWorld(f, families()["SM2"])
	granted, err := timestamp.GrantedResponse(w.token(f))
	must(f, err)
	f.Add(granted)
	refused, err := (&timestamp.Rejection{Failure: timestamp.BadAlg, Text: "why"}).Response()
	must(f, err)
	f.Add(refused)
	f.Fuzz(func(t *testing.T, der []byte) {
		var rejection *timestamp.Rejection
		if _, err := timestamp.ReadResponse(der); err != nil && !errors.As(err, &rejection) && !errors.Is(err, trust.ErrMalformed) {
			t.Fatalf("an error that callers cannot tell: %v", err)
		}
	})
}
