//go:build interop

package interop

import (
	"crypto/rand"
	"crypto/x509/pkix"
	"encoding/json"
	"math/big"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

const appOrigin = "https://app.example.cn"

// signer is a key with a certificate of its own: the transcript needs certificates only as the bearers of keys.
type signer struct {
	key  *sm2.PrivateKey
	cert []byte
}

func newSigner(t *testing.T, name string) signer {
	t.Helper()
	key := must(sm2.GenerateKey(rand.Reader))(t)
	return signer{key, selfSigned(t, name, key)}
}

// selfSigned is a certificate that bears a key and nothing else of interest.
func selfSigned(t *testing.T, name string, key *sm2.PrivateKey) []byte {
	t.Helper()
	template := &smx509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Unix(1_800_000_000, 0), NotAfter: time.Unix(1_900_000_000, 0),
	}
	return must(smx509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))(t)
}

// must unwraps a value whose making is not what the test is about.
func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// login is one login with everything that both ends know.
type login struct {
	t              *testing.T
	platform, user signer
	keys           *protocol.KeySet
	ephemeral      *sm2.PrivateKey
	request        protocol.Request
	rawRequest     []byte
	rh             []byte
	phone          *protocol.ClaimKeys
	fields         map[string]any // what the judge reads
}

const claimSeq = 3

// newLogin makes the code, the request and the claim.
func newLogin(t *testing.T) *login {
	t.Helper()
	l := &login{t: t, platform: newSigner(t, "platform"), user: newSigner(t, "user")}
	secret := must(protocol.NewSecret())(t)
	frameKey := must(protocol.Random(protocol.FrameKeySize))(t)
	l.keys = must(protocol.Derive(secret))(t)
	ephemeral, point, err := protocol.NewEphemeral()
	if err != nil {
		t.Fatal(err)
	}
	l.ephemeral = ephemeral
	l.request = protocol.Request{
		V: protocol.Version, CID: l.keys.CID, Kind: protocol.KindLogin, Platform: "platform-1",
		Key: must(protocol.Random(16))(t), Nonce: must(protocol.Random(protocol.NonceSize))(t),
		IAT: 1_800_000_100, EXP: 1_800_000_340, E: point, Display: []string{"登录示例交易平台"},
		Policy: protocol.Policy{TwoPhase: true, Match: protocol.MatchType},
	}
	l.rawRequest = must(protocol.EncodeJSON(l.request))(t)
	signature := must(protocol.SignRequest(l.platform.key, l.rawRequest))(t)
	boxR := must(protocol.SealRequest(l.keys, protocol.SealedRequest{
		Request: l.rawRequest, Signature: signature, Chain: []protocol.Bytes{l.platform.cert}, OCSP: []byte("ocsp"),
	}))(t)
	l.rh = protocol.Commit(l.rawRequest, l.platform.cert)
	frame := protocol.NewFrame(frameKey, l.keys.CID, 258)
	link := must(protocol.Payload{Secret: secret, RH16: l.rh[:protocol.RH16Size], Frame: &frame}.Encode(appOrigin))(t)

	context := protocol.Context{CID: l.keys.CID, RH: l.rh, ClaimSeq: claimSeq, E: point}
	l.phone = must(protocol.NewClaim(l.keys, context))(t)
	platformSide := must(protocol.OpenClaim(l.keys, context, l.ephemeral, l.phone.KEM))(t)
	l.fields = map[string]any{
		"secret": protocol.Bytes(secret), "frame_key": protocol.Bytes(frameKey), "payload": link,
		"box_r": protocol.Bytes(boxR), "ephemeral_key": protocol.Bytes(l.ephemeral.D.FillBytes(make([]byte, 32))),
		"kem": protocol.Bytes(l.phone.KEM), "claim_seq": claimSeq,
		"open_box":  protocol.Bytes(must(l.phone.Seal(protocol.BoxOpen, protocol.OpenBox{Digits: "07"}))(t)),
		"ready_box": protocol.Bytes(must(platformSide.Seal(protocol.BoxReady, protocol.ReadyBox{Code: protocol.ReadyOK}))(t)),
	}
	l.finish(nil, protocol.TagStatement, protocol.TagReceipt)
	return l
}

// finish makes statement, result box and receipt; alter may change the statement before it is signed, and the tags are
// what the two signatures are made under.
func (l *login) finish(alter func(*protocol.Statement), statementTag, receiptTag protocol.Tag) {
	l.t.Helper()
	shown := protocol.ShownLines(&l.request, "示例交易平台")
	statement := protocol.Statement{
		V: protocol.Version, Typ: protocol.KindLogin, Aud: l.request.Platform, CID: l.keys.CID, RH: l.rh, Nonce: l.request.Nonce,
		ClaimSeq: claimSeq, Cert: protocol.H(l.user.cert), Device: protocol.DeviceID([]byte("device")),
		Shown: protocol.ShownDigest(shown), NOK: 1, IAT: 1_800_000_130, App: "test/1",
	}
	if alter != nil {
		alter(&statement)
	}
	raw := must(protocol.EncodeJSON(statement))(l.t)
	message := append(protocol.T(statementTag), protocol.StatementMessage(raw)[len(protocol.T(protocol.TagStatement)):]...)
	chain := []protocol.Bytes{l.user.cert}
	box := must(l.phone.Seal(protocol.BoxResult, protocol.ResultBox{
		Statement: raw, Signature: must(protocol.Sign(l.user.key, message))(l.t), Chain: chain, Shown: shown,
	}))(l.t)
	l.fields["box"] = protocol.Bytes(box)
	l.fields["receipt"] = must(protocol.SignReceipt(l.user.key, receiptTag, protocol.Receipt{
		V: protocol.Version, CID: l.keys.CID, Kind: protocol.KindLogin, Platform: l.request.Platform, Cert: statement.Cert,
		Device: statement.Device, ClaimSeq: claimSeq, Result: protocol.ResultDigest(l.keys.CID, claimSeq, l.phone.KEM, box),
		NOK: 1, IAT: statement.IAT,
	}, chain))(l.t)
}

// flip turns the last bit of one byte string of the transcript.
func (l *login) flip(field string) {
	l.t.Helper()
	value, ok := l.fields[field].(protocol.Bytes)
	if !ok {
		l.t.Fatalf("%s is no byte string", field)
	}
	l.fields[field] = protocol.Bytes(flipped(value))
}

// document is the transcript as JSON.
func (l *login) document() []byte {
	l.t.Helper()
	return must(json.Marshal(l.fields))(l.t)
}

// BouncyCastle derives the keys of a login from SPEC.md's formulas, opens every box and checks every signature.
func TestLoginTranscript(t *testing.T) {
	j := newJudge(t)
	add := func(name, reason string, l *login) {
		fields := check{"file": j.file(name+".json", l.document())}
		if reason == "" {
			j.valid("transcript", name, fields)
		} else {
			j.refused("transcript", name, reason, fields)
		}
	}
	add("login", "", newLogin(t))

	for field, reason := range map[string]string{
		"box_r": "boxR", "open_box": "box", "ready_box": "box", "box": "box", "frame_key": "frame", "ephemeral_key": "request",
	} {
		l := newLogin(t)
		l.flip(field)
		add("flipped-"+field, reason, l)
	}
	l := newLogin(t)
	l.flip("kem") // its last byte belongs to the encrypted x, so the SM2 hash fails
	add("flipped-kem", "kem", l)

	l = newLogin(t)
	l.fields["claim_seq"] = claimSeq + 1
	add("other-claim-seq", "box", l)

	l = newLogin(t)
	l.fields["box_r"] = protocol.Bytes(must(protocol.SealRequest(l.keys, protocol.SealedRequest{
		Request: append([]byte(" "), l.rawRequest...), Signature: []byte{1}, Chain: []protocol.Bytes{l.platform.cert},
	}))(t))
	add("swapped-request", "commitment", l)

	l = newLogin(t)
	l.finish(func(s *protocol.Statement) { s.Aud = "platform-2" }, protocol.TagStatement, protocol.TagReceipt)
	add("other-audience", "statement", l)

	l = newLogin(t)
	l.finish(func(s *protocol.Statement) { s.ClaimSeq++ }, protocol.TagStatement, protocol.TagReceipt)
	add("statement-of-another-claim", "statement", l)

	l = newLogin(t)
	l.finish(nil, protocol.TagOpen, protocol.TagReceipt)
	add("statement-under-another-tag", "statement", l)

	l = newLogin(t)
	l.finish(nil, protocol.TagStatement, protocol.TagReject)
	add("receipt-under-another-tag", "receipt", l)

	l = newLogin(t)
	other := newLogin(t)
	l.fields["receipt"] = other.fields["receipt"]
	add("receipt-of-another-result", "receipt", l)
	j.run()
}
