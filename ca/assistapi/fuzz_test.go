package assistapi

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
)

// FuzzAnswer: whatever a server answers to a blinded input, the phone takes the evaluation by the pinned key and nothing
// else.
func FuzzAnswer(f *testing.F) {
	private, public, err := NewKey()
	if err != nil {
		f.Fatal(err)
	}
	seed := bytes.Repeat([]byte{7}, SeedSize)
	blinding, err := Blind(Suite, public, []byte("input"), seed)
	if err != nil {
		f.Fatal(err)
	}
	evaluated, proof, err := Evaluate(private, blinding.Blinded)
	if err != nil {
		f.Fatal(err)
	}
	want, err := blinding.Finalize(evaluated, proof)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(evaluated, proof)
	f.Add(make([]byte, ElementSize), make([]byte, ProofSize))
	f.Fuzz(func(t *testing.T, evaluated, proof []byte) {
		got, err := blinding.Finalize(evaluated, proof)
		if err != nil && (got != nil || protocol.CodeOf(err) != protocol.CodeAssistUntrusted) {
			t.Fatalf("%x, %v", got, err)
		}
		if err == nil && !bytes.Equal(got, want) {
			t.Fatal("another value was taken")
		}
	})
}

// FuzzElement: a server evaluates what is the one spelling of an element, and refuses the rest as malformed.
func FuzzElement(f *testing.F) {
	private, public, err := NewKey()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(public)
	f.Add(make([]byte, ElementSize))
	f.Fuzz(func(t *testing.T, blinded []byte) {
		evaluated, proof, err := Evaluate(private, blinded)
		if err != nil {
			if protocol.CodeOf(err) != protocol.CodeMalformed {
				t.Fatal(err)
			}
			return
		}
		if len(evaluated) != ElementSize || len(proof) != ProofSize {
			t.Fatalf("%d and %d bytes", len(evaluated), len(proof))
		}
	})
}

// FuzzShare: only the share that was sealed for this place comes out.
func FuzzShare(f *testing.F) {
	ephemeral, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	point, err := Point(&ephemeral.PublicKey)
	if err != nil {
		f.Fatal(err)
	}
	share, keystore := bytes.Repeat([]byte{1}, ShareSize), bytes.Repeat([]byte{2}, IDSize)
	sealed, err := SealShare(share, keystore, 3, point)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Fuzz(func(t *testing.T, sealed []byte) {
		got, err := OpenShare(ephemeral, sealed, keystore, 3)
		if err != nil && (got != nil || protocol.CodeOf(err) != protocol.CodeAssistUntrusted) {
			t.Fatalf("%x, %v", got, err)
		}
		if err == nil && !bytes.Equal(got, share) {
			t.Fatal("another share was taken")
		}
	})
}
