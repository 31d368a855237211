//go:build interop

package interop

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/catest"
	"github.com/bidseal/bidseal/ca/trust"
	"github.com/emmansun/gmsm/smx509"
)

// TestAuthority has BouncyCastle judge all that a phone, a platform and a verifier get from the authority, and OpenSSL
// the certificates, one level at a time.
func TestAuthority(t *testing.T) {
	authority := catest.New(t, catest.Options{})
	admin := authority.Organisation("张三", "示例建设有限公司", "91330100MA27XL0G0X", trust.RoleAdmin)
	person := authority.Person("李四")
	site := authority.Platform("示例招标平台")
	leaver := authority.Person("王五")
	authority.Revoke(leaver.Signing)

	responder := responderOf(t, authority, admin.Signing)
	leaves := map[string]*smx509.Certificate{
		"organisation-signing": admin.Signing, "organisation-encryption": admin.Encryption, "person-signing": person.Signing,
		"person-encryption": person.Encryption, "platform": site.Chain[0], "responder": responder,
	}
	j := newJudge(t)
	root, issuing := j.file("root.der", authority.Root().Raw), j.file("issuing.der", authority.Issuing().Raw)
	j.valid("certificate", "root", check{"cert": root, "issuer": root})
	j.valid("certificate", "issuing authority", check{"cert": issuing, "issuer": root})
	for name, cert := range leaves {
		file := j.file(name+".der", cert.Raw)
		j.valid("certificate", name, check{"cert": file, "issuer": issuing})
		j.refused("certificate", name+", altered", "signature", check{"cert": j.file(name+"-altered.der", flipped(cert.Raw)), "issuer": issuing})
	}
	j.requests(admin)
	j.lists(authority, admin, leaver)
	j.answers(authority, admin, leaver)
	j.run()

	openssl(t, authority.Root(), authority.Root())
	openssl(t, authority.Root(), authority.Issuing())
	for _, cert := range leaves {
		openssl(t, authority.Issuing(), cert)
	}
}

func responderOf(t *testing.T, authority *catest.CA, cert *smx509.Certificate) *smx509.Certificate {
	t.Helper()
	response, err := trust.ParseOCSPResponse(authority.Staple(cert))
	if err != nil || len(response.Certificates) != 1 {
		t.Fatalf("answer with %v: %v", response, err)
	}
	return response.Certificates[0]
}

// requests: the phone's request, and the encryption key that came for it.
func (j *judge) requests(h *catest.Holder) {
	j.t.Helper()
	j.valid("request", "phone's request", check{"request": j.file("request.der", h.CSR)})
	j.refused("request", "phone's request, altered", "signature", check{"request": j.file("request-altered.der", flipped(h.CSR))})
	key := j.file("signing-key.bin", h.SigningKey.D.FillBytes(make([]byte, 32)))
	enveloped, cert := j.file("enveloped.der", h.EnvelopedKey), j.file("encryption.der", h.Encryption.Raw)
	j.valid("enveloped-key", "encryption key", check{"enveloped": enveloped, "signing-key": key, "cert": cert})
	j.refused("enveloped-key", "encryption key under another certificate", "pair",
		check{"enveloped": enveloped, "signing-key": key, "cert": j.file("signing.der", h.Signing.Raw)})
	other := j.file("other-key.bin", h.EncryptionKey.D.FillBytes(make([]byte, 32)))
	j.refused("enveloped-key", "encryption key by another phone", "key", check{"enveloped": enveloped, "signing-key": other, "cert": cert})
}

// lists: both revocation lists, and the path with revocation by them.
func (j *judge) lists(authority *catest.CA, good, revoked *catest.Holder) {
	j.t.Helper()
	files := map[string]string{}
	for _, name := range []string{"root", "issuing-1"} {
		list, err := authority.CRL(j.t.Context(), name)
		if err != nil {
			j.t.Fatal(err)
		}
		files[name] = j.file(name+".crl", list.DER)
		if name == "issuing-1" {
			serials := []string{strings.TrimLeft(hex.EncodeToString(revoked.Signing.SerialNumber.Bytes()), "0")}
			j.valid("crl", "revocation list", check{"crl": files[name], "issuer": "issuing.der", "revoked": serials})
			j.refused("crl", "revocation list, altered", "signature",
				check{"crl": j.file("altered.crl", flipped(list.DER)), "issuer": "issuing.der", "revoked": serials})
		}
	}
	path := func(leaf string, at time.Time) check {
		return check{"chain": []string{leaf, "issuing.der"}, "root": "root.der", "crls": []string{files["root"], files["issuing-1"]}, "at": at.UTC().Format(time.RFC3339)}
	}
	now := authority.Now()
	leaf, gone := j.file("good.der", good.Signing.Raw), j.file("gone.der", revoked.Signing.Raw)
	j.valid("path", "path of a good certificate", path(leaf, now))
	j.refused("path", "path of a revoked certificate", "revoked", path(gone, now))
	j.refused("path", "path after its end", "expired", path(leaf, now.AddDate(2, 0, 0)))
}

// answers of the status service.
func (j *judge) answers(authority *catest.CA, good, revoked *catest.Holder) {
	j.t.Helper()
	nonce := []byte("0123456789abcdef0123456789abcdef")
	for name, h := range map[string]*catest.Holder{"good": good, "revoked": revoked} {
		request, err := trust.NewOCSPRequest(h.Signing, authority.Issuing(), nonce)
		if err != nil {
			j.t.Fatal(err)
		}
		answer, err := authority.OCSP(j.t.Context(), request)
		if err != nil {
			j.t.Fatal(err)
		}
		fields := check{
			"response": j.file("ocsp-"+name+".der", answer.DER), "cert": j.file("ocsp-cert-"+name+".der", h.Signing.Raw), "issuer": "issuing.der",
			"status": name, "nonce": base64.StdEncoding.EncodeToString(nonce), "at": authority.Now().UTC().Add(time.Second).Format(time.RFC3339),
		}
		j.valid("ocsp", "status "+name, fields)
		other := check{}
		for key, value := range fields {
			other[key] = value
		}
		other["cert"] = j.file("ocsp-other-"+name+".der", h.Encryption.Raw)
		j.refused("ocsp", "status "+name+" of another certificate", "certid", other)
	}
}

// openssl verifies one level, as its version 3.0 can for SM2.
func openssl(t *testing.T, issuer, cert *smx509.Certificate) {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	args := func(leaf string) []string {
		return []string{"verify", "-vfyopt", "distid:1234567812345678", "-partial_chain", "-trusted", write("issuer.pem", issuer.Raw), write("leaf.pem", []byte(leaf))}
	}
	output(t, "openssl", args(string(cert.Raw))...)
	if issuer.Equal(cert) {
		return // an anchor's own signature is not looked at
	}
	if said, err := attempt(t, "openssl", args(string(flipped(cert.Raw)))...); err == nil {
		t.Errorf("openssl took an altered certificate: %s", said)
	}
}
