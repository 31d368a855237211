//go:build interop

package interop

import (
	"crypto"
	"crypto/rand"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/catest"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// wholesale is an authority of a family that OpenSSL knows whole.
type wholesale struct {
	*authority
	dir, root, issuing string // PEM files
}

func newWholesale(t *testing.T, family issuance.Family) *wholesale {
	t.Helper()
	a := &authority{catest.New(t, catest.Options{Configure: func(c *folder.Config) { c.Family = family }}), t}
	dir := t.TempDir()
	return &wholesale{a, dir, pemFile(t, dir, "root", a.Folder.Root().Raw), pemFile(t, dir, "issuing", a.Status.Current().Certificate().Raw)}
}

// list writes a published list the way OpenSSL reads it.
func (w *wholesale) list(name string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name+".crl.pem")
	write(w.t, path, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: w.get("/crl/" + name + ".crl")}))
	return path
}

// says runs OpenSSL and looks for its verdict: exit codes alone do not tell.
func (w *wholesale) says(name string, want bool, verdict string, args ...string) {
	w.t.Helper()
	said, err := attempt(w.t, "openssl", args...)
	if got := err == nil && strings.Contains(said, verdict); got != want {
		w.t.Errorf("%s: openssl %s says %v, want %v: %v\n%s", name, strings.Join(args, " "), got, want, err, said)
	}
}

// OpenSSL verifies whole chains of the families that it knows, with the lists of both authorities, and asks the running
// responder itself.
func TestFamiliesByOpenSSL(t *testing.T) {
	for _, family := range []issuance.Family{issuance.ECDSAP256, issuance.RSA3072} {
		t.Run(string(family), func(t *testing.T) {
			w := newWholesale(t, family)
			w.lists()
			w.ocsp()
			w.stamp()
		})
	}
}

// lists has OpenSSL verify both published lists and the issuing authority against the root's.
func (w *wholesale) lists() {
	for name, issuer := range map[string]string{"root": w.root, "issuing-1": w.issuing} {
		other := w.root
		if name == "root" {
			other = w.issuing
		}
		list := w.list(name)
		w.says("list "+name, true, "verify OK", "crl", "-in", list, "-CAfile", issuer, "-noout")
		w.says("list "+name+" under the other authority", false, "verify OK", "crl", "-in", list, "-CAfile", other, "-noout")
	}
	w.says("issuing authority with the root's list", true, "issuing.pem: OK", "verify", "-x509_strict", "-crl_check_all", "-CAfile", w.root, "-CRLfile", w.list("root"), w.issuing)
	w.says("issuing authority with a list of its own", false, "issuing.pem: OK", "verify", "-x509_strict", "-crl_check", "-CAfile", w.root, "-CRLfile", w.list("issuing-1"), w.issuing)
}

// ocsp has OpenSSL's client ask over HTTP, with its nonce, about the one certificate that every authority has under its
// issuing key: the responder's own.
func (w *wholesale) ocsp() {
	leaf := responder(w.t, w.Staple(w.responder()))
	cert := pemFile(w.t, w.dir, "responder", leaf.Raw)
	both := filepath.Join(w.dir, "both.pem")
	write(w.t, both, append(read(w.t, w.root), read(w.t, w.issuing)...))
	ask := func(trusted string) []string {
		return []string{"ocsp", "-issuer", w.issuing, "-cert", cert, "-url", w.URL + caapi.PathOCSP, "-CAfile", trusted}
	}
	w.says("answer", true, "responder.pem: good", ask(both)...)
	w.says("answer", true, "Response verify OK", ask(both)...)
	w.says("answer under another root", false, "Response verify OK", ask(pemFile(w.t, w.dir, "stranger", stranger(w.t)))...)
}

// stamp has OpenSSL ask for a timestamp, verify the answer, and verify the timestamp authority's whole path by the
// published lists.
func (w *wholesale) stamp() {
	data, other, question, answer := filepath.Join(w.dir, "data"), filepath.Join(w.dir, "other"), filepath.Join(w.dir, "data.tsq"), filepath.Join(w.dir, "data.tsr")
	write(w.t, data, []byte("evidence"))
	write(w.t, other, []byte("something else"))
	output(w.t, "openssl", "ts", "-query", "-data", data, "-sha256", "-cert", "-out", question)
	write(w.t, answer, w.post(caapi.PathTimestamp, "application/timestamp-query", read(w.t, question)))
	verify := func(what, file, root string) []string {
		return []string{"ts", "-verify", what, file, "-in", answer, "-CAfile", root, "-untrusted", w.issuing}
	}
	w.says("timestamp to its question", true, "Verification: OK", verify("-queryfile", question, w.root)...)
	w.says("timestamp of its data", true, "Verification: OK", verify("-data", data, w.root)...)
	w.says("timestamp of other data", false, "Verification: OK", verify("-data", other, w.root)...)
	w.says("timestamp under another root", false, "Verification: OK", verify("-data", data, pemFile(w.t, w.dir, "stranger", stranger(w.t)))...)
	tsa := pemFile(w.t, w.dir, "tsa", must(w.Life.TimestampCertificate(w.t.Context()))(w.t).Raw)
	w.says("whole path with both lists", true, "tsa.pem: OK", "verify", "-x509_strict", "-purpose", "timestampsign", "-crl_check_all", "-CAfile", w.root,
		"-untrusted", w.issuing, "-CRLfile", w.list("root"), "-CRLfile", w.list("issuing-1"), tsa)
	w.says("whole path without the root's list", false, "tsa.pem: OK", "verify", "-x509_strict", "-crl_check_all", "-CAfile", w.root,
		"-untrusted", w.issuing, "-CRLfile", w.list("issuing-1"), tsa)
}

// responder asks about a serial number that nobody issued, for the certificate in the answer.
func (w *wholesale) responder() *smx509.Certificate {
	w.t.Helper()
	return must(smx509.ParseCertificate(stranger(w.t)))(w.t)
}

// stranger is a root that nobody knows.
func stranger(t *testing.T) []byte {
	t.Helper()
	return newSigner(t, "stranger").cert
}

// A certificate is good or revoked by the lists of its path as the authority signs them: OpenSSL follows the critical
// issuing distribution points.
func TestFamilyRevocationByOpenSSL(t *testing.T) {
	for _, family := range []issuance.Family{issuance.ECDSAP256, issuance.RSA3072} {
		t.Run(string(family), func(t *testing.T) {
			dir := t.TempDir()
			c := newFamilyCeremony(t, family)
			rootFile, issuingFile := pemFile(t, dir, "root", c.root.Raw), pemFile(t, dir, "issuing", c.issuer.Certificate().Raw)
			good := issueFamily(t, c.issuer, familyRequest(t, issuance.PersonSigning, family))
			revoked := issueFamily(t, c.issuer, familyRequest(t, issuance.PersonSigning, family))
			list := func(name string, issuer *smx509.Certificate, key crypto.Signer, authorities bool, url string, serials ...*big.Int) string {
				path := filepath.Join(dir, name)
				write(t, path, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: familyList(t, issuer, key, authorities, url, serials...)}))
				return path
			}
			rootList := list("root.crl", c.root, c.rootKey, true, "")
			issuingList := list("issuing.crl", c.issuer.Certificate(), c.key, false, "http://ca.example/crl/issuing-1.crl", revoked.SerialNumber)
			foreign := list("foreign.crl", c.issuer.Certificate(), c.key, false, "http://ca.example/crl/issuing-2.crl")
			for _, check := range []struct {
				name, list, verdict string
				cert                *smx509.Certificate
			}{
				{"good", issuingList, "good.pem: OK", good},
				{"revoked", issuingList, "certificate revoked", revoked},
				{"foreign", foreign, "different CRL scope", good},
			} {
				said, err := attempt(t, "openssl", "verify", "-x509_strict", "-crl_check_all", "-CAfile", rootFile, "-untrusted", issuingFile,
					"-CRLfile", rootList, "-CRLfile", check.list, pemFile(t, dir, check.name, check.cert.Raw))
				if (err == nil) != (check.name == "good") || !strings.Contains(said, check.verdict) {
					t.Errorf("%s: %v\n%s", check.name, err, said)
				}
			}
		})
	}
}

// familyList is a list as the authority signs them.
func familyList(t *testing.T, issuer *smx509.Certificate, key crypto.Signer, authorities bool, url string, serials ...*big.Int) []byte {
	t.Helper()
	var urls []string
	if url != "" {
		urls = append(urls, url)
	}
	point := must(trust.NewIssuingDistributionPoint(authorities, urls...))(t)
	template := &smx509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour),
		ExtraExtensions: []pkix.Extension{{Id: trust.OIDIssuingDistributionPoint(), Critical: true, Value: point}},
	}
	for _, serial := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, smx509.RevocationListEntry{SerialNumber: serial, RevocationTime: time.Now().Add(-time.Minute), ReasonCode: 1})
	}
	return must(smx509.CreateRevocationList(rand.Reader, template, issuer, key))(t)
}

// Every leaf profile of a family that OpenSSL knows is verified by it under the authority that signed it.
func TestFamilyProfilesByOpenSSL(t *testing.T) {
	for _, family := range []issuance.Family{issuance.ECDSAP256, issuance.RSA3072} {
		t.Run(string(family), func(t *testing.T) {
			dir := t.TempDir()
			c := newFamilyCeremony(t, family)
			rootFile, issuingFile := pemFile(t, dir, "root", c.root.Raw), pemFile(t, dir, "issuing", c.issuer.Certificate().Raw)
			for _, profile := range []issuance.Name{
				issuance.OrganisationSigning, issuance.PersonSigning, issuance.Platform, issuance.OCSP, issuance.Timestamp, issuance.SealMaker, issuance.Operator,
			} {
				cert := issueFamily(t, c.issuer, familyRequest(t, profile, family))
				verify := func(name string, der []byte) (string, error) {
					return attempt(t, "openssl", "verify", "-x509_strict", "-CAfile", rootFile, "-untrusted", issuingFile, pemFile(t, dir, name, der))
				}
				if said, err := verify(string(profile), cert.Raw); err != nil || !strings.HasSuffix(strings.TrimSpace(said), ": OK") {
					t.Errorf("%s: %v\n%s", profile, err, said)
				}
				if said, err := verify(string(profile)+"-flipped", flipped(cert.Raw)); err == nil {
					t.Errorf("%s with a flipped signature is accepted:\n%s", profile, said)
				}
			}
		})
	}
}

// ceremony is a root and an issuing authority whose keys the test holds.
type ceremony struct {
	root         *smx509.Certificate
	issuer       *issuance.Issuer
	rootKey, key crypto.Signer
}

func newFamilyCeremony(t *testing.T, family issuance.Family) *ceremony {
	t.Helper()
	config := issuance.Config{
		OIDs: trust.DocumentationOIDs(), CRLURL: "http://ca.example/crl/issuing-1.crl", OCSPURL: "http://ca.example/ocsp", IssuerURL: "http://ca.example/certs/issuing-1.cer",
	}
	rootKey, key := must(family.GenerateKey())(t), must(family.GenerateKey())(t)
	now := time.Now().UTC().Truncate(time.Second)
	authority := func(profile issuance.Name, name string, public any, years int) issuance.Request {
		return issuance.Request{
			Profile: profile, Subject: issuance.Subject{Country: "CN", CommonName: name}, PublicKey: public, Serial: must(issuance.NewSerial(rand.Reader))(t),
			NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(years, 0, -1),
		}
	}
	root := issueFamily(t, must(issuance.NewRootIssuer(rootKey, config))(t), authority(issuance.Root, "测试根", rootKey.Public(), 20))
	issuing := issueFamily(t, must(issuance.NewIssuer(root, rootKey, config))(t), authority(issuance.Issuing, "测试签发", key.Public(), 10))
	return &ceremony{root, must(issuance.NewIssuer(issuing, key, config))(t), rootKey, key}
}

func issueFamily(t *testing.T, issuer *issuance.Issuer, r issuance.Request) *smx509.Certificate {
	t.Helper()
	return must(issuer.Issue(must(issuer.Prepare(r))(t)))(t)
}

// familyRequest is a certificate of a leaf profile.
func familyRequest(t *testing.T, profile issuance.Name, family issuance.Family) issuance.Request {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	r := issuance.Request{
		Profile: profile, Subject: issuance.Subject{Country: "CN", CommonName: "张三"}, PublicKey: must(family.GenerateKey())(t).Public(),
		Serial: must(issuance.NewSerial(rand.Reader))(t), NotBefore: now.Add(-time.Minute), NotAfter: now.AddDate(0, 0, 200),
	}
	switch profile {
	case issuance.OrganisationSigning:
		r.Subject.Organisation, r.CreditCode, r.Role = "示例建设有限公司", "91330100MA27XL0G0X", trust.RoleAdmin
	case issuance.Platform:
		r.Subject.Organisation, r.PlatformID = "某交易中心", "p-1"
	case issuance.SealMaker:
		r.Subject.Organisation = "某印章制作单位"
	case issuance.Operator:
		r.Subject.Serial = "op-7"
	}
	if profile == issuance.OrganisationSigning || profile == issuance.PersonSigning {
		r.Lineage, r.Subject.Serial = []byte("0123456789abcdef"), "30313233343536373839616263646566"
	}
	return r
}
