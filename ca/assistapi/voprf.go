package assistapi

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/bidseal/bidseal/protocol"
	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/oprf"
	"github.com/cloudflare/circl/zk/dleq"
)

// Suite of RFC 9497, in verifiable mode. ristretto255 has prime order and one
// spelling for each element, and its arithmetic here runs in constant time.
const Suite = "ristretto255-SHA512"

// Lengths in bytes.
const (
	ElementSize = 32
	ProofSize   = 2 * scalarSize
	scalarSize  = 32
	// OutputSize is the length of the function's value.
	OutputSize = 64
)

func suite() oprf.Suite { return oprf.SuiteRistretto255 }

// blindTag separates the hash that makes a blind of a seed.
const blindTag = "bidseal/assist 1 blind"

// Input is the function's private input: the stretched password in its place.
func Input(keystore []byte, epoch int64, stretched []byte) []byte {
	return message("input", keystore, number(epoch), stretched)
}

// Blinding is one blinded input on the phone.
type Blinding struct {
	Blinded []byte
	client  oprf.VerifiableClient
	data    *oprf.FinalizeData
}

// Blind hides an input under a blind that follows from the seed: SeedSize bytes
// or more that nobody else can know. Only the holder of the key that serverKey
// names can answer. Error: malformed for a suite or key that is none.
func Blind(suiteID string, serverKey, input, seed []byte) (*Blinding, error) {
	if suiteID != Suite {
		return nil, protocol.Errorf(protocol.CodeMalformed, "suite %.40q is not known", suiteID)
	}
	if _, err := parseElement(serverKey); err != nil {
		return nil, err
	}
	var public oprf.PublicKey
	if err := public.UnmarshalBinary(suite(), serverKey); err != nil {
		return nil, malformed("server key")
	}
	blind := group.Ristretto255.HashToScalar(seed, []byte(blindTag))
	if len(seed) < SeedSize || blind.IsZero() {
		return nil, errors.New("blind: the seed is too short, or gives the zero scalar")
	}
	client := oprf.NewVerifiableClient(suite(), &public)
	data, request, err := client.DeterministicBlind([][]byte{input}, []oprf.Blind{blind})
	if err != nil {
		return nil, fmt.Errorf("blind: %w", err)
	}
	blinded, err := request.Elements[0].MarshalBinaryCompress()
	if err != nil {
		return nil, fmt.Errorf("blind: %w", err)
	}
	return &Blinding{Blinded: blinded, client: client, data: data}, nil
}

// Finalize checks that the answer was made with the one key and returns the
// function's value, OutputSize bytes that the caller wipes. Error:
// protocol.CodeAssistUntrusted.
func (b *Blinding) Finalize(evaluated, proof []byte) ([]byte, error) {
	untrusted := protocol.Errorf(protocol.CodeAssistUntrusted, "the evaluation is not by the pinned key")
	element, err := parseElement(evaluated)
	if err != nil || len(proof) != ProofSize || canonicalScalar(proof[:scalarSize]) != nil || canonicalScalar(proof[scalarSize:]) != nil {
		return nil, untrusted
	}
	var p dleq.Proof
	if err := p.UnmarshalBinary(group.Ristretto255, proof); err != nil {
		return nil, untrusted
	}
	outputs, err := b.client.Finalize(b.data, &oprf.Evaluation{Elements: []oprf.Evaluated{element}, Proof: &p})
	if err != nil || len(outputs) != 1 || len(outputs[0]) != OutputSize {
		return nil, untrusted
	}
	return outputs[0], nil
}

// NewKey draws the key of an epoch: the private scalar, which the caller wipes,
// and the server key that phones pin.
func NewKey() (private, public []byte, err error) {
	key, err := oprf.GenerateKey(suite(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("draw evaluation key: %w", err)
	}
	if private, err = key.MarshalBinary(); err != nil {
		return nil, nil, fmt.Errorf("draw evaluation key: %w", err)
	}
	if public, err = key.Public().MarshalBinary(); err != nil {
		return nil, nil, fmt.Errorf("draw evaluation key: %w", err)
	}
	return private, public, nil
}

// Evaluate is the server's half: the evaluation of a blinded element and the
// proof that it was made with the key.
func Evaluate(private, blinded []byte) (evaluated, proof []byte, err error) {
	element, err := parseElement(blinded)
	if err != nil {
		return nil, nil, err
	}
	var key oprf.PrivateKey
	if canonicalScalar(private) != nil || key.UnmarshalBinary(suite(), private) != nil {
		return nil, nil, errors.New("evaluate: the key is not a scalar")
	}
	answer, err := oprf.NewVerifiableServer(suite(), &key).Evaluate(&oprf.EvaluationRequest{Elements: []oprf.Blinded{element}})
	if err != nil {
		return nil, nil, fmt.Errorf("evaluate: %w", err)
	}
	if evaluated, err = answer.Elements[0].MarshalBinaryCompress(); err != nil {
		return nil, nil, fmt.Errorf("evaluate: %w", err)
	}
	if proof, err = answer.Proof.MarshalBinary(); err != nil {
		return nil, nil, fmt.Errorf("evaluate: %w", err)
	}
	return evaluated, proof, nil
}

// parseElement reads the one spelling of an element that is not the identity
// (RFC 9497, section 2.1).
func parseElement(raw []byte) (group.Element, error) {
	bad := malformed("group element")
	if len(raw) != ElementSize {
		return nil, bad
	}
	element := group.Ristretto255.NewElement()
	if err := element.UnmarshalBinary(raw); err != nil || element.IsIdentity() {
		return nil, bad
	}
	again, err := element.MarshalBinaryCompress()
	if err != nil || !bytes.Equal(again, raw) {
		return nil, bad
	}
	return element, nil
}

// canonicalScalar refuses a scalar that is zero or not reduced.
func canonicalScalar(raw []byte) error {
	bad := malformed("scalar")
	scalar := group.Ristretto255.NewScalar()
	if len(raw) != scalarSize || scalar.UnmarshalBinary(raw) != nil || scalar.IsZero() {
		return bad
	}
	again, err := group.Ristretto255.NewScalar().Add(scalar, group.Ristretto255.NewScalar()).MarshalBinary()
	if err != nil || !protocol.Equal(again, raw) {
		return bad
	}
	return nil
}
