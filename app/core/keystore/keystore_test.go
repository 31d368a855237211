package keystore_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509/pkix"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/app/core/keys"
	"github.com/bidseal/bidseal/app/core/keystore"
	"github.com/bidseal/bidseal/app/core/storage"
	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

const (
	right = "right-password"
	wrong = "wrong-password"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, want protocol.Code) {
	t.Helper()
	if err == nil || protocol.CodeOf(err) != want {
		t.Fatalf("got %v, want %s", err, want)
	}
}

func cheap() keystore.KDF {
	return keystore.KDF{Name: "argon2id", Time: 1, Memory: 1 << 10, Threads: 1}
}

func open(t testing.TB, files storage.Files) *keystore.Store {
	t.Helper()
	s, err := keystore.New(files, cheap())
	must(t, err)
	return s
}

// certify issues a certificate for a public key; the store does not judge chains.
func certify(t testing.TB, serial int64, public any) []byte {
	t.Helper()
	key, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	parent := &smx509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0)}
	leaf := &smx509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "holder"}, SubjectKeyId: []byte{byte(serial)},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0)}
	der, err := smx509.CreateCertificate(rand.Reader, leaf, parent, public, key)
	must(t, err)
	return der
}

// pair asks for a certificate and installs the answer.
func pair(t testing.TB, s *keystore.Store, id string, serial int64) keys.Grant {
	t.Helper()
	csr, err := s.Request(t.Context(), id, []byte(right))
	must(t, err)
	g := answer(t, csr, serial)
	must(t, s.Install(t.Context(), id, []byte(right), g))
	return g
}

// answer is an authority's answer to a request.
func answer(t testing.TB, csr []byte, serial int64) keys.Grant {
	t.Helper()
	request, err := smx509.ParseCertificateRequest(csr)
	must(t, err)
	must(t, request.CheckSignature())
	encryption, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	sign, encrypt := certify(t, serial, request.PublicKey), certify(t, serial+1, &encryption.PublicKey)
	cert, err := smx509.ParseCertificate(sign)
	must(t, err)
	pub, err := protocol.ParseKey(cert.RawSubjectPublicKeyInfo)
	must(t, err)
	enveloped, err := sm2.MarshalEnvelopedPrivateKey(rand.Reader, pub.(*ecdsa.PublicKey), encryption)
	must(t, err)
	return keys.Grant{Sign: [][]byte{sign}, Encrypt: [][]byte{encrypt}, Enveloped: enveloped}
}

func statement(t testing.TB) keys.Message {
	t.Helper()
	m, err := keys.Statement(protocol.Statement{V: 1, Typ: protocol.KindLogin, App: "test"})
	must(t, err)
	return m
}

func TestSign(t *testing.T) {
	files := storage.NewMemory()
	s := open(t, files)
	g := pair(t, s, "r1", 10)
	id, m := keys.CertificateID(g.Sign[0]), statement(t)
	var signature []byte
	var kept keys.Signer
	must(t, open(t, files).Use(t.Context(), []byte(right), func(signer keys.Signer) (err error) {
		kept = signer
		signature, err = signer.Sign(id, m)
		return err
	}))
	cert, err := smx509.ParseCertificate(g.Sign[0])
	must(t, err)
	must(t, protocol.VerifyStatement(cert.PublicKey, m.Content(), signature))
	if _, err := kept.Sign(id, m); err == nil {
		t.Error("a signer that was kept still signs")
	}
	must(t, s.Use(t.Context(), []byte(right), func(signer keys.Signer) error {
		if _, err := signer.Sign(id, keys.Message{}); err == nil {
			t.Error("the empty message was signed")
		}
		_, err := signer.Sign(keys.CertificateID(g.Encrypt[0]), m)
		wantCode(t, err, protocol.CodeNoCertificate)
		_, err = signer.Sign("", m)
		wantCode(t, err, protocol.CodeNoCertificate)
		return nil
	}))
}

func TestRequestAgain(t *testing.T) {
	files := storage.NewMemory()
	first, err := open(t, files).Request(t.Context(), "r1", []byte(right))
	must(t, err)
	again, err := open(t, files).Request(t.Context(), "r1", []byte(right))
	must(t, err)
	other, err := open(t, files).Request(t.Context(), "r2", []byte(right))
	must(t, err)
	if string(first) != string(again) || string(first) == string(other) {
		t.Error("a request is one per id")
	}
	_, err = open(t, files).Request(t.Context(), "r1", []byte(wrong))
	wantCode(t, err, protocol.CodePasswordWrong)
}

func TestInstallTwice(t *testing.T) {
	s := open(t, storage.NewMemory())
	g := pair(t, s, "r1", 10)
	must(t, s.Install(t.Context(), "r1", []byte(right), g))
	certs, err := s.Certificates(t.Context())
	must(t, err)
	if len(certs) != 2 {
		t.Errorf("%d certificates", len(certs))
	}
}

func TestInstallRefuses(t *testing.T) {
	s := open(t, storage.NewMemory())
	first, err := s.Request(t.Context(), "r1", []byte(right))
	must(t, err)
	second, err := s.Request(t.Context(), "r2", []byte(right))
	must(t, err)
	a, b := answer(t, first, 10), answer(t, second, 20)
	for name, g := range map[string]keys.Grant{
		"answer to another request":      b,
		"key enveloped for another":      {Sign: a.Sign, Encrypt: b.Encrypt, Enveloped: b.Enveloped},
		"certificate for another key":    {Sign: a.Sign, Encrypt: b.Encrypt, Enveloped: a.Enveloped},
		"flipped bit in the wrapped key": {Sign: a.Sign, Encrypt: a.Encrypt, Enveloped: flip(a.Enveloped)},
		"no key":                         {Sign: a.Sign, Encrypt: a.Encrypt},
	} {
		if err := s.Install(t.Context(), "r1", []byte(right), g); protocol.CodeOf(err) != protocol.CodeIssuanceConflict {
			t.Errorf("%s: %v", name, err)
		}
	}
	if certs, err := s.Certificates(t.Context()); err != nil || len(certs) != 0 {
		t.Errorf("%d certificates after refusals, %v", len(certs), err)
	}
	must(t, s.Install(t.Context(), "r1", []byte(right), a))
}

func flip(b []byte) []byte {
	out := append([]byte{}, b...)
	out[len(out)-1] ^= 1
	return out
}

func TestFind(t *testing.T) {
	s := open(t, storage.NewMemory())
	_, err := s.Find(t.Context(), keys.Recipient{SKI: []byte{1}})
	wantCode(t, err, protocol.CodeNotEnrolled)
	old, recent := pair(t, s, "r1", 10), pair(t, s, "r2", 20)
	for _, g := range []keys.Grant{old, recent} {
		cert, err := smx509.ParseCertificate(g.Encrypt[0])
		must(t, err)
		spki, err := protocol.MarshalKey(cert.PublicKey)
		must(t, err)
		for name, r := range map[string]keys.Recipient{
			"issuer and serial": {Issuer: cert.RawIssuer, Serial: cert.SerialNumber.Bytes()},
			"key identifier":    {SKI: cert.SubjectKeyId},
			"key digest":        {Digest: protocol.H(spki)},
		} {
			found, err := s.Find(t.Context(), r)
			if err != nil || found.ID != keys.CertificateID(g.Encrypt[0]) {
				t.Errorf("%s: %+v, %v", name, found, err)
			}
		}
	}
	sign, err := smx509.ParseCertificate(old.Sign[0])
	must(t, err)
	for name, r := range map[string]keys.Recipient{
		"nothing":             {},
		"signing certificate": {Issuer: sign.RawIssuer, Serial: sign.SerialNumber.Bytes()},
		"unknown":             {SKI: []byte{99}},
	} {
		if _, err := s.Find(t.Context(), r); protocol.CodeOf(err) != protocol.CodeNoCertificate {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Wrong passwords count before they are evaluated, across restarts; a right one
// resets; the tenth wrong one locks for good.
func TestTries(t *testing.T) {
	files := storage.NewMemory()
	s := open(t, files)
	pair(t, s, "r1", 10)
	use := func(password string) error {
		return open(t, files).Use(t.Context(), []byte(password), func(keys.Signer) error { return nil })
	}
	left := func() int {
		n, err := open(t, files).TriesLeft(t.Context())
		must(t, err)
		return n
	}
	wantCode(t, use(wrong), protocol.CodePasswordWrong)
	if left() != assistapi.MaxTries-1 {
		t.Errorf("%d left after one", left())
	}
	must(t, use(right))
	if left() != assistapi.MaxTries {
		t.Errorf("%d left after a right one", left())
	}
	for i := range assistapi.MaxTries - 1 {
		wantCode(t, use(wrong), protocol.CodePasswordWrong)
		if left() != assistapi.MaxTries-1-i {
			t.Fatalf("%d left after %d", left(), i+1)
		}
	}
	wantCode(t, use(wrong), protocol.CodePasswordLocked)
	wantCode(t, use(right), protocol.CodePasswordLocked)
	_, err := s.Request(t.Context(), "r2", []byte(right))
	wantCode(t, err, protocol.CodePasswordLocked)
}

// A count that cannot be written stops the evaluation; one that cannot be read
// locks: neither gives free tries.
func TestTriesCannotBeAvoided(t *testing.T) {
	files := storage.NewMemory()
	pair(t, open(t, files), "r1", 10)
	broken := &readOnly{files}
	err := open(t, broken).Use(t.Context(), []byte(right), func(keys.Signer) error {
		t.Error("unlocked without a count")
		return nil
	})
	if err == nil {
		t.Error("no error")
	}
	must(t, files.Write(t.Context(), "tries.json", []byte("{")))
	err = open(t, files).Use(t.Context(), []byte(right), func(keys.Signer) error { return nil })
	wantCode(t, err, protocol.CodePasswordLocked)
}

type readOnly struct{ storage.Files }

func (r *readOnly) Write(context.Context, string, []byte) error { return context.DeadlineExceeded }

// edit changes the file as text and reports what opening it with the right
// password says.
func edit(t *testing.T, change func(doc map[string]any)) error {
	t.Helper()
	files := storage.NewMemory()
	g := pair(t, open(t, files), "r1", 10)
	raw, err := files.Read(t.Context(), "keystore.json")
	must(t, err)
	var doc map[string]any
	must(t, json.Unmarshal(raw, &doc))
	change(doc)
	raw, err = json.Marshal(doc)
	must(t, err)
	must(t, files.Write(t.Context(), "keystore.json", raw))
	return open(t, files).Use(t.Context(), []byte(right), func(s keys.Signer) error {
		_, err := s.Sign(keys.CertificateID(g.Sign[0]), statement(t))
		return err
	})
}

func slotOf(doc map[string]any) map[string]any { return doc["slots"].([]any)[0].(map[string]any) }
func keyOf(doc map[string]any, i int) map[string]any {
	return doc["keys"].([]any)[i].(map[string]any)
}

// No part of the file can be changed or moved without notice.
func TestTampered(t *testing.T) {
	must(t, edit(t, func(map[string]any) {}))
	for name, c := range map[string]struct {
		change func(doc map[string]any)
		want   protocol.Code
	}{
		"version":              {func(d map[string]any) { d["v"] = 2 }, protocol.CodeKeystoreInvalid},
		"suite":                {func(d map[string]any) { d["suite"] = "NULL" }, protocol.CodeKeystoreInvalid},
		"file id":              {func(d map[string]any) { d["id"] = strings.Repeat("A", 22) }, protocol.CodePasswordWrong},
		"slot id":              {func(d map[string]any) { slotOf(d)["id"] = strings.Repeat("A", 22) }, protocol.CodePasswordWrong},
		"epoch of the file":    {func(d map[string]any) { d["epoch"] = 2 }, protocol.CodeKeystoreInvalid},
		"both epochs":          {func(d map[string]any) { d["epoch"], slotOf(d)["epoch"] = 2, 2 }, protocol.CodePasswordWrong},
		"salt":                 {func(d map[string]any) { slotOf(d)["salt"] = strings.Repeat("A", 22) }, protocol.CodePasswordWrong},
		"passes":               {func(d map[string]any) { slotOf(d)["kdf"].(map[string]any)["time"] = 2 }, protocol.CodePasswordWrong},
		"memory beyond bounds": {func(d map[string]any) { slotOf(d)["kdf"].(map[string]any)["memory"] = 1 << 30 }, protocol.CodeKeystoreInvalid},
		"passes beyond bounds": {func(d map[string]any) { slotOf(d)["kdf"].(map[string]any)["time"] = 1000 }, protocol.CodeKeystoreInvalid},
		"function":             {func(d map[string]any) { slotOf(d)["kdf"].(map[string]any)["name"] = "md5" }, protocol.CodeKeystoreInvalid},
		"no slot":              {func(d map[string]any) { d["slots"] = []any{} }, protocol.CodeKeystoreInvalid},
		"unknown slots only":   {func(d map[string]any) { slotOf(d)["type"] = "password+voprf" }, protocol.CodeKeystoreInvalid},
		"keys exchanged": {func(d map[string]any) {
			a, b := keyOf(d, 0), keyOf(d, 1)
			a["wrapped"], b["wrapped"] = b["wrapped"], a["wrapped"]
		}, protocol.CodeKeystoreInvalid},
		"use of a key":     {func(d map[string]any) { keyOf(d, 1)["use"], keyOf(d, 0)["certs"] = "sign", keyOf(d, 1)["certs"] }, protocol.CodeNoCertificate},
		"unknown name":     {func(d map[string]any) { slotOf(d)["extra"] = 1 }, protocol.CodeKeystoreInvalid},
		"key without home": {func(d map[string]any) { delete(keyOf(d, 0), "certs") }, protocol.CodeKeystoreInvalid},
	} {
		if err := edit(t, c.change); protocol.CodeOf(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// Another certificate in the record of a key does not make the key sign for it
// under a name that is not its own.
func TestUseOfEncryptionKeyForSigning(t *testing.T) {
	err := edit(t, func(d map[string]any) {
		a, b := keyOf(d, 0), keyOf(d, 1)
		b["use"], b["certs"] = "sign", a["certs"]
		d["keys"] = []any{b}
	})
	wantCode(t, err, protocol.CodeKeystoreInvalid)
}

// Slots that this version does not know stay as they are.
func TestUnknownSlotsAreKept(t *testing.T) {
	files := storage.NewMemory()
	s := open(t, files)
	pair(t, s, "r1", 10)
	raw, err := files.Read(t.Context(), "keystore.json")
	must(t, err)
	unknown := `{"type":"webauthn-prf","credential":"AAAA","later":{"deep":[1,2]}}`
	text := strings.Replace(string(raw), `"slots":[`, `"slots":[`+unknown+`,`, 1)
	must(t, files.Write(t.Context(), "keystore.json", []byte(text)))
	pair(t, open(t, files), "r2", 20)
	raw, err = files.Read(t.Context(), "keystore.json")
	must(t, err)
	if !strings.Contains(string(raw), unknown) {
		t.Errorf("the slot was changed: %s", raw)
	}
}

func TestKDFBounds(t *testing.T) {
	must(t, keystore.DefaultKDF().Check())
	for _, k := range []keystore.KDF{{}, {Name: "argon2id"}, {Name: "argon2id", Time: 3, Memory: 64 << 10}, {Name: "argon2i", Time: 3, Memory: 64 << 10, Threads: 1},
		{Name: "argon2id", Time: 3, Memory: 2 << 20, Threads: 1}, {Name: "argon2id", Time: 17, Memory: 64 << 10, Threads: 1}} {
		if _, err := keystore.New(storage.NewMemory(), k); err == nil {
			t.Errorf("%+v was accepted", k)
		}
	}
}

// FuzzFile: whatever the file holds, reading it gives certificates or an error
// of the catalogue.
func FuzzFile(f *testing.F) {
	files := storage.NewMemory()
	s := open(f, files)
	pair(f, s, "r1", 10)
	raw, err := files.Read(f.Context(), "keystore.json")
	must(f, err)
	f.Add(raw)
	f.Add([]byte(`{"v":1,"id":"AAAAAAAAAAAAAAAAAAAAAA","suite":"SM4-GCM","epoch":1,"slots":[{"type":"x"}],"keys":[]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		files := storage.NewMemory()
		if files.Write(t.Context(), "keystore.json", raw) != nil {
			return
		}
		s := open(t, files)
		certs, err := s.Certificates(t.Context())
		if err != nil {
			wantCode(t, err, protocol.CodeKeystoreInvalid)
			return
		}
		for _, c := range certs {
			if c.ID == "" || len(c.Chain) == 0 {
				t.Fatalf("certificate %+v", c)
			}
		}
		if _, err := s.Find(t.Context(), keys.Recipient{SKI: []byte{1}}); protocol.CodeOf(err) == protocol.CodeInternal {
			t.Fatal(err)
		}
	})
}
