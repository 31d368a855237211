//go:build interop

package interop

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/catest"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/bidseal/bidseal/trust/timestamp"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// authority is a running CA whose published objects are judged.
type authority struct {
	*catest.CA
	t *testing.T
}

// get fetches what the authority publishes under a path.
func (a *authority) get(path string) []byte {
	a.t.Helper()
	request := must(http.NewRequestWithContext(a.t.Context(), http.MethodGet, a.URL+path, nil))(a.t)
	return a.do(request)
}

// ask puts a DER question to the OCSP responder.
func (a *authority) ask(question []byte) []byte {
	a.t.Helper()
	return a.post(caapi.PathOCSP, "application/ocsp-request", question)
}

func (a *authority) post(path, contentType string, body []byte) []byte {
	a.t.Helper()
	request := must(http.NewRequestWithContext(a.t.Context(), http.MethodPost, a.URL+path, bytes.NewReader(body)))(a.t)
	request.Header.Set("Content-Type", contentType)
	return a.do(request)
}

func (a *authority) do(request *http.Request) []byte {
	a.t.Helper()
	client := http.Client{Timeout: 30 * time.Second}
	response := must(client.Do(request))(a.t)
	defer response.Body.Close()
	body := must(io.ReadAll(io.LimitReader(response.Body, 1<<20)))(a.t)
	if response.StatusCode != http.StatusOK {
		a.t.Fatalf("%s %s: %s\n%s", request.Method, request.URL.Path, response.Status, body)
	}
	return body
}

// status asks about a certificate with a fresh nonce.
func (a *authority) status(cert *smx509.Certificate) (answer, nonce []byte) {
	a.t.Helper()
	nonce = must(protocol.Random(16))(a.t)
	return a.ask(must(trust.NewOCSPRequest(cert, a.Status.Current().Certificate(), nonce))(a.t)), nonce
}

// enrol gives a person of an organisation a dual certificate that lives for validity, a year if zero.
func (a *authority) enrol(name string, validity time.Duration) *catest.Holder {
	a.t.Helper()
	return a.Enrol(caapi.Subject{
		Kind: string(trust.Organisation), Name: name, Organisation: "示例建设有限公司", CreditCode: "91330100MA27XL0G0X", Role: trust.RoleAdmin,
	}, validity)
}

// scalar is the private key as the judge reads it.
func scalar(key *sm2.PrivateKey) []byte { return key.D.FillBytes(make([]byte, 32)) }

// responder is the certificate in an answer.
func responder(t *testing.T, answer []byte) *smx509.Certificate {
	t.Helper()
	parsed := must(trust.ParseOCSPResponse(answer))(t)
	if len(parsed.Certificates) != 1 {
		t.Fatalf("%d certificates in the answer", len(parsed.Certificates))
	}
	return parsed.Certificates[0]
}

// envelopeFlipped is the response with the last bit of the wrapped private key turned: it stands right before the
// header (tag, 82, two bytes of length) of the encryption certificates.
func envelopeFlipped(t *testing.T, h *catest.Holder) []byte {
	t.Helper()
	at := bytes.Index(h.Response, h.Encryption.Raw)
	if at < 5 || h.Response[at-4] != 0xa1 || h.Response[at-3] != 0x82 {
		t.Fatal("the response is not laid out as expected")
	}
	return append(flipped(h.Response[:at-4]), h.Response[at-4:]...)
}

// BouncyCastle accepts what the authority issues and publishes, and refuses every alteration.
func TestAuthorityByBouncyCastle(t *testing.T) {
	// Two years ago, because BouncyCastle validates no path at a time that is still to come.
	clock := time.Now().AddDate(-2, 0, 0).Truncate(time.Second)
	a := &authority{catest.New(t, catest.Options{Now: func() time.Time { return clock }}), t}
	holder, other, brief := a.enrol("张三", 0), a.enrol("李四", 0), a.enrol("王五", 2*time.Hour)
	person, platform := a.Person("赵六"), a.Platform("示例招标平台")
	before := a.get("/crl/issuing-1.crl")
	goodAnswer, goodNonce := a.status(holder.Signing)
	a.Revoke(other.Signing)
	after := a.get("/crl/issuing-1.crl")
	revokedAnswer, _ := a.status(other.Signing)
	at := clock.UTC().Add(time.Second).Format(time.RFC3339)

	j := newJudge(t)
	root, issuing := j.file("root.cer", a.Folder.Root().Raw), j.file("issuing.cer", a.Status.Current().Certificate().Raw)
	signing, encryption := j.file("signing.cer", holder.Signing.Raw), j.file("encryption.cer", holder.Encryption.Raw)
	revoked := j.file("revoked.cer", other.Signing.Raw)
	for name, cert := range map[string]*smx509.Certificate{
		"root": a.Folder.Root(), "issuing": a.Status.Current().Certificate(), "signing": holder.Signing, "encryption": holder.Encryption, "platform": platform.Chain[0],
		"person": person.Signing, "person's encryption": person.Encryption, "responder": responder(t, goodAnswer),
	} {
		issuer := issuing
		if name == "root" || name == "issuing" {
			issuer = root
		}
		j.valid("certificate", "certificate "+name, check{"cert": j.file(name+".der", cert.Raw), "issuer": issuer})
		j.refused("certificate", "flipped certificate "+name, "signature", check{"cert": j.file(name+"-flipped.der", flipped(cert.Raw)), "issuer": issuer})
	}

	j.valid("request", "request", check{"request": j.file("request.der", holder.CSR)})
	j.refused("request", "flipped request", "signature", check{"request": j.file("request-flipped.der", flipped(holder.CSR))})

	j.valid("csr-response", "dual issuance", check{"response": j.file("response.der", holder.Response), "signing-key": j.file("signing.key", scalar(holder.SigningKey))})
	j.refused("csr-response", "dual issuance for another key", "holder", check{"response": "response.der", "signing-key": j.file("other.key", scalar(other.SigningKey))})
	j.refused("csr-response", "dual issuance with another encryption key", "pair",
		check{"response": j.file("response-flipped.der", envelopeFlipped(t, holder)), "signing-key": "signing.key"})

	rootList := j.file("root.crl", a.get("/crl/root.crl"))
	beforeList, afterList := j.file("before.crl", before), j.file("after.crl", after)
	j.valid("crl", "list of the root", check{"crl": rootList, "issuer": root})
	j.valid("crl", "list before a revocation", check{"crl": beforeList, "issuer": issuing})
	j.valid("crl", "list after a revocation", check{"crl": afterList, "issuer": issuing, "revoked": []string{fmt.Sprintf("%x", other.Signing.SerialNumber)}})
	j.refused("crl", "list with an entry too many", "entries", check{"crl": afterList, "issuer": issuing})
	j.refused("crl", "flipped list", "signature", check{"crl": j.file("flipped.crl", flipped(after)), "issuer": issuing, "revoked": []string{}})

	path := func(leaf, list, at string) check {
		return check{"chain": []string{leaf, issuing}, "root": root, "crls": []string{list, rootList}, "at": at}
	}
	j.valid("path", "path of a signing certificate", path(signing, afterList, at))
	j.valid("path", "path of an encryption certificate", path(encryption, afterList, at))
	j.valid("path", "path of a platform", path("platform.der", afterList, at))
	j.refused("path", "path of a revoked certificate", "revoked", path(revoked, afterList, at))
	j.refused("path", "path after the end", "expired", path(j.file("brief.cer", brief.Signing.Raw), afterList, clock.UTC().Add(3*time.Hour).Format(time.RFC3339)))
	j.refused("path", "path of a flipped certificate", "signature", path("signing-flipped.der", afterList, at))
	j.refused("path", "path without a list", "path", check{"chain": []string{signing, issuing}, "root": root, "crls": []string{rootList}, "at": at})

	answer := func(file, cert, status string) check {
		return check{"response": file, "cert": cert, "issuer": issuing, "status": status, "at": at}
	}
	good := answer(j.file("good.ocsp", goodAnswer), signing, "good")
	good["nonce"] = base64.StdEncoding.EncodeToString(goodNonce)
	j.valid("ocsp", "answer: good", good)
	j.valid("ocsp", "answer: revoked", answer(j.file("revoked.ocsp", revokedAnswer), revoked, "revoked"))
	j.refused("ocsp", "answer of another status", "status", answer("revoked.ocsp", revoked, "good"))
	j.refused("ocsp", "answer about another certificate", "certid", answer("good.ocsp", revoked, "good"))
	stale := answer("good.ocsp", signing, "good")
	stale["nonce"] = base64.StdEncoding.EncodeToString(make([]byte, 16))
	j.refused("ocsp", "answer to another question", "nonce", stale)
	late := answer("good.ocsp", signing, "good")
	late["at"] = clock.UTC().Add(time.Hour).Format(time.RFC3339)
	j.refused("ocsp", "answer of an hour ago", "time", late)
	j.refused("ocsp", "answer with a flipped signature", "signature",
		answer(j.file("flipped.ocsp", signatureFlipped(t, goodAnswer)), signing, "good"))
	j.valid("ocsp", "answer to a question by OpenSSL", answer(j.file("openssl.ocsp", a.ask(opensslQuestion(t, a, holder.Signing))), signing, "good"))
	a.stamps(j, at)
	j.run()
}

// stamps adds timestamps over SM3 and SHA-256 by the running authority, and what must not pass for one.
func (a *authority) stamps(j *judge, at string) {
	cert := must(a.Life.TimestampCertificate(a.t.Context()))(a.t)
	tsa := j.file("tsa.cer", cert.Raw)
	digest := sha256.Sum256([]byte("evidence"))
	_, other := must2(timestamp.NewRequest(timestamp.SumSM3([]byte("evidence"))))(a.t)
	j.file("other.tsq", other)
	for name, imprint := range map[string]timestamp.Imprint{"SM3": timestamp.SumSM3([]byte("evidence")), "SHA-256": timestamp.SHA256(digest[:])} {
		_, question := must2(timestamp.NewRequest(imprint))(a.t)
		answer := a.post(caapi.PathTimestamp, "application/timestamp-query", question)
		token := must(timestamp.ReadResponse(answer))(a.t)
		stamp := must(timestamp.Verify(token, timestamp.Options{Anchors: a.Store(), Imprint: imprint}))(a.t)
		fields := func(request, response string) check {
			return check{"request": request, "response": response, "cert": tsa, "issuer": "issuing.cer", "at": stamp.Info.Time.UTC().Format(time.RFC3339Nano)}
		}
		asked, answered := j.file(name+".tsq", question), j.file(name+".tsr", answer)
		j.valid("timestamp", "timestamp over "+name, fields(asked, answered))
		j.refused("timestamp", "timestamp over "+name+" to another question", "request", fields("other.tsq", answered))
		j.refused("timestamp", "flipped timestamp over "+name, "signature", fields(asked, j.file(name+"-flipped.tsr", flipped(answer))))
		late := fields(asked, answered)
		late["at"] = at
		j.refused("timestamp", "timestamp over "+name+" of another time", "time", late)
	}
	j.valid("path", "path of the timestamp authority", check{"chain": []string{tsa, "issuing.cer"}, "root": "root.cer", "crls": []string{"after.crl", "root.crl"}, "at": at})
}

// must2 is must for two values.
func must2[A, B any](first A, second B, err error) func(*testing.T) (A, B) {
	return func(t *testing.T) (A, B) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return first, second
	}
}

// BouncyCastle follows the distribution point of a certificate to its shard of the revocation list, and takes no other
// shard in its place; the full list, which states no distribution point, covers both.
func TestShardsByBouncyCastle(t *testing.T) {
	clock := time.Now().AddDate(-2, 0, 0).Truncate(time.Second)
	a := &authority{catest.New(t, catest.Options{Now: func() time.Time { return clock }, Configure: func(c *folder.Config) { c.CRLShards = 2 }}), t}
	good, revoked := a.enrol("张三", 0), a.enrol("李四", 0)
	a.Revoke(revoked.Signing)
	j := newJudge(t)
	root, issuing := j.file("root.cer", a.Folder.Root().Raw), j.file("issuing.cer", a.Status.Current().Certificate().Raw)
	rootList, full := j.file("root.crl", a.get("/crl/root.crl")), j.file("issuing-1.crl", a.get("/crl/issuing-1.crl"))
	at := clock.UTC().Add(time.Second).Format(time.RFC3339)
	for name, cert := range map[string]*smx509.Certificate{"good": good.Signing, "revoked": revoked.Signing} {
		if len(cert.CRLDistributionPoints) != 1 {
			t.Fatalf("distribution points: %q", cert.CRLDistributionPoints)
		}
		own := cert.CRLDistributionPoints[0][len(a.URL):]
		other := strings.NewReplacer(".0of2", ".1of2", ".1of2", ".0of2").Replace(own)
		if own == other {
			t.Fatalf("%s is no shard", own)
		}
		leaf := j.file(name+".cer", cert.Raw)
		path := func(list string) check {
			return check{"chain": []string{leaf, issuing}, "root": root, "crls": []string{list, rootList}, "at": at}
		}
		ownList, otherList := j.file(name+"-own.crl", a.get(own)), j.file(name+"-other.crl", a.get(other))
		if name == "good" {
			j.valid("path", "good by its shard", path(ownList))
			j.valid("path", "good by the full list", path(full))
		} else {
			j.refused("path", "revoked by its shard", "revoked", path(ownList))
			j.refused("path", "revoked by the full list", "revoked", path(full))
			j.valid("crl", "shard with its revocation", check{"crl": ownList, "issuer": issuing, "revoked": []string{fmt.Sprintf("%x", cert.SerialNumber)}})
			j.valid("crl", "shard without a revocation", check{"crl": otherList, "issuer": issuing})
		}
		j.refused("path", name+" by another shard", "path", path(otherList))
	}
	j.run()
}

// signatureFlipped turns a bit of the answer's own signature: the certificates stand behind it, so it is found by the
// algorithm identifier of SM2 with SM3, whose first occurrence in an answer belongs to its signature.
func signatureFlipped(t *testing.T, answer []byte) []byte {
	t.Helper()
	sm2WithSM3 := []byte{0x06, 0x08, 0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x83, 0x75} // 1.2.156.10197.1.501
	at := bytes.Index(answer, sm2WithSM3)
	if at < 0 {
		t.Fatal("the answer is not signed by SM2 with SM3")
	}
	bits := bytes.IndexByte(answer[at+len(sm2WithSM3):], 0x03) + at + len(sm2WithSM3)
	end := bits + 2 + int(answer[bits+1])
	return append(flipped(answer[:end]), answer[end:]...)
}

// opensslQuestion has OpenSSL write an OCSP request.
func opensslQuestion(t *testing.T, a *authority, cert *smx509.Certificate) []byte {
	t.Helper()
	dir := t.TempDir()
	question := filepath.Join(dir, "question.der")
	output(t, "openssl", "ocsp", "-issuer", pemFile(t, dir, "issuer", a.Status.Current().Certificate().Raw), "-cert", pemFile(t, dir, "cert", cert.Raw), "-no_nonce", "-reqout", question)
	return read(t, question)
}

// distid names the SM2 identifier that OpenSSL does not assume by itself.
const distid = "distid:1234567812345678"

// OpenSSL 3.0 checks one level per call, because it uses the identifier for the certificate in question alone; a root's
// signature over itself it can therefore not check.
func TestAuthorityByOpenSSL(t *testing.T) {
	a := &authority{catest.New(t, catest.Options{}), t}
	holder := a.enrol("张三", 0)
	platform := a.Platform("示例招标平台")
	dir := t.TempDir()
	for _, level := range []struct {
		name         string
		cert, issuer []byte
	}{
		{"issuing", a.Status.Current().Certificate().Raw, a.Folder.Root().Raw},
		{"signing", holder.Signing.Raw, a.Status.Current().Certificate().Raw},
		{"encryption", holder.Encryption.Raw, a.Status.Current().Certificate().Raw},
		{"person", a.Person("李四").Signing.Raw, a.Status.Current().Certificate().Raw},
		{"platform", platform.Chain[0].Raw, a.Status.Current().Certificate().Raw},
		{"responder", responder(t, a.Staple(holder.Signing)).Raw, a.Status.Current().Certificate().Raw},
	} {
		t.Run(level.name, func(t *testing.T) {
			issuer := pemFile(t, dir, level.name+"-issuer", level.issuer)
			verify := func(cert []byte) (string, error) {
				return attempt(t, "openssl", "verify", "-vfyopt", distid, "-partial_chain", "-trusted", issuer, pemFile(t, dir, level.name, cert))
			}
			if said, err := verify(level.cert); err != nil || !strings.HasSuffix(strings.TrimSpace(said), ": OK") {
				t.Errorf("refused: %v\n%s", err, said)
			}
			if said, err := verify(flipped(level.cert)); err == nil {
				t.Errorf("accepted with a flipped signature:\n%s", said)
			}
		})
	}
	t.Run("request", func(t *testing.T) {
		verify := func(csr []byte) (string, error) {
			path := filepath.Join(dir, "request.pem")
			write(t, path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))
			return attempt(t, "openssl", "req", "-verify", "-noout", "-vfyopt", distid, "-in", path)
		}
		// The exit code of `req -verify` says nothing about the verdict in OpenSSL 3.0.
		if said, err := verify(holder.CSR); err != nil || !strings.Contains(said, "verify OK") {
			t.Errorf("refused: %v\n%s", err, said)
		}
		if said, err := verify(flipped(holder.CSR)); err == nil && strings.Contains(said, "verify OK") {
			t.Errorf("accepted with a flipped signature:\n%s", said)
		}
	})
}
