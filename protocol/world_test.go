package protocol_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
	"github.com/go-json-experiment/json/jsontext"
)

// must unwraps a value whose making is not what the test is about.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// det is n bytes that follow from a label, n at most 32: the vectors are the
// same bytes on every run and every machine.
func det(label string, n int) []byte { return protocol.H([]byte("bidseal test " + label))[:n] }

// detPrivate is a private key that follows from a label; its first byte is
// cleared, so that it is below the order of either curve.
func detPrivate(label string) []byte {
	d := det(label, 32)
	d[0] = 0
	return d
}

func detSM2(t testing.TB, label string) *sm2.PrivateKey {
	return must(sm2.NewPrivateKey(detPrivate(label)))(t)
}

func detP256(t testing.TB, label string) *ecdsa.PrivateKey {
	return must(ecdsa.ParseRawPrivateKey(elliptic.P256(), detPrivate(label)))(t)
}

// point is 04 | X | Y of an SM2 key.
func point(t testing.TB, key *sm2.PrivateKey) []byte {
	return must(sm2.PublicKeyToECDH(&key.PublicKey))(t).Bytes()
}

func spki(t testing.TB, pub crypto.PublicKey) []byte {
	return must(protocol.MarshalKey(pub))(t)
}

// detSign makes the deterministic signature (RFC 6979, with HMAC-SM3 for SM2).
func detSign(t testing.TB, key crypto.Signer, msg []byte) []byte {
	t.Helper()
	if k, ok := key.(*sm2.PrivateKey); ok {
		return must(k.Sign(nil, msg, sm2.DefaultSM2SignerOpts))(t)
	}
	d := sha256.Sum256(msg)
	return must(key.Sign(nil, d[:], crypto.SHA256))(t)
}

// block is a reader that starts at its first byte again with every call.
type block []byte

func (b block) Read(p []byte) (int, error) { return copy(p, b), nil }

const (
	origin       = "https://app.example.cn"
	platformName = "示例交易平台"
	madeAt       = int64(1_800_000_000) // R.iat of the challenge, Unix seconds
	frameNumber  = 7                    // of the code that was scanned
)

// world is one login with everything that both ends know, made from labels.
type world struct {
	t                                       testing.TB
	platform, user, e, issuer, ledger, phon *sm2.PrivateKey
	phoneES                                 *ecdsa.PrivateKey
	platformCert, userCert                  []byte
	secret, kFrame                          []byte
	keys                                    *protocol.KeySet
	frame                                   protocol.Frame
	request                                 protocol.Request
	raw, sr, rh                             []byte
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, platform: detSM2(t, "platform request key"), user: detSM2(t, "user signing key"), e: detSM2(t, "ephemeral e"),
		issuer: detSM2(t, "pass issuer key"), ledger: detSM2(t, "ledger key"), phon: detSM2(t, "device key SM2"), phoneES: detP256(t, "device key P-256"),
		platformCert: []byte("bytes in place of the platform's certificate"), userCert: []byte("bytes in place of the user's certificate"),
		secret: det("secret s", 16), kFrame: det("k_frame", 32)}
	w.keys = must(protocol.Derive(w.secret))(t)
	w.frame = protocol.NewFrame(w.kFrame, w.keys.CID, frameNumber)
	w.setRequest(protocol.Request{V: 1, CID: w.keys.CID, Kind: protocol.KindLogin, Platform: "p1.example",
		Key: protocol.KeyID(spki(t, w.platform.Public())), Nonce: det("nonce", 32), IAT: madeAt, EXP: madeAt + 240, E: point(t, w.e),
		Initiator: &protocol.Initiator{IP: "203.0.113.9", Region: "浙江 杭州", UserAgent: "Firefox 140", Origin: "https://bid.example.cn"},
		Display:   []string{"登录示例交易平台", "Sign in to the example platform"}, Policy: protocol.Policy{Match: protocol.MatchNone}})
	return w
}

// in is the same world for another test, a target of a fuzz test above all.
func (w *world) in(t testing.TB) *world {
	c := *w
	c.t = t
	return &c
}

// setRequest takes another request for the same challenge.
func (w *world) setRequest(r protocol.Request) {
	w.request = r
	w.setRaw(must(protocol.EncodeJSON(r))(w.t))
}

// setRaw takes other request bytes, whether they are sound or not.
func (w *world) setRaw(raw []byte) {
	w.raw = raw
	w.sr = detSign(w.t, w.platform, cat(protocol.T(protocol.TagRequest), protocol.H(raw)))
	w.rh = protocol.Commit(raw, w.platformCert)
}

// decrypt is a request with two items and an expected owner.
func (w *world) decrypt() protocol.Request {
	r := w.request
	r.Kind, r.EXP = protocol.KindDecrypt, madeAt+420
	r.Expect = &protocol.Expect{Owner: &protocol.Owner{Anchor: det("anchor", 32), CreditCode: "91330100MA27Y5A30X"}}
	r.Items = []jsontext.Value{jsontext.Value(`{"id":"a","label":"报价文件","size":1024}`), jsontext.Value(`{"id":"b","label":"技术文件","size":2048}`)}
	return r
}

func cat(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func (w *world) seal(key []byte, nonce string, plain, aad []byte) []byte {
	return must(protocol.SealFixed(key, det(nonce, 12), plain, aad))(w.t)
}

// sealed is the plaintext of boxR.
func (w *world) sealed() []byte {
	return must(protocol.EncodeJSON(protocol.SealedRequest{Request: w.raw, Signature: w.sr, Chain: []protocol.Bytes{w.platformCert}, OCSP: []byte("bytes in place of an OCSP answer")}))(w.t)
}

func (w *world) boxR() []byte {
	req, _ := w.keys.ReqMix()
	return w.seal(req, "nonce of boxR", w.sealed(), cat(protocol.T(protocol.TagBoxR), w.keys.CID[:]))
}

// kem wraps an x to E under a fixed k.
func (w *world) kem(label string) []byte {
	return must(sm2.EncryptASN1(block(detPrivate("k of "+label)), &w.e.PublicKey, det(label, 32)))(w.t)
}

func (w *world) context(seq uint32) protocol.Context {
	return protocol.Context{CID: w.keys.CID, RH: w.rh, ClaimSeq: seq, E: point(w.t, w.e)}
}

func (w *world) claim(seq uint32) *protocol.ClaimKeys {
	return must(protocol.OpenClaim(w.keys, w.context(seq), w.e, w.kem("x of claim")))(w.t)
}

// box seals the exact plaintext as a box of the given type and claim.
func (w *world) box(typ protocol.BoxType, seq uint32, plain []byte) []byte {
	up, dn := w.claim(seq).Boxes()
	key, dir := up, byte(0)
	if typ == protocol.BoxReady {
		key, dir = dn, 1
	}
	return w.seal(key, "nonce of a box", plain, boxAAD(dir, typ, w.keys.CID, w.rh, seq))
}

func boxAAD(dir byte, typ protocol.BoxType, cid protocol.CID, rh []byte, seq uint32) []byte {
	return cat(protocol.T(protocol.TagBox), []byte{dir, byte(typ)}, cid[:], rh, be32(seq))
}

func be32(n uint32) []byte { return []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)} }

func (w *world) shown() []string { return protocol.ShownLines(&w.request, platformName) }

// statement is what the user signs in claim 1.
func (w *world) statement() protocol.Statement {
	s := protocol.Statement{V: 1, Typ: w.request.Kind, Aud: w.request.Platform, CID: w.keys.CID, RH: w.rh, Nonce: w.request.Nonce, ClaimSeq: 1,
		Cert: protocol.H(w.userCert), Device: protocol.DeviceID(spki(w.t, w.phon.Public())), Frame: w.frame.Bytes(), Shown: protocol.ShownDigest(w.shown()),
		NOK: 1, IAT: madeAt + 30, App: "bidseal-test/1"}
	if len(w.request.Items) != 0 {
		s.Items = protocol.ItemDigests(w.request.Items)
		s.Outcomes = []protocol.Outcome{{ID: "a", Code: "ok", Commit: det("commitment", 32)}, {ID: "b", Code: "unwrap_failed"}}
		s.NOK, s.NFail = 1, 1
	}
	return s
}

func (w *world) resultBox(statement []byte) []byte {
	return must(protocol.EncodeJSON(protocol.ResultBox{Statement: statement, Signature: detSign(w.t, w.user, protocol.StatementMessage(statement)),
		Chain: []protocol.Bytes{w.userCert}, OCSP: []byte("bytes in place of an OCSP answer"), Shown: w.shown()}))(w.t)
}

func (w *world) receipt() protocol.Receipt {
	kem, box := w.kem("x of claim"), w.box(protocol.BoxResult, 1, w.resultBox(encoded(w.t, w.statement())))
	return protocol.Receipt{V: 1, CID: w.keys.CID, Kind: protocol.KindLogin, Platform: "p1.example", Cert: protocol.H(w.userCert),
		Device: protocol.DeviceID(spki(w.t, w.phon.Public())), ClaimSeq: 1, Result: protocol.ResultDigest(w.keys.CID, 1, kem, box), NOK: 1, IAT: madeAt + 30}
}

func (w *world) pass(key crypto.PublicKey, alg protocol.Alg) protocol.Pass {
	der := spki(w.t, key)
	return protocol.Pass{V: 1, Iss: "https://ca.example.cn", Device: protocol.DeviceID(der), Alg: alg, Key: der, Account: "account-1", IAT: madeAt - 600, EXP: madeAt - 600 + 86400}
}

// passText signs the exact JSON of a pass, sound or not.
func (w *world) passText(raw []byte) string {
	sig := detSign(w.t, w.issuer, cat(protocol.T(protocol.TagPass), raw))
	return protocol.Bytes(raw).String() + "." + protocol.Bytes(sig).String()
}

func (w *world) proofText(key crypto.Signer, pass string, c protocol.Call, at time.Time) string {
	id := det("proof id", 16)
	sig := detSign(w.t, key, proofMessage(pass, c, at.UnixMilli(), id))
	return protocol.Bytes(encoded(w.t, protocol.Proof{Time: at.UnixMilli(), ID: id, Signature: sig})).String()
}

func proofMessage(pass string, c protocol.Call, ms int64, id []byte) []byte {
	return cat(protocol.T(protocol.TagProof), protocol.H([]byte(pass)), be32(uint32(len(c.Method))), []byte(c.Method), be32(uint32(len(c.URL))), []byte(c.URL),
		protocol.H(c.Body), be32(uint32(ms>>32)), be32(uint32(ms)), id)
}

func encoded(t testing.TB, v any) []byte {
	t.Helper()
	return must(protocol.EncodeJSON(v))(t)
}

func codeOf(err error) string {
	var own *protocol.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &own):
		return string(own.Code)
	}
	return "not classified: " + err.Error()
}

func hexed(b []byte) string { return hex.EncodeToString(b) }

// p384SPKI is a key on a curve that the protocol does not take.
func p384SPKI(t testing.TB) []byte {
	key := must(ecdsa.ParseRawPrivateKey(elliptic.P384(), append(make([]byte, 16), detPrivate("P-384")...)))(t)
	return must(x509.MarshalPKIXPublicKey(&key.PublicKey))(t)
}
