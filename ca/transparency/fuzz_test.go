package transparency

import (
	"crypto/rand"
	"errors"
	"testing"

	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
)

// FuzzProofs: whatever somebody shows as a proof, it is refused for one of the package's reasons or proves what it says.
func FuzzProofs(f *testing.F) {
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	leaf := []byte(`{"v":1,"kind":"certificate","at":1}`)
	head, err := SignHead(key, 1, 1, Hasher{}.HashLeaf(leaf))
	if err != nil {
		f.Fatal(err)
	}
	for _, proof := range []any{
		InclusionProof{V: version, Leaf: leaf, Head: *head, Path: []protocol.Bytes{}}, ConsistencyProof{V: version, First: *head, Second: *head, Path: []protocol.Bytes{}},
	} {
		raw, err := protocol.EncodeJSON(proof)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add(leaf)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var inclusion InclusionProof
		if protocol.DecodeJSON(raw, &inclusion) == nil {
			if err := VerifyInclusion(key.Public(), &inclusion); err == nil && string(inclusion.Leaf) != string(leaf) {
				t.Fatalf("%q is proved to be listed", inclusion.Leaf)
			} else if err != nil && !errors.Is(err, ErrSignature) && !errors.Is(err, ErrProof) {
				t.Fatal(err)
			}
		}
		var consistency ConsistencyProof
		if protocol.DecodeJSON(raw, &consistency) == nil {
			if err := VerifyConsistency(key.Public(), &consistency); err != nil && !errors.Is(err, ErrSignature) && !errors.Is(err, ErrProof) && !errors.Is(err, ErrFork) {
				t.Fatal(err)
			}
		}
		if read, err := ReadLeaf(raw); err == nil && read.Kind == "" {
			t.Fatal("a leaf of no kind")
		}
	})
}
