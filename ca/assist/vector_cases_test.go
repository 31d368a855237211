package assist_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/ca/realname"
	"github.com/bidseal/bidseal/protocol"
	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/oprf"
	"github.com/cloudflare/circl/zk/dleq"
	"github.com/emmansun/gmsm/sm2"
)

// subject is one keystore whose every byte follows from labels.
type subject struct {
	t                        testing.TB
	keystore, slot           []byte
	epoch                    int64
	private, server          []byte
	stretched, secret, seed  []byte
	blindSeed, blinded       []byte
	evaluated, proof, value  []byte
	dataKey, share           []byte
	wrapped, wrappedReset    []byte
	attempt, begin           []byte
	ephemeral                *sm2.PrivateKey
	device                   *ecdsa.PrivateKey
	proofKey, nextProofKey   ed25519.PrivateKey
	point, deviceKey, sealed []byte
	realName                 *sm2.PrivateKey
}

func newSubject(t testing.TB) *subject {
	t.Helper()
	s := &subject{t: t, keystore: det("keystore", 16), slot: det("slot", 16), epoch: 7, stretched: det("stretched", 32), secret: det("device secret", 32),
		seed: det("seed", 32), dataKey: det("data key", 16), share: det("share", 32), attempt: det("attempt", 16), begin: det("begin", 16)}
	s.private, s.server = s.key("server")
	s.blindSeed = derive(t, append(slices.Clone(s.seed), s.stretched...), s.secret, "bidseal/keystore 1 blind", 64)
	s.answer()
	s.wrap()
	scalar := det("ephemeral", 32)
	scalar[0] = 0
	var err error
	s.ephemeral, err = sm2.NewPrivateKey(scalar)
	must(t, err)
	s.point, err = assistapi.Point(&s.ephemeral.PublicKey)
	must(t, err)
	s.device, err = ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	must(t, err)
	s.deviceKey, err = protocol.MarshalKey(&s.device.PublicKey)
	must(t, err)
	s.realName, err = sm2.NewPrivateKey(scalar)
	must(t, err)
	s.proofKey, err = assistapi.ProofKey(s.keystore, s.dataKey)
	must(t, err)
	s.nextProofKey, err = assistapi.ProofKey(s.keystore, det("next data key", 16))
	must(t, err)
	s.sealed = s.seal(s.keystore, s.epoch)
	return s
}

// key is a key of the function that follows from a label.
func (s *subject) key(label string) (private, public []byte) {
	s.t.Helper()
	key, err := oprf.DeriveKey(oprf.SuiteRistretto255, oprf.VerifiableMode, det(label, 32), nil)
	must(s.t, err)
	private, err = key.MarshalBinary()
	must(s.t, err)
	public, err = key.Public().MarshalBinary()
	must(s.t, err)
	return private, public
}

// answer makes the evaluation, with a proof whose randomness follows from a
// label: a server's is random.
func (s *subject) answer() {
	s.t.Helper()
	b, err := assistapi.Blind(assistapi.Suite, s.server, assistapi.Input(s.keystore, s.epoch, s.stretched), s.blindSeed)
	must(s.t, err)
	s.blinded = b.Blinded
	s.evaluated, s.proof = s.evaluate(s.private, s.server)
	s.value, err = b.Finalize(s.evaluated, s.proof)
	must(s.t, err)
}

func (s *subject) evaluate(private, public []byte) (evaluated, proof []byte) {
	s.t.Helper()
	g := group.Ristretto255
	element := func(raw []byte) group.Element {
		e := g.NewElement()
		must(s.t, e.UnmarshalBinary(raw))
		return e
	}
	k := g.NewScalar()
	must(s.t, k.UnmarshalBinary(private))
	blinded := element(s.blinded)
	z := g.NewElement().Mul(blinded, k)
	prover := dleq.Prover{Params: dleq.Params{G: g, H: crypto.SHA512, DST: append([]byte("OPRFV1-\x01-"), assistapi.Suite...)}}
	p, err := prover.ProveBatchWithRandomnessRFC9497(k, element(public), []group.Element{blinded}, []group.Element{z}, g.HashToScalar(det("randomness", 32), nil))
	must(s.t, err)
	proof, err = p.MarshalBinary()
	must(s.t, err)
	evaluated, err = z.MarshalBinaryCompress()
	must(s.t, err)
	return evaluated, proof
}

func (s *subject) wrap() {
	s.t.Helper()
	i := in{s.t, plain(s.t, s.slotInput())}
	nonce := det("nonce", 12)
	key := derive(s.t, append(slices.Clone(s.stretched), s.value...), s.keystore, "bidseal/keystore 1 password+voprf", 16)
	s.wrapped = gcm(s.t, key).Seal(slices.Clone(nonce), nonce, s.dataKey, passwordAAD(i))
	key = derive(s.t, append(slices.Clone(s.secret), s.share...), s.keystore, "bidseal/keystore 1 reset-share", 16)
	s.wrappedReset = gcm(s.t, key).Seal(slices.Clone(nonce), nonce, s.dataKey, slotAAD(i))
}

func (s *subject) slotInput() values {
	return values{"keystore": hexed(s.keystore), "slot": hexed(s.slot), "epoch": s.epoch, "suite": assistapi.Suite, "server_key": hexed(s.server),
		"stretched": hexed(s.stretched), "value": hexed(s.value), "wrapped": hexed(s.wrapped)}
}

// block is a reader that starts at its first byte again with every call.
type block []byte

func (b block) Read(p []byte) (int, error) { return copy(p, b), nil }

// seal makes a sealed share whose randomness follows from a label.
func (s *subject) seal(keystore []byte, epoch int64) []byte {
	s.t.Helper()
	place := fmt.Appendf(nil, "bidseal/assist 1 share\x00%s", keystore)
	place = append(append(place, be64(epoch)...), s.point...)
	sealed, err := sm2.EncryptASN1(block(det("kem", 32)), &s.ephemeral.PublicKey, append(slices.Clone(s.share), protocol.H(place)...))
	must(s.t, err)
	return sealed
}

func be64(n int64) []byte {
	out := make([]byte, 8)
	for i := range out {
		out[i] = byte(n >> (56 - 8*i))
	}
	return out
}

func flip(b []byte, at int) string {
	out := slices.Clone(b)
	out[(at+len(out))%len(out)] ^= 1
	return hexed(out)
}

// variants are cases of one kind: a good one, and others with values changed.
func variants(kind, description string, good values, refused protocol.Code, changes ...variant) []tried {
	all := []tried{{kind, kind, description, good, ""}}
	for _, c := range changes {
		want := refused
		if c.want != "" {
			want = c.want
		}
		all = append(all, tried{kind + "_" + c.name, kind, c.why, good.with(c.change), want})
	}
	return all
}

type variant struct {
	name, why string
	change    values
	want      protocol.Code // "" for the kind's own
}

const identity = "0000000000000000000000000000000000000000000000000000000000000000"

// RFC 9496, appendix A.3: encodings that are no element.
const (
	notCanonical = "00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
	negative     = "0100000000000000000000000000000000000000000000000000000000000000"
	noSquare     = "26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371"
	order        = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010" // as a scalar: 0, not reduced
)

func cases(t testing.TB) []tried {
	s := newSubject(t)
	return slices.Concat(s.voprfCases(), s.slotCases(), s.signatureCases(), s.tokenCases())
}

func (s *subject) voprfCases() []tried {
	_, other := s.key("another server")
	otherPrivate, _ := s.key("another server")
	evaluatedByOther, proofByOther := s.evaluate(otherPrivate, other)
	blind := values{"suite": assistapi.Suite, "server_key": hexed(s.server), "keystore": hexed(s.keystore), "epoch": s.epoch,
		"stretched": hexed(s.stretched), "device_secret": hexed(s.secret), "seed": hexed(s.seed)}
	finalize := values{"server_key": hexed(s.server), "keystore": hexed(s.keystore), "epoch": s.epoch, "stretched": hexed(s.stretched),
		"blind_seed": hexed(s.blindSeed), "evaluated": hexed(s.evaluated), "proof": hexed(s.proof)}
	half := len(s.proof) / 2
	const malformed, untrusted = protocol.CodeMalformed, protocol.CodeAssistUntrusted
	return slices.Concat(
		variants("blind", "The blind follows from seed, stretched password and device.", blind, malformed,
			variant{"other_suite", "A suite that is none of this version.", values{"suite": "P256-SHA256"}, ""},
			variant{"key_identity", "The identity is no key.", values{"server_key": identity}, ""},
			variant{"key_not_canonical", "A key in another spelling.", values{"server_key": notCanonical}, ""},
			variant{"key_short", "A key of 31 bytes.", values{"server_key": hexed(s.server[:31])}, ""}),
		[]tried{
			{"blind_other_password", "blind", "Another password gives another element.", blind.with(values{"stretched": hexed(det("another", 32))}), ""},
			{"blind_other_seed", "blind", "Another try gives another element.", blind.with(values{"seed": hexed(det("another seed", 32))}), ""},
			{"blind_other_device", "blind", "Another device gives another element.", blind.with(values{"device_secret": hexed(det("another device", 32))}), ""},
			{"blind_other_epoch", "blind", "Another epoch gives another element.", blind.with(values{"epoch": 8}), ""},
		},
		variants("evaluate", "The server's half; its proof is random and checked by finalize.", values{"private_key": hexed(s.private), "blinded": hexed(s.blinded)}, malformed,
			variant{"identity", "The identity is refused (RFC 9497, 2.1).", values{"blinded": identity}, ""},
			variant{"not_canonical", "A field element beyond the prime.", values{"blinded": notCanonical}, ""},
			variant{"negative", "A negative field element.", values{"blinded": negative}, ""},
			variant{"no_square", "Not on the curve.", values{"blinded": noSquare}, ""},
			variant{"short", "31 bytes.", values{"blinded": hexed(s.blinded[:31])}, ""},
			variant{"empty", "Nothing.", values{"blinded": ""}, ""}),
		variants("finalize", "The evaluation is by the pinned key.", finalize, untrusted,
			variant{"other_key", "Evaluated with another key, whose proof is right for that key.", values{"evaluated": hexed(evaluatedByOther), "proof": hexed(proofByOther)}, ""},
			variant{"other_key_pinned", "The phone has pinned another key.", values{"server_key": hexed(other)}, ""},
			variant{"proof_of_other_key", "The right evaluation under a proof for another key.", values{"proof": hexed(proofByOther)}, ""},
			variant{"challenge_altered", "A bit of the proof's c.", values{"proof": flip(s.proof, 3)}, ""},
			variant{"response_altered", "A bit of the proof's s.", values{"proof": flip(s.proof, half+3)}, ""},
			variant{"proof_short", "A proof of 63 bytes.", values{"proof": hexed(s.proof[:63])}, ""},
			variant{"proof_long", "A byte behind the proof.", values{"proof": hexed(s.proof) + "00"}, ""},
			variant{"proof_zero", "A proof of zeros.", values{"proof": identity + identity}, ""},
			variant{"proof_not_reduced", "A scalar that is the group's order.", values{"proof": order + hexed(s.proof[half:])}, ""},
			variant{"identity", "The identity as evaluation.", values{"evaluated": identity}, ""},
			variant{"evaluation_altered", "Another element under the same proof.", values{"evaluated": hexed(other)}, ""},
			variant{"not_canonical", "No element.", values{"evaluated": noSquare}, ""},
			variant{"other_blind", "The answer to another try.", values{"blind_seed": hexed(append(det("x", 32), det("y", 32)...))}, ""},
			variant{"other_password", "The answer to another password.", values{"stretched": hexed(det("another", 32))}, ""},
			variant{"other_keystore", "The answer to another keystore.", values{"keystore": hexed(det("another keystore", 16))}, ""}))
}

func (s *subject) slotCases() []tried {
	password := s.slotInput()
	reset := values{"keystore": hexed(s.keystore), "slot": hexed(s.slot), "epoch": s.epoch, "device_secret": hexed(s.secret), "share": hexed(s.share), "wrapped": hexed(s.wrappedReset)}
	place := func() []variant {
		return []variant{
			{"other_keystore", "In another file.", values{"keystore": hexed(det("another keystore", 16))}, ""},
			{"other_slot", "In another slot.", values{"slot": hexed(det("another slot", 16))}, ""},
			{"other_epoch", "In another epoch.", values{"epoch": 8}, ""},
			{"altered", "A bit of the tag.", values{"wrapped": hexed(s.wrapped[:len(s.wrapped)-1]) + "ff"}, ""},
			{"truncated", "Too short for a nonce.", values{"wrapped": "00"}, ""},
		}
	}
	share := values{"ephemeral_private": hexed(s.ephemeral.D.FillBytes(make([]byte, 32))), "sealed": hexed(s.sealed), "keystore": hexed(s.keystore), "epoch": s.epoch}
	return slices.Concat(
		variants("password_slot", "HKDF-SM3(Argon2id | function's value) opens the data key.", password, protocol.CodePasswordWrong, append(place(),
			variant{"other_password", "A wrong password.", values{"stretched": hexed(det("another", 32))}, ""},
			variant{"other_value", "The value under another key.", values{"value": hexed(append(det("v", 32), det("w", 32)...))}, ""},
			variant{"other_suite", "The suite is bound.", values{"suite": "P256-SHA256"}, ""},
			variant{"other_server_key", "The pinned key is bound.", values{"server_key": flip(s.server, 0)}, ""})...),
		variants("reset_slot", "HKDF-SM3(device's secret | server's share) opens the data key.", reset, protocol.CodeResetUnavailable, append(place(),
			variant{"other_device", "On another device.", values{"device_secret": hexed(det("another device", 32))}, ""},
			variant{"other_share", "With another share.", values{"share": hexed(det("another share", 32))}, ""})...),
		variants("proof_key", "The key that proves successes.", values{"keystore": hexed(s.keystore), "data_key": hexed(s.dataKey)}, ""),
		variants("share", "A share, sealed to the phone's ephemeral key.", share, protocol.CodeAssistUntrusted,
			variant{"other_keystore", "For another keystore.", values{"keystore": hexed(det("another keystore", 16))}, ""},
			variant{"other_epoch", "For another epoch.", values{"epoch": 8}, ""},
			variant{"altered", "A bit of the ciphertext.", values{"sealed": flip(s.sealed, -1)}, ""},
			variant{"other_ephemeral", "For another key.", values{"ephemeral_private": "00" + hexed(det("another ephemeral", 31))}, ""},
			variant{"empty", "Nothing.", values{"sealed": ""}, ""}))
}

func (s *subject) sign(message []byte) string {
	d := sha256.Sum256(message)
	signature, err := s.device.Sign(nil, d[:], crypto.SHA256) // deterministic: RFC 6979
	must(s.t, err)
	return hexed(signature)
}

func (s *subject) signatureCases() []tried {
	evaluate := values{"device_key": hexed(s.deviceKey), "keystore": hexed(s.keystore), "epoch": s.epoch, "attempt": hexed(s.attempt), "blinded": hexed(s.blinded),
		"signature": s.sign(assistapi.EvaluateMessage(s.keystore, s.epoch, s.attempt, s.blinded))}
	proofKey := hexed(s.proofKey[ed25519.SeedSize:])
	prove := values{"proof_key": proofKey, "keystore": hexed(s.keystore), "epoch": s.epoch, "attempt": hexed(s.attempt),
		"signature": hexed(ed25519.Sign(s.proofKey, assistapi.ProveMessage(s.keystore, s.epoch, s.attempt)))}
	next := s.nextProofKey[ed25519.SeedSize:]
	begin := values{"proof_key": proofKey, "keystore": hexed(s.keystore), "begin": hexed(s.begin), "above": s.epoch, "new_proof_key": hexed(next), "ephemeral": hexed(s.point),
		"signature": hexed(ed25519.Sign(s.proofKey, assistapi.BeginMessage(&assistapi.BeginRequest{Keystore: s.keystore, Begin: s.begin, Above: s.epoch, ProofKey: []byte(next), Ephemeral: s.point})))}
	keystore := variant{"other_keystore", "For another keystore.", values{"keystore": hexed(det("another keystore", 16))}, ""}
	epoch := variant{"other_epoch", "For another epoch.", values{"epoch": 8}, ""}
	attempt := variant{"other_attempt", "For another attempt.", values{"attempt": hexed(det("another attempt", 16))}, ""}
	const refused = protocol.CodeUnauthorized
	return slices.Concat(
		variants("evaluate_signature", "The device signs one try.", evaluate, refused, keystore, epoch, attempt,
			variant{"other_element", "For another element.", values{"blinded": hexed(s.server)}, ""},
			variant{"of_prove", "A signature over the message of prove.", values{"signature": s.sign(assistapi.ProveMessage(s.keystore, s.epoch, s.attempt))}, ""},
			variant{"missing", "None.", values{"signature": ""}, ""}),
		variants("prove_signature", "Whoever opened the slot signs the success.", prove, refused, keystore, epoch, attempt,
			variant{"other_data_key", "By the key of another epoch.", values{"proof_key": hexed(next)}, ""},
			variant{"altered", "A bit.", values{"signature": flip(ed25519.Sign(s.proofKey, assistapi.ProveMessage(s.keystore, s.epoch, s.attempt)), 40)}, ""},
			variant{"missing", "None.", values{"signature": ""}, ""}),
		variants("begin_signature", "The active epoch authorises the next.", begin, refused, keystore,
			variant{"other_begin", "For another begin.", values{"begin": hexed(s.attempt)}, ""},
			variant{"other_above", "For another number.", values{"above": 8}, ""},
			variant{"other_proof_key", "For another data key.", values{"new_proof_key": proofKey}, ""},
			variant{"other_ephemeral", "For another ephemeral key.", values{"ephemeral": flip(s.point, 5)}, ""},
			variant{"missing", "None.", values{"signature": ""}, ""}))
}

// token makes a real-name token whose signature is deterministic (RFC 6979 with
// HMAC-SM3).
func (s *subject) token(json string) string {
	s.t.Helper()
	signature, err := s.realName.Sign(nil, append([]byte("bidseal/realname 1\x00"), json...), sm2.DefaultSM2SignerOpts)
	must(s.t, err)
	return protocol.Bytes(json).String() + "." + protocol.Bytes(signature).String()
}

func (s *subject) tokenCases() []tried {
	const issued = 1_800_000_000
	form := `{"v":1,"purpose":"password_reset","account":"account-1","device":"0123456789abcdef0123456789abcdef","person":"` +
		protocol.Bytes(det("person", 32)).String() + `","nonce":"` + protocol.Bytes(det("token nonce", 16)).String() + `","issued":1800000000,"expires":1800001800}`
	edit := func(from, to string) values { return values{"token": s.token(strings.Replace(form, from, to, 1))} }
	public, err := protocol.MarshalKey(&s.realName.PublicKey)
	must(s.t, err)
	good := values{"authority": hexed(public), "token": s.token(form), "purpose": "password_reset", "account": "account-1",
		"device": "0123456789abcdef0123456789abcdef", "now": issued + 60}
	text := s.token(form)
	return slices.Concat(
		variants("real_name_token", "Within its time, for this account and device.", good, protocol.CodeRealNameToken,
			variant{"other_account", "For another account.", values{"account": "account-2"}, ""},
			variant{"other_device", "For another device.", values{"device": "ffffffffffffffffffffffffffffffff"}, ""},
			variant{"other_purpose", "For another purpose.", values{"purpose": string(realname.Reissue)}, ""},
			variant{"expired", "At its end.", values{"now": issued + 1800}, ""},
			variant{"early", "More than a minute before its beginning.", values{"now": issued - 61}, ""},
			variant{"other_issuer", "By a key that is not the authority's.", values{"authority": hexed(s.otherAuthority())}, ""},
			variant{"p256_issuer", "The authority's key is SM2.", values{"authority": hexed(s.deviceKey)}, ""},
			variant{"altered", "A character of the content.", values{"token": "f" + text[1:]}, ""},
			variant{"no_signature", "Without a signature.", values{"token": text[:strings.IndexByte(text, '.')]}, ""},
			variant{"padded", "In another spelling.", values{"token": text + "="}, ""},
			variant{"long_life", "It lives a second too long.", edit("1800001800", "1800001801"), ""},
			variant{"no_life", "It ends before it begins.", edit("1800001800", "1799999999"), ""},
			variant{"unknown_purpose", "A purpose that this version does not know.", edit("password_reset", "anything"), ""},
			variant{"version", "Another version.", edit(`"v":1`, `"v":2`), ""},
			variant{"short_nonce", "A nonce of 15 bytes.", edit(protocol.Bytes(det("token nonce", 16)).String(), protocol.Bytes(det("token nonce", 15)).String()), ""},
			variant{"unknown_member", "A name that the format does not have.", edit(`"v":1,`, `"v":1,"crit":[],`), ""},
			variant{"twice", "A name that stands twice.", edit(`"v":1,`, `"v":1,"v":1,`), ""}),
		[]tried{{"real_name_token_first_second", "real_name_token", "A minute of difference between the clocks.", good.with(values{"now": issued - 60}), ""}},
		variants("person", "The keyed digest of a person.", values{"secret": hexed(det("secret", 32)), "name": "张三", "id_number": "110101199003070037"}, ""))
}

func (s *subject) otherAuthority() []byte {
	s.t.Helper()
	scalar := det("another authority", 32)
	scalar[0] = 0
	key, err := sm2.NewPrivateKey(scalar)
	must(s.t, err)
	spki, err := protocol.MarshalKey(&key.PublicKey)
	must(s.t, err)
	return spki
}
