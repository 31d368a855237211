package assistapi

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/protocol"
	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/oprf"
)

// rfcVectors is appendix A.1.2 of RFC 9497: ristretto255-SHA512, verifiable mode.
type rfcVectors struct {
	Identifier     string
	Seed, KeyInfo  string
	PrivateKey     string `json:"skSm"`
	PublicKey      string `json:"pkSm"`
	Vectors        []rfcVector
	Mode           int
	Hash, GroupDST string
}

type rfcVector struct {
	Batch                                                   int
	Blind, BlindedElement, EvaluationElement, Input, Output string
	Proof                                                   struct{ Proof, R string }
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	must(t, err)
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestRFC9497 runs the RFC's own vectors against the library and against both
// halves here. The batched one is for the library alone: a phone sends one.
func TestRFC9497(t *testing.T) {
	raw, err := os.ReadFile("testdata/rfc9497-a.1.2.json")
	must(t, err)
	var v rfcVectors
	must(t, json.Unmarshal(raw, &v))
	if v.Identifier != Suite || v.Mode != 1 || len(v.Vectors) != 3 {
		t.Fatalf("%+v", v)
	}
	key, err := oprf.DeriveKey(suite(), oprf.VerifiableMode, unhex(t, v.Seed), unhex(t, v.KeyInfo))
	must(t, err)
	private, err := key.MarshalBinary()
	must(t, err)
	public, err := key.Public().MarshalBinary()
	must(t, err)
	if hex.EncodeToString(private) != v.PrivateKey || hex.EncodeToString(public) != v.PublicKey {
		t.Fatal("another key pair")
	}
	single := 0
	for _, c := range v.Vectors {
		client := oprf.NewVerifiableClient(suite(), key.Public())
		var inputs [][]byte
		var blinds []oprf.Blind
		for _, part := range strings.Split(c.Input, ",") {
			inputs = append(inputs, unhex(t, part))
		}
		for _, part := range strings.Split(c.Blind, ",") {
			blind := group.Ristretto255.NewScalar()
			must(t, blind.UnmarshalBinary(unhex(t, part)))
			blinds = append(blinds, blind)
		}
		data, request, err := client.DeterministicBlind(inputs, blinds)
		must(t, err)
		var blinded []string
		for _, e := range request.Elements {
			raw, err := e.MarshalBinaryCompress()
			must(t, err)
			blinded = append(blinded, hex.EncodeToString(raw))
		}
		if strings.Join(blinded, ",") != c.BlindedElement {
			t.Fatalf("blinded %v", blinded)
		}
		if c.Batch != 1 {
			continue
		}
		single++
		evaluated, proof, err := Evaluate(private, unhex(t, c.BlindedElement))
		must(t, err)
		if hex.EncodeToString(evaluated) != c.EvaluationElement {
			t.Errorf("evaluated %x", evaluated)
		}
		b := Blinding{Blinded: unhex(t, c.BlindedElement), client: client, data: data}
		for name, p := range map[string][]byte{"the RFC's": unhex(t, c.Proof.Proof), "ours": proof} {
			value, err := b.Finalize(unhex(t, c.EvaluationElement), p)
			if err != nil || hex.EncodeToString(value) != c.Output {
				t.Errorf("%s proof: %x, %v", name, value, err)
			}
		}
	}
	if single != 2 {
		t.Errorf("%d vectors of one input", single)
	}
}

// A scalar that is not reduced is none, in a key as in a proof.
func TestScalarsHaveOneSpelling(t *testing.T) {
	order := unhex(t, "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")
	one := append([]byte{1}, make([]byte, 31)...)
	must(t, canonicalScalar(one))
	beyond := bytes.Clone(order)
	beyond[0]++
	for name, raw := range map[string][]byte{"zero": make([]byte, 32), "order": order, "order and one": beyond, "all ones": bytes.Repeat([]byte{0xFF}, 32), "short": one[:31], "long": append(one, 0)} {
		if err := canonicalScalar(raw); err == nil {
			t.Errorf("%s is taken", name)
		}
		if _, _, err := Evaluate(raw, unhex(t, "863f330cc1a1259ed5a5998a23acfd37fb4351a793a5b3c090b642ddc439b945")); err == nil {
			t.Errorf("%s is taken for a key", name)
		}
	}
}

// FuzzEvaluate: whatever is sent as an element, the server answers with its
// refusal or an evaluation that the phone can check.
func FuzzEvaluate(f *testing.F) {
	private, _, err := NewKey()
	must(f, err)
	good, err := hex.DecodeString("863f330cc1a1259ed5a5998a23acfd37fb4351a793a5b3c090b642ddc439b945")
	must(f, err)
	f.Add(good)
	f.Add(make([]byte, 32))
	f.Fuzz(func(t *testing.T, blinded []byte) {
		evaluated, proof, err := Evaluate(private, blinded)
		if err != nil {
			if protocol.CodeOf(err) != protocol.CodeMalformed {
				t.Fatal(err)
			}
			return
		}
		if _, err := parseElement(evaluated); err != nil || len(proof) != ProofSize {
			t.Fatalf("evaluated %x, proof %x", evaluated, proof)
		}
	})
}

// FuzzFinalize: no answer of a server is taken but the right one.
func FuzzFinalize(f *testing.F) {
	private, public, err := NewKey()
	must(f, err)
	b, err := Blind(Suite, public, []byte("input"), make([]byte, 64))
	must(f, err)
	evaluated, proof, err := Evaluate(private, b.Blinded)
	must(f, err)
	want, err := b.Finalize(evaluated, proof)
	must(f, err)
	f.Add(evaluated, proof)
	f.Add(make([]byte, 32), make([]byte, 64))
	f.Fuzz(func(t *testing.T, evaluated, proof []byte) {
		value, err := b.Finalize(evaluated, proof)
		if err == nil && !bytes.Equal(value, want) {
			t.Fatal("a forged answer was taken")
		}
		if err != nil && protocol.CodeOf(err) != protocol.CodeAssistUntrusted {
			t.Fatal(err)
		}
	})
}
