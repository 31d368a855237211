//go:build interop

package interop

import (
	"bytes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"testing"

	"github.com/bidseal/bidseal/ca/catest"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm3"
	"github.com/emmansun/gmsm/sm4"
	"github.com/emmansun/gmsm/smx509"
)

// peer is sm-crypto-v2, an SM2 implementation in JavaScript that phones and pages in the field use.
type peer struct {
	t    *testing.T
	jobs []map[string]any
	then []func(peerAnswer)
}

type peerAnswer struct {
	Out   json.RawMessage `json:"out"`
	Error string          `json:"error"`
}

func (a peerAnswer) text(t *testing.T) string {
	t.Helper()
	if a.Error != "" {
		t.Fatalf("sm-crypto-v2: %s", a.Error)
	}
	return must(unmarshal[string](a.Out))(t)
}

// octets is an answer that is bytes in hexadecimal.
func (a peerAnswer) octets(t *testing.T) []byte {
	t.Helper()
	return must(hex.DecodeString(a.text(t)))(t)
}

func unmarshal[T any](raw []byte) (value T, err error) {
	return value, json.Unmarshal(raw, &value)
}

// ask adds a job; byte strings travel in hexadecimal.
func (p *peer) ask(op string, fields map[string]any, then func(peerAnswer)) {
	job := map[string]any{"op": op}
	for name, value := range fields {
		if octets, ok := value.([]byte); ok {
			value = hex.EncodeToString(octets)
		}
		job[name] = value
	}
	p.jobs, p.then = append(p.jobs, job), append(p.then, then)
}

// verdict expects the peer's verdict about a signature.
func (p *peer) verdict(name string, want bool, key *ecdsa.PublicKey, message, signature []byte) {
	p.ask("verify", map[string]any{"key": pointOf(p.t, key), "msg": message, "sig": signature}, func(a peerAnswer) {
		if got := a.Error == "" && string(a.Out) == "true"; got != want {
			p.t.Errorf("%s: sm-crypto-v2 says %v (%s), want %v", name, got, a.Error, want)
		}
	})
}

// signed expects the peer to accept a signature of ours, and to refuse each alteration of message, signature and key.
func (p *peer) signed(name string, key any, message, signature []byte) {
	p.t.Helper()
	public, ok := key.(*ecdsa.PublicKey)
	if !ok {
		p.t.Fatalf("%s: key of type %T", name, key)
	}
	p.verdict(name, true, public, message, signature)
	p.verdict(name+", message flipped", false, public, flipped(message), signature)
	p.verdict(name+", signature flipped", false, public, message, flipped(signature))
	p.verdict(name+", other key", false, &must(sm2.GenerateKey(rand.Reader))(p.t).PublicKey, message, signature)
}

// run has the peer do every job, in order.
func (p *peer) run() {
	p.t.Helper()
	answers := nodeAnswers[[]peerAnswer](p.t, "smcrypto", "sm-crypto-v2", must(json.Marshal(p.jobs))(p.t))
	if len(answers) != len(p.jobs) || len(answers) == 0 {
		p.t.Fatalf("%d answers to %d jobs", len(answers), len(p.jobs))
	}
	for i, answer := range answers {
		p.then[i](answer)
	}
	p.jobs, p.then = nil, nil
}

// pointOf is a public key as 04 | X | Y.
func pointOf(t *testing.T, key *ecdsa.PublicKey) []byte {
	t.Helper()
	return must(sm2.PublicKeyToECDH(key))(t).Bytes()
}

// generate has the peer make a key.
func (p *peer) generate() *sm2.PrivateKey {
	p.t.Helper()
	var key *sm2.PrivateKey
	p.ask("generate", nil, func(a peerAnswer) {
		pair := must(unmarshal[struct{ Key, Public string }](a.Out))(p.t)
		key = must(sm2.NewPrivateKey(must(hex.DecodeString(pair.Key))(p.t)))(p.t)
		if hex.EncodeToString(pointOf(p.t, &key.PublicKey)) != pair.Public {
			p.t.Fatal("two public keys for one scalar")
		}
	})
	p.run()
	return key
}

// sign has the peer sign messages with a key that we hold, too.
func (p *peer) sign(key *sm2.PrivateKey, messages ...[]byte) [][]byte {
	p.t.Helper()
	var signatures [][]byte
	for _, message := range messages {
		p.ask("sign", map[string]any{"key": scalar(key), "msg": message}, func(a peerAnswer) {
			signatures = append(signatures, a.octets(p.t))
		})
	}
	p.run()
	return signatures
}

// sm-crypto-v2 accepts what phone, holder and authority sign, with the default identifier that it puts into ZA by
// itself, and refuses it altered.
func TestSMCryptoAcceptsOurSignatures(t *testing.T) {
	p := &peer{t: t}
	a := &authority{catest.New(t, catest.Options{}), t}
	holder := a.Person("张三")
	for name, signed := range map[string]struct{ cert, by *smx509.Certificate }{
		"signing certificate": {holder.Signing, a.Status.Current().Certificate()}, "encryption certificate": {holder.Encryption, a.Status.Current().Certificate()},
		"issuing certificate": {a.Status.Current().Certificate(), a.Folder.Root()}, "root certificate": {a.Folder.Root(), a.Folder.Root()},
	} {
		p.signed(name, signed.by.PublicKey, signed.cert.RawTBSCertificate, signed.cert.Signature)
	}
	csr := must(smx509.ParseCertificateRequest(holder.CSR))(t)
	p.signed("request", csr.PublicKey, csr.RawTBSCertificateRequest, csr.Signature)
	list := must(smx509.ParseRevocationList(a.get("/crl/issuing-1.crl")))(t)
	p.signed("revocation list", a.Status.Current().Certificate().PublicKey, list.RawTBSRevocationList, list.Signature)

	public := &holder.SigningKey.PublicKey
	statement := protocol.StatementMessage([]byte(`{"v":1,"typ":"login"}`))
	p.signed("statement", public, statement, must(protocol.Sign(holder.SigningKey, statement))(t))
	receipt := must(protocol.SignReceipt(holder.SigningKey, protocol.TagReceipt, sampleReceipt(), nil))(t)
	p.signed("receipt", public, protocol.ReceiptMessage(protocol.TagReceipt, receipt.Bytes), receipt.Signature)
	p.verdict("receipt under another tag", false, public, protocol.ReceiptMessage(protocol.TagReject, receipt.Bytes), receipt.Signature)
	foreign := must(holder.SigningKey.SignWithSM2(rand.Reader, []byte("another identifier"), statement))(t)
	p.verdict("signature with another identifier", false, public, statement, foreign)
	p.ask("za", map[string]any{"key": pointOf(t, public)}, func(answer peerAnswer) {
		if ours := must(sm2.CalculateZA(public, []byte("1234567812345678")))(t); !bytes.Equal(ours, answer.octets(t)) {
			t.Error("two values of ZA")
		}
	})
	p.run()
}

func sampleReceipt() protocol.Receipt {
	digest := protocol.H([]byte("result"))
	return protocol.Receipt{
		V: protocol.Version, Kind: protocol.KindLogin, Platform: "platform-1", Cert: digest, Result: digest,
		Device: protocol.DeviceID([]byte("device")), ClaimSeq: 1, NOK: 1, IAT: 1_800_000_130,
	}
}

// withSignature is a signed DER object (certificate, request) with another signature.
func withSignature(t *testing.T, der, signature []byte) []byte {
	t.Helper()
	var object struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	if rest, err := asn1.Unmarshal(der, &object); err != nil || len(rest) != 0 {
		t.Fatalf("signed object: %v", err)
	}
	object.Signature = asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	return must(asn1.Marshal(object))(t)
}

// We accept what sm-crypto-v2 signs with a key of its own, as statement, receipt, request and certificate, and refuse it
// altered.
func TestSMCryptoSignaturesAccepted(t *testing.T) {
	p := &peer{t: t}
	key := p.generate()
	own := signer{key, selfSigned(t, "peer", key)}
	cert := must(smx509.ParseCertificate(own.cert))(t)
	csrDER := must(smx509.CreateCertificateRequest(rand.Reader, &smx509.CertificateRequest{}, key))(t)
	csr := must(smx509.ParseCertificateRequest(csrDER))(t)
	statement := []byte(`{"v":1,"typ":"login"}`)
	receipt := must(protocol.SignReceipt(key, protocol.TagReceipt, sampleReceipt(), nil))(t)
	signatures := p.sign(key, cert.RawTBSCertificate, csr.RawTBSCertificateRequest, protocol.StatementMessage(statement),
		protocol.ReceiptMessage(protocol.TagReceipt, receipt.Bytes))

	certified := func(signature []byte) error {
		again := must(smx509.ParseCertificate(withSignature(t, own.cert, signature)))(t)
		return again.CheckSignature(again.SignatureAlgorithm, again.RawTBSCertificate, again.Signature)
	}
	requested := func(signature []byte) error {
		return must(smx509.ParseCertificateRequest(withSignature(t, csrDER, signature)))(t).CheckSignature()
	}
	stated := func(signature []byte) error { return protocol.VerifyStatement(key.Public(), statement, signature) }
	received := func(signature []byte) error {
		again := protocol.SignedReceipt{Bytes: receipt.Bytes, Signature: signature}
		return again.Verify(key.Public(), protocol.TagReceipt)
	}
	for i, check := range []struct {
		name string
		of   func([]byte) error
	}{{"certificate", certified}, {"request", requested}, {"statement", stated}, {"receipt", received}} {
		if err := check.of(signatures[i]); err != nil {
			t.Errorf("%s signed by sm-crypto-v2: %v", check.name, err)
		}
		if check.of(flipped(signatures[i])) == nil {
			t.Errorf("%s with a flipped signature is accepted", check.name)
		}
		if check.of(signatures[(i+1)%len(signatures)]) == nil {
			t.Errorf("%s with the signature over another object is accepted", check.name)
		}
	}
}

// SM2 ciphertexts pass both ways: ours is DER, sm-crypto-v2's is raw C1 C3 C2 without the leading 04.
func TestSMCryptoEncryption(t *testing.T) {
	p := &peer{t: t}
	key := p.generate()
	other := must(sm2.GenerateKey(rand.Reader))(t)
	for _, plain := range [][]byte{[]byte("0123456789abcdef"), []byte("0123456789abcdef0"), bytes.Repeat([]byte("投标文件"), 50)} {
		ours := must(sm2.EncryptASN1(rand.Reader, &key.PublicKey, plain))(t)
		raw := must(sm2.ASN1Ciphertext2Plain(ours, sm2.NewPlainEncrypterOpts(sm2.MarshalUncompressed, sm2.C1C3C2)))(t)[1:]
		p.ask("decrypt", map[string]any{"key": scalar(key), "msg": raw}, func(a peerAnswer) {
			if !bytes.Equal(a.octets(t), plain) {
				t.Errorf("%d bytes of ours come out otherwise", len(plain))
			}
		})
		for name, job := range map[string]map[string]any{
			"altered": {"key": scalar(key), "msg": flipped(raw)}, "for another key": {"key": scalar(other), "msg": raw},
		} {
			p.ask("decrypt", job, func(a peerAnswer) {
				if a.Error == "" {
					t.Errorf("sm-crypto-v2 opens a ciphertext %s", name)
				}
			})
		}
		p.ask("encrypt", map[string]any{"key": pointOf(t, &key.PublicKey), "msg": plain}, func(a peerAnswer) {
			theirs := must(sm2.PlainCiphertext2ASN1(append([]byte{4}, a.octets(t)...), sm2.C1C3C2))(t)
			if got := must(key.Decrypt(rand.Reader, theirs, sm2.ASN1DecrypterOpts))(t); !bytes.Equal(got, plain) {
				t.Errorf("%d bytes of theirs come out otherwise", len(plain))
			}
			if _, err := key.Decrypt(rand.Reader, flipped(theirs), sm2.ASN1DecrypterOpts); err == nil {
				t.Error("we open an altered ciphertext")
			}
		})
	}
	p.run()
}

// The EnvelopedKey of an issuance (GB/T 35276 section 7.4) opens step by step in sm-crypto-v2: SM2, then SM4-ECB, then
// the public key of the scalar.
func TestSMCryptoOpensEnvelopedKey(t *testing.T) {
	p := &peer{t: t}
	holder := catest.New(t, catest.Options{}).Person("张三")
	var enveloped struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.RawValue
		Public    asn1.BitString
		Wrapped   asn1.BitString
	}
	if rest, err := asn1.Unmarshal(holder.EnvelopedKey, &enveloped); err != nil || len(rest) != 0 {
		t.Fatalf("EnvelopedKey: %v", err)
	}
	raw := must(sm2.ASN1Ciphertext2Plain(enveloped.Key.FullBytes, sm2.NewPlainEncrypterOpts(sm2.MarshalUncompressed, sm2.C1C3C2)))(t)[1:]
	var sm4Key, plain []byte
	p.ask("decrypt", map[string]any{"key": scalar(holder.SigningKey), "msg": raw}, func(a peerAnswer) { sm4Key = a.octets(t) })
	p.run()
	p.ask("sm4", map[string]any{"mode": "ecb", "open": true, "key": sm4Key, "msg": enveloped.Wrapped.Bytes}, func(a peerAnswer) { plain = a.octets(t) })
	p.run()
	p.ask("public", map[string]any{"key": plain[len(plain)-32:]}, func(a peerAnswer) {
		certified, ok := holder.Encryption.PublicKey.(*ecdsa.PublicKey)
		if !ok || !bytes.Equal(a.octets(t), pointOf(t, certified)) {
			t.Error("the unwrapped scalar is not the certificate's")
		}
	})
	p.run()
}

// SM3, HMAC-SM3, HKDF-SM3 and SM4 in the modes that we use come to the same bytes, over lengths around every block
// boundary; the first cases are those of GB/T 32905 annex A and GB/T 32907 annex A.
func TestSMCryptoHashesAndCiphers(t *testing.T) {
	p := &peer{t: t}
	same := func(name, op string, fields map[string]any, want []byte) {
		p.ask(op, fields, func(a peerAnswer) {
			if got := a.octets(t); !bytes.Equal(got, want) {
				t.Errorf("%s: sm-crypto-v2 says %x, want %x", name, got, want)
			}
		})
	}
	fromHex := func(text string) []byte { return must(hex.DecodeString(text))(t) }
	same("GB/T 32905 A.1", "sm3", map[string]any{"msg": []byte("abc")}, fromHex("66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"))
	standard := fromHex("0123456789abcdeffedcba9876543210")
	same("GB/T 32907 A.1", "sm4", map[string]any{"mode": "ecb", "key": standard, "msg": standard}, fromHex("681edf34d206965e86b3e94f536e4246"))
	for _, size := range []int{1, 15, 16, 17, 55, 56, 63, 64, 65, 200} {
		message, key, nonce := must(protocol.Random(size))(t), must(protocol.Random(16))(t), must(protocol.Random(12))(t)
		mac := hmac.New(sm3.New, key)
		mac.Write(message)
		block := must(sm4.NewCipher(key))(t)
		gcm := must(cipher.NewGCM(block))(t)
		sealed := gcm.Seal(nil, nonce, message, key)
		same("SM3", "sm3", map[string]any{"msg": message}, protocol.H(message))
		same("HMAC-SM3", "hmac", map[string]any{"key": key, "msg": message}, mac.Sum(nil))
		same("HKDF-SM3", "hkdf", map[string]any{"key": key, "salt": nonce, "info": message, "size": size},
			must(hkdf.Key(sm3.New, key, nonce, string(message), size))(t))
		same("SM4-GCM", "gcm", map[string]any{"key": key, "iv": nonce, "aad": key, "msg": message}, sealed)
		same("SM4-GCM opened", "gcmOpen", map[string]any{"key": key, "iv": nonce, "aad": key, "msg": sealed}, message)
		p.ask("gcmOpen", map[string]any{"key": key, "iv": nonce, "aad": key, "msg": flipped(sealed)}, func(a peerAnswer) {
			if a.Error == "" {
				t.Errorf("sm-crypto-v2 opens %d altered bytes", size)
			}
		})
		blocks := bytes.Repeat(message, 16)
		out := make([]byte, len(blocks))
		cipher.NewCBCEncrypter(block, standard).CryptBlocks(out, blocks)
		same("SM4-CBC", "sm4", map[string]any{"mode": "cbc", "iv": standard, "key": key, "msg": blocks}, bytes.Clone(out))
	}
	p.run()
}
