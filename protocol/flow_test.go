package protocol_test

import (
	"crypto/rand"
	"errors"
	"testing"

	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
)

func newKey(t *testing.T) *sm2.PrivateKey {
	t.Helper()
	k, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func wantCode(t *testing.T, err error, want protocol.Code) {
	t.Helper()
	if !errors.Is(err, &protocol.Error{Code: want}) {
		t.Fatalf("got %v, want %s", err, want)
	}
}

func noErr(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestLoginBytes walks one login through every construction of the package,
// with an opaque string in place of the platform's certificate.
func TestLoginBytes(t *testing.T) {
	const origin = "https://app.example.cn"
	platform, user := newKey(t), newKey(t)
	cert := []byte("platform certificate")

	s, err := protocol.NewSecret()
	noErr(t, err)
	sdk, err := protocol.Derive(s)
	noErr(t, err)
	nonce, _ := protocol.Random(protocol.NonceSize)
	key, _ := protocol.Random(16)
	eph, e, err := protocol.NewEphemeral()
	noErr(t, err)
	req := protocol.Request{V: 1, CID: sdk.CID, Kind: protocol.KindLogin, Platform: "p1", Key: key, Nonce: nonce,
		IAT: 1_800_000_000, EXP: 1_800_000_240, E: e, Display: []string{"登录示例交易平台"}, Policy: protocol.Policy{Match: protocol.MatchNone}}
	raw, err := protocol.EncodeJSON(req)
	noErr(t, err)
	sr, err := protocol.SignRequest(platform, raw)
	noErr(t, err)
	boxR, err := protocol.SealRequest(sdk, protocol.SealedRequest{Request: raw, Signature: sr, Chain: []protocol.Bytes{cert}})
	noErr(t, err)
	rh := protocol.Commit(raw, cert)
	link, err := protocol.Payload{Secret: s, RH16: rh[:16]}.Encode(origin)
	noErr(t, err)

	scanned, err := protocol.ParsePayload(link, []string{origin})
	noErr(t, err)
	phone, err := protocol.Derive(scanned.Secret)
	noErr(t, err)
	got, err := protocol.OpenRequest(phone, scanned.RH16, boxR)
	noErr(t, err)
	noErr(t, protocol.VerifyRequest(&platform.PublicKey, got.Sealed.Request, got.Sealed.Signature))
	ctx := protocol.Context{CID: phone.CID, RH: got.RH, ClaimSeq: 1, E: got.Request.E}
	up, err := protocol.NewClaim(phone, ctx)
	noErr(t, err)
	shown := protocol.ShownLines(got.Request, "示例交易平台")
	st, err := protocol.EncodeJSON(protocol.Statement{V: 1, Typ: protocol.KindLogin, Aud: "p1", CID: phone.CID, RH: got.RH, Nonce: nonce,
		ClaimSeq: 1, Cert: protocol.H([]byte("user certificate")), Device: protocol.DeviceID([]byte("device")), Shown: protocol.ShownDigest(shown),
		NOK: 1, IAT: 1_800_000_030, App: "test/1"})
	noErr(t, err)
	sig, err := protocol.Sign(user, protocol.StatementMessage(st))
	noErr(t, err)
	box, err := up.Seal(protocol.BoxResult, protocol.ResultBox{Statement: st, Signature: sig, Chain: []protocol.Bytes{[]byte("user certificate")}, Shown: shown})
	noErr(t, err)

	down, err := protocol.OpenClaim(sdk, ctx, eph, up.KEM)
	noErr(t, err)
	var res protocol.ResultBox
	noErr(t, down.Open(protocol.BoxResult, box, &res))
	want := protocol.Expected{Request: &req, RH: rh, ClaimSeq: 1, PlatformName: "示例交易平台", Cert: res.Chain[0]}
	_, err = protocol.CheckStatement(res.Statement, res.Shown, want)
	noErr(t, err)
	noErr(t, protocol.VerifyStatement(&user.PublicKey, res.Statement, res.Signature))

	// the same box does not open for another claim, type or challenge
	ctx.ClaimSeq = 2
	other, err := protocol.OpenClaim(sdk, ctx, eph, up.KEM)
	noErr(t, err)
	wantCode(t, other.Open(protocol.BoxResult, box, &res), protocol.CodeBoxInvalid)
	wantCode(t, down.Open(protocol.BoxOpen, box, &res), protocol.CodeBoxInvalid)
	want.ClaimSeq = 2
	_, err = protocol.CheckStatement(res.Statement, res.Shown, want)
	wantCode(t, err, protocol.CodeStatementReplayed)
}
