package core_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/asn1"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/app/core"
	"github.com/bidseal/bidseal/app/core/keys"
	"github.com/bidseal/bidseal/app/core/storage"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm4"
	"github.com/emmansun/gmsm/smx509"
)

func TestEnrol(t *testing.T) {
	w := newWorld(t)
	_, err := w.phone.Scan(t.Context(), w.login(order{}).link)
	wantCode(t, err, protocol.CodeNotEnrolled)
	certs, err := w.phone.Enrol(t.Context(), w.authority.file(), core.Setup{}, []byte(password))
	must(t, err)
	if len(certs) != 2 || certs[0].Use != keys.Sign || certs[1].Use != keys.Encrypt || certs[0].Identity.CommonName != "张三" {
		t.Fatalf("certificates %+v", certs)
	}
	w.restart()
	held, err := w.phone.Certificates(t.Context())
	must(t, err)
	if len(held) != 2 || held[0].Problem != "" || held[1].Problem != "" {
		t.Fatalf("after a restart: %+v", held)
	}
	w.approve(w.scan(w.login(order{})))
	pending, err := w.files.List(t.Context(), "enrol-")
	must(t, err)
	if len(pending) != 0 {
		t.Errorf("left behind: %q", pending)
	}
}

// The private keys never leave the phone, and lie in no file in the clear.
func TestEnrolKeepsKeys(t *testing.T) {
	w := newWorld(t)
	var scalar []byte
	w.authority.respond = func(sign, encrypt *smx509.Certificate, key *sm2.PrivateKey) []byte {
		scalar = scalarOf(t, key)
		der, err := smx509.MarshalCSRResponse([]*smx509.Certificate{sign}, key, []*smx509.Certificate{encrypt})
		must(t, err)
		return der
	}
	_, err := w.phone.Enrol(t.Context(), w.authority.file(), core.Setup{}, []byte(password))
	must(t, err)
	names, err := w.files.List(t.Context(), "")
	must(t, err)
	for _, name := range names {
		data, err := w.files.Read(t.Context(), name)
		must(t, err)
		for _, form := range [][]byte{scalar, []byte(protocol.Bytes(scalar).String()), []byte(password)} {
			if len(form) == 0 || bytes.Contains(data, form) {
				t.Errorf("%s holds a key or the password in the clear", name)
			}
		}
	}
}

// A phone that is killed anywhere in the enrolment goes on with the same keys
// and the same bytes.
func TestEnrolInterrupted(t *testing.T) {
	for name, lose := range map[string]bool{"before the authority": false, "after the authority": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.intercept = func(_ core.Call, serve func() core.Answer) (core.Answer, error) {
				if lose {
					serve()
				}
				return core.Answer{}, errLost
			}
			_, err := w.phone.Enrol(t.Context(), w.authority.file(), core.Setup{}, []byte(password))
			wantCode(t, err, protocol.CodeNetwork)
			w.intercept = nil
			w.restart()
			_, err = w.phone.Enrol(t.Context(), w.authority.file(), core.Setup{}, []byte("another-password"))
			wantCode(t, err, protocol.CodePasswordWrong)
			_, err = w.phone.Enrol(t.Context(), w.authority.file(), core.Setup{}, []byte(password))
			must(t, err)
			sent := w.sent(caapi.PathEnrol)
			for _, call := range sent {
				if !bytes.Equal(call.Body, sent[0].Body) {
					t.Fatal("the request was made anew")
				}
			}
			if len(w.authority.issued) != 1 {
				t.Errorf("%d certificates were issued", len(w.authority.issued))
			}
		})
	}
}

// A code that is not good leaves nothing behind, not even the password.
func TestEnrolAbandoned(t *testing.T) {
	w := newWorld(t)
	file := w.authority.file()
	file.Code = "MISTYPED"
	_, err := w.phone.Enrol(t.Context(), file, core.Setup{}, []byte("mistyped-password"))
	wantCode(t, err, protocol.CodeEnrolmentCode)
	_, err = w.phone.Enrol(t.Context(), w.authority.file(), core.Setup{}, []byte(password))
	must(t, err)
	// With certificates there, they and their password stay.
	_, err = w.phone.Enrol(t.Context(), file, core.Setup{}, []byte(password))
	wantCode(t, err, protocol.CodeEnrolmentCode)
	w.approve(w.scan(w.login(order{})))
	pending, err := w.files.List(t.Context(), "enrol-")
	must(t, err)
	if len(pending) != 0 {
		t.Errorf("left behind: %q", pending)
	}
}

// failing loses writes of one file, as a phone that is killed before them.
type failing struct {
	storage.Files
	name string
}

func (f *failing) Write(ctx context.Context, name string, data []byte) error {
	if strings.HasPrefix(name, f.name) {
		return errLost
	}
	return f.Files.Write(ctx, name, data)
}

func TestEnrolKilledBetweenWrites(t *testing.T) {
	for _, name := range []string{"keystore", "enrol-", "pass", "settings"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			phone := w.open(&failing{w.files, name})
			_, err := phone.Enrol(t.Context(), w.authority.file(), core.Setup{}, []byte(password))
			if err == nil {
				t.Fatal("the loss went unnoticed")
			}
			w.restart()
			_, err = w.phone.Enrol(t.Context(), w.authority.file(), core.Setup{}, []byte(password))
			must(t, err)
			w.approve(w.scan(w.login(order{})))
			if len(w.authority.issued) != 1 {
				t.Errorf("%d certificates were issued", len(w.authority.issued))
			}
		})
	}
}

func TestEnrolRefuses(t *testing.T) {
	foreign := func(w *world) *pki { return newPKI(w.t, w.clock, "foreign") }
	for name, c := range map[string]struct {
		prepare func(w *world, f *caapi.EnrolmentFile)
		want    protocol.Code
	}{
		"used or unknown code": {func(_ *world, f *caapi.EnrolmentFile) { f.Code = "OTHER" }, protocol.CodeEnrolmentCode},
		"root that the file does not name": {func(w *world, f *caapi.EnrolmentFile) {
			f.Roots = []string{strings.Repeat("0", 64)}
		}, protocol.CodeCertUntrusted},
		"chain of another authority": {func(w *world, _ *caapi.EnrolmentFile) {
			p := foreign(w)
			w.authority.alter = func(a *caapi.EnrolAnswer) { a.Chain = []protocol.Bytes{p.issuing.cert.Raw, p.root.cert.Raw} }
		}, protocol.CodeCertUntrusted},
		"certificate for another key": {func(w *world, _ *caapi.EnrolmentFile) {
			w.authority.respond = func(_, encrypt *smx509.Certificate, key *sm2.PrivateKey) []byte {
				other := w.authority.issue(w.authority.holder(protocol.H([]byte("CODE-1"))[:16], signUsage), &w.authority.issuing, w.authority.key())
				der, err := smx509.MarshalCSRResponse([]*smx509.Certificate{other.cert}, key, []*smx509.Certificate{encrypt})
				must(w.t, err)
				return der
			}
		}, protocol.CodeIssuanceConflict},
		"encryption certificate for another key": {func(w *world, _ *caapi.EnrolmentFile) {
			w.authority.respond = func(sign, _ *smx509.Certificate, key *sm2.PrivateKey) []byte {
				other := w.authority.issue(w.authority.holder(protocol.H([]byte("CODE-1"))[:16], encryptUsage), &w.authority.issuing, w.authority.key())
				return csrResponse(w.t, sign, enveloped(w.t, sign, key, 32), other.cert, false)
			}
		}, protocol.CodeIssuanceConflict},
		"two holders": {func(w *world, _ *caapi.EnrolmentFile) {
			w.authority.respond = func(sign, _ *smx509.Certificate, key *sm2.PrivateKey) []byte {
				other := w.authority.issue(w.authority.holder(make([]byte, 16), encryptUsage), &w.authority.issuing, key)
				return csrResponse(w.t, sign, enveloped(w.t, sign, key, 32), other.cert, false)
			}
		}, protocol.CodeCertUntrusted},
		"signing certificate twice": {func(w *world, _ *caapi.EnrolmentFile) {
			w.authority.respond = func(sign, _ *smx509.Certificate, key *sm2.PrivateKey) []byte {
				return csrResponse(w.t, sign, enveloped(w.t, sign, key, 32), sign, false)
			}
		}, protocol.CodeCertUsage},
		"no CSRResponse": {func(w *world, _ *caapi.EnrolmentFile) {
			w.authority.alter = func(a *caapi.EnrolAnswer) { a.Response = []byte{0x30, 0} }
		}, protocol.CodeMalformed},
		"another request": {func(w *world, _ *caapi.EnrolmentFile) {
			w.authority.alter = func(a *caapi.EnrolAnswer) { a.RequestID = make([]byte, 16) }
		}, protocol.CodeMalformed},
		"another's pass": {func(w *world, _ *caapi.EnrolmentFile) {
			w.authority.alter = func(a *caapi.EnrolAnswer) { a.Pass = otherPass(w) }
		}, protocol.CodeUnauthorized},
		"relay by http":    {func(_ *world, f *caapi.EnrolmentFile) { f.Relay = "http://relay.example.cn" }, protocol.CodeMalformed},
		"authority by ftp": {func(_ *world, f *caapi.EnrolmentFile) { f.CA = "ftp://ca.example.cn" }, protocol.CodeMalformed},
		"no relay":         {func(_ *world, f *caapi.EnrolmentFile) { f.Relay = "" }, protocol.CodeEnrolmentCode},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			file := w.authority.file()
			c.prepare(w, file)
			_, err := w.phone.Enrol(t.Context(), file, core.Setup{}, []byte(password))
			wantCode(t, err, c.want)
			if _, err := w.phone.Certificates(t.Context()); protocol.CodeOf(err) != protocol.CodeNotEnrolled {
				t.Errorf("the phone counts as enrolled: %v", err)
			}
		})
	}
}

func otherPass(w *world) string {
	spki, err := protocol.MarshalKey(&w.authority.key().PublicKey)
	must(w.t, err)
	return w.authority.pass(spki)
}

func TestEnrolPasswordRules(t *testing.T) {
	w := newWorld(t)
	for _, weak := range []string{"", "1234567", "密码密码密码密", strings.Repeat("x", 129), "\xff\xfe56789012"} {
		_, err := w.phone.Enrol(t.Context(), w.authority.file(), core.Setup{}, []byte(weak))
		wantCode(t, err, protocol.CodePasswordWeak)
	}
	if len(w.calls) != 0 {
		t.Error("a call went out before there was a password")
	}
}

// The forms in which authorities in the field wrap the encryption key.
func TestEnvelopedForms(t *testing.T) {
	for _, size := range []int{32, 48, 64} {
		for _, explicit := range []bool{false, true} {
			w := newWorld(t)
			w.authority.respond = func(sign, encrypt *smx509.Certificate, key *sm2.PrivateKey) []byte {
				return csrResponse(t, sign, enveloped(t, sign, key, size), encrypt, explicit)
			}
			if _, err := w.phone.Enrol(t.Context(), w.authority.file(), core.Setup{}, []byte(password)); err != nil {
				t.Errorf("%d bytes, explicit %v: %v", size, explicit, err)
			}
		}
	}
	for _, size := range []int{31, 33, 80, damaged48, damaged64} {
		w := newWorld(t)
		w.authority.respond = func(sign, encrypt *smx509.Certificate, key *sm2.PrivateKey) []byte {
			return csrResponse(t, sign, enveloped(t, sign, key, size), encrypt, false)
		}
		_, err := w.phone.Enrol(t.Context(), w.authority.file(), core.Setup{}, []byte(password))
		wantCode(t, err, protocol.CodeIssuanceConflict)
	}
}

// Wrapped keys with something else than padding beside the key.
const (
	damaged48 = -48
	damaged64 = -64
)

// scalarOf is the private key's 32 bytes.
func scalarOf(t testing.TB, key *sm2.PrivateKey) []byte {
	t.Helper()
	der, err := smx509.MarshalSM2PrivateKey(key)
	must(t, err)
	var parsed struct { // RFC 5915
		Version int
		Key     []byte
		Curve   asn1.RawValue `asn1:"optional,explicit,tag:0"`
		Public  asn1.RawValue `asn1:"optional,explicit,tag:1"`
	}
	_, err = asn1.Unmarshal(der, &parsed)
	must(t, err)
	return parsed.Key
}

// enveloped makes an SM2EnvelopedKey with a wrapped key of size bytes.
func enveloped(t testing.TB, to *smx509.Certificate, key *sm2.PrivateKey, size int) []byte {
	t.Helper()
	scalar := scalarOf(t, key)
	plain := make([]byte, 96)
	switch size {
	case damaged48:
		size = 48
		copy(plain, scalar)
	case damaged64:
		size = 64
		copy(plain[32:], scalar)
		plain[0] = 1
	case 48:
		copy(plain, scalar)
		for i := 32; i < 48; i++ {
			plain[i] = 16
		}
	case 64:
		copy(plain[32:], scalar)
	default:
		copy(plain, scalar)
	}
	symmetric, err := protocol.Random(16)
	must(t, err)
	block, err := sm4.NewCipher(symmetric)
	must(t, err)
	wrapped := make([]byte, 96)
	for i := 0; i < 96; i += 16 {
		block.Encrypt(wrapped[i:], plain[i:])
	}
	spki, err := protocol.ParseKey(to.RawSubjectPublicKeyInfo)
	must(t, err)
	wrappedKey, err := sm2.EncryptASN1(rand.Reader, spki.(*ecdsa.PublicKey), symmetric)
	must(t, err)
	public, err := sm2.PublicKeyToECDH(&key.PublicKey)
	must(t, err)
	der, err := asn1.Marshal(struct {
		Algorithm struct{ OID asn1.ObjectIdentifier }
		Key       asn1.RawValue
		Public    asn1.BitString
		Wrapped   asn1.BitString
	}{struct{ OID asn1.ObjectIdentifier }{asn1.ObjectIdentifier{1, 2, 156, 10197, 1, 104, 1}}, asn1.RawValue{FullBytes: wrappedKey},
		asn1.BitString{Bytes: public.Bytes(), BitLength: 8 * 65}, asn1.BitString{Bytes: wrapped[:size], BitLength: 8 * size}})
	must(t, err)
	return der
}

// csrResponse writes the answer of an authority, the encryption certificates
// under [1] IMPLICIT or EXPLICIT.
func csrResponse(t testing.TB, sign *smx509.Certificate, key []byte, encrypt *smx509.Certificate, explicit bool) []byte {
	t.Helper()
	tagged := func(class, tag int, content []byte) asn1.RawValue {
		return asn1.RawValue{Class: class, Tag: tag, IsCompound: true, Bytes: content}
	}
	certs := encrypt.Raw
	if explicit {
		var err error
		certs, err = asn1.Marshal(tagged(asn1.ClassUniversal, asn1.TagSet, certs))
		must(t, err)
	}
	der, err := asn1.Marshal([]asn1.RawValue{tagged(asn1.ClassUniversal, asn1.TagSet, sign.Raw),
		tagged(asn1.ClassContextSpecific, 0, key), tagged(asn1.ClassContextSpecific, 1, certs)})
	must(t, err)
	return der
}

// A second enrolment adds a pair; another authority is refused.
func TestSecondEnrolment(t *testing.T) {
	w := enrolled(t)
	w.authority.code, w.authority.spent = "CODE-2", nil
	_, err := w.phone.Enrol(t.Context(), w.authority.file(), core.Setup{}, []byte(password))
	must(t, err)
	if n := len(w.scan(w.login(order{})).Review().Candidates); n != 2 {
		t.Errorf("%d candidates", n)
	}
	file := w.authority.file()
	file.CA = "https://other.example.cn"
	_, err = w.phone.Enrol(t.Context(), file, core.Setup{}, []byte(password))
	wantCode(t, err, protocol.CodeConflict)
}

// A pass is renewed before it ends, and when the relay says that it has ended.
func TestPassRenewal(t *testing.T) {
	w := enrolled(t)
	w.clock.add(58 * time.Minute)
	w.scan(w.login(order{}))
	if n := len(w.sent(caapi.PathPass)); n != 1 {
		t.Errorf("%d renewals before the end", n)
	}
	w.relay.skew = 0
	refused := false
	w.intercept = func(call core.Call, serve func() core.Answer) (core.Answer, error) {
		if strings.HasSuffix(call.URL, "/claim") && !refused {
			refused = true
			return refuse(protocol.Errorf(protocol.CodeUnauthorized, "expired")), nil
		}
		return serve(), nil
	}
	w.scan(w.login(order{}))
	if n := len(w.sent(caapi.PathPass)); n != 2 {
		t.Errorf("%d renewals after a refusal", n)
	}
}

func FuzzEnrolmentFile(f *testing.F) {
	w := newWorld(f)
	good, err := json.Marshal(w.authority.file())
	must(f, err)
	f.Add(good)
	f.Add([]byte(`{"v":1}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		file, err := core.ParseEnrolmentFile(raw)
		if err == nil {
			if file.Code == "" || len(file.Roots) == 0 {
				t.Fatal("an incomplete file was taken")
			}
			return
		}
		wantCode(t, err, protocol.CodeEnrolmentCode)
	})
}
