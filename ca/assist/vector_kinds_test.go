package assist_test

import (
	"crypto"
	"crypto/ed25519"
	"encoding/binary"
	"time"

	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/ca/realname"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
)

func kinds() map[string]func(in) (values, error) {
	return map[string]func(in) (values, error){
		"blind": runBlind, "evaluate": runEvaluate, "finalize": runFinalize, "password_slot": runPasswordSlot, "reset_slot": runResetSlot,
		"evaluate_signature": runEvaluateSignature, "prove_signature": runProveSignature, "begin_signature": runBeginSignature,
		"proof_key": runProofKey, "share": runShare, "real_name_token": runToken, "person": runPerson,
	}
}

func runBlind(i in) (values, error) {
	seed := derive(i.t, append(i.hex("seed"), i.hex("stretched")...), i.hex("device_secret"), "bidseal/keystore 1 blind", 64)
	input := assistapi.Input(i.hex("keystore"), i.int("epoch"), i.hex("stretched"))
	b, err := assistapi.Blind(i.text("suite"), i.hex("server_key"), input, seed)
	if err != nil {
		return nil, err
	}
	return values{"blind_seed": hexed(seed), "function_input": hexed(input), "blinded": hexed(b.Blinded)}, nil
}

func runEvaluate(i in) (values, error) {
	evaluated, proof, err := assistapi.Evaluate(i.hex("private_key"), i.hex("blinded"))
	if err != nil {
		return nil, err
	}
	if len(proof) != assistapi.ProofSize {
		i.t.Fatalf("proof of %d bytes", len(proof))
	}
	return values{"evaluated": hexed(evaluated)}, nil
}

func runFinalize(i in) (values, error) {
	b, err := assistapi.Blind(assistapi.Suite, i.hex("server_key"), assistapi.Input(i.hex("keystore"), i.int("epoch"), i.hex("stretched")), i.hex("blind_seed"))
	if err != nil {
		return nil, err
	}
	value, err := b.Finalize(i.hex("evaluated"), i.hex("proof"))
	if err != nil {
		return nil, err
	}
	return values{"value": hexed(value)}, nil
}

// slotAAD is "bidseal/keystore slot" | 00 | u32 1 | keystore | slot | u64 epoch.
func slotAAD(i in) []byte {
	aad := binary.BigEndian.AppendUint32([]byte("bidseal/keystore slot\x00"), 1)
	aad = append(append(aad, i.hex("keystore")...), i.hex("slot")...)
	return binary.BigEndian.AppendUint64(aad, uint64(i.int("epoch")))
}

func passwordAAD(i in) []byte {
	suite := i.text("suite")
	aad := binary.BigEndian.AppendUint32(slotAAD(i), uint32(len(suite)))
	return append(append(aad, suite...), i.hex("server_key")...)
}

func openSlot(i in, key, aad []byte, refusal protocol.Code) (values, error) {
	wrapped := i.hex("wrapped")
	if len(wrapped) < 12 {
		return nil, protocol.Errorf(refusal, "too short")
	}
	dataKey, err := gcm(i.t, key).Open(nil, wrapped[:12], wrapped[12:], aad)
	if err != nil {
		return nil, protocol.Errorf(refusal, "does not open")
	}
	return values{"key": hexed(key), "aad": hexed(aad), "data_key": hexed(dataKey)}, nil
}

func runPasswordSlot(i in) (values, error) {
	key := derive(i.t, append(i.hex("stretched"), i.hex("value")...), i.hex("keystore"), "bidseal/keystore 1 password+voprf", 16)
	return openSlot(i, key, passwordAAD(i), protocol.CodePasswordWrong)
}

func runResetSlot(i in) (values, error) {
	key := derive(i.t, append(i.hex("device_secret"), i.hex("share")...), i.hex("keystore"), "bidseal/keystore 1 reset-share", 16)
	return openSlot(i, key, slotAAD(i), protocol.CodeResetUnavailable)
}

func runProofKey(i in) (values, error) {
	key, err := assistapi.ProofKey(i.hex("keystore"), i.hex("data_key"))
	if err != nil {
		return nil, err
	}
	return values{"seed": hexed(key.Seed()), "proof_key": hexed(key[ed25519.SeedSize:])}, nil
}

func signedBy(i in, message []byte, ok bool) (values, error) {
	if !ok {
		return nil, protocol.Errorf(protocol.CodeUnauthorized, "the signature does not verify")
	}
	return values{"message": hexed(message)}, nil
}

func runEvaluateSignature(i in) (values, error) {
	key, err := protocol.ParseKey(i.hex("device_key"))
	must(i.t, err)
	message := assistapi.EvaluateMessage(i.hex("keystore"), i.int("epoch"), i.hex("attempt"), i.hex("blinded"))
	return signedBy(i, message, protocol.Verify(key, message, i.hex("signature")))
}

func runProveSignature(i in) (values, error) {
	message := assistapi.ProveMessage(i.hex("keystore"), i.int("epoch"), i.hex("attempt"))
	return signedBy(i, message, ed25519.Verify(i.hex("proof_key"), message, i.hex("signature")))
}

func runBeginSignature(i in) (values, error) {
	message := assistapi.BeginMessage(&assistapi.BeginRequest{Keystore: i.hex("keystore"), Begin: i.hex("begin"), Above: i.int("above"),
		ProofKey: i.hex("new_proof_key"), Ephemeral: i.hex("ephemeral")})
	return signedBy(i, message, ed25519.Verify(i.hex("proof_key"), message, i.hex("signature")))
}

func runShare(i in) (values, error) {
	key, err := sm2.NewPrivateKey(i.hex("ephemeral_private"))
	must(i.t, err)
	share, err := assistapi.OpenShare(key, i.hex("sealed"), i.hex("keystore"), i.int("epoch"))
	if err != nil {
		return nil, err
	}
	point, err := assistapi.Point(&key.PublicKey)
	must(i.t, err)
	return values{"ephemeral": hexed(point), "share": hexed(share)}, nil
}

func runToken(i in) (values, error) {
	key, err := protocol.ParseKey(i.hex("authority"))
	must(i.t, err)
	token, err := realname.Verify([]crypto.PublicKey{key}, i.text("token"), realname.Want{
		Purpose: realname.Purpose(i.text("purpose")), Account: i.text("account"), Device: i.text("device"),
	}, time.Unix(i.int("now"), 0))
	if err != nil {
		return nil, err
	}
	return values{"person": hexed(token.Person), "nonce": hexed(token.Nonce), "issued": token.Issued, "expires": token.Expires}, nil
}

func runPerson(i in) (values, error) {
	return values{"person": hexed(realname.Person(i.hex("secret"), i.text("name"), i.text("id_number")))}, nil
}
