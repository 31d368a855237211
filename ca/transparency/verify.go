package transparency

import (
	"bytes"
	"crypto"
	"fmt"

	"github.com/bidseal/bidseal/protocol"
	"github.com/transparency-dev/merkle/proof"
)

// InclusionProof shows that a leaf stands in the tree of a signed head.
type InclusionProof struct {
	V     int              `json:"v"`
	Index uint64           `json:"index"`
	Leaf  protocol.Bytes   `json:"leaf"` // the bytes that are hashed, see ReadLeaf
	Path  []protocol.Bytes `json:"path"`
	Head  Head             `json:"head"`
}

// ConsistencyProof shows that the tree of Second begins with the tree of First.
type ConsistencyProof struct {
	V      int              `json:"v"`
	First  Head             `json:"first"`
	Second Head             `json:"second"`
	Path   []protocol.Bytes `json:"path"`
}

// maxPath bounds proofs: an inclusion proof has at most one hash for each level,
// a consistency proof one more.
const maxPath = 65

// VerifyInclusion checks a proof with the log's public key alone. Errors wrap
// ErrSignature or ErrProof.
func VerifyInclusion(public crypto.PublicKey, p *InclusionProof) error {
	if err := p.Head.Verify(public); err != nil {
		return err
	}
	if p.V != version || len(p.Path) > maxPath {
		return fmt.Errorf("form of the proof: %w", ErrProof)
	}
	leaf := Hasher{}.HashLeaf(p.Leaf)
	if err := proof.VerifyInclusion(Hasher{}, p.Index, p.Head.Size, leaf, plain(p.Path), p.Head.Root); err != nil {
		return fmt.Errorf("leaf %d in a tree of %d: %w: %w", p.Index, p.Head.Size, ErrProof, err)
	}
	return nil
}

// VerifyConsistency checks that both heads are signed by the log and belong to one
// history. Two heads of one size with different roots are ErrFork: they need no
// proof. Where the larger head does not continue the smaller one the log has no path
// that verifies, and any other is ErrProof.
func VerifyConsistency(public crypto.PublicKey, p *ConsistencyProof) error {
	for _, head := range []*Head{&p.First, &p.Second} {
		if err := head.Verify(public); err != nil {
			return err
		}
	}
	if p.V != version || p.First.Size > p.Second.Size || len(p.Path) > maxPath {
		return fmt.Errorf("form of the proof: %w", ErrProof)
	}
	if p.First.Size == p.Second.Size && !bytes.Equal(p.First.Root, p.Second.Root) {
		return fmt.Errorf("two heads of size %d: %w", p.First.Size, ErrFork)
	}
	if err := proof.VerifyConsistency(Hasher{}, p.First.Size, p.Second.Size, plain(p.Path), p.First.Root, p.Second.Root); err != nil {
		return fmt.Errorf("from size %d to size %d: %w: %w", p.First.Size, p.Second.Size, ErrProof, err)
	}
	if p.First.Size == 0 && !bytes.Equal(p.First.Root, Hasher{}.EmptyRoot()) {
		return fmt.Errorf("root of an empty tree: %w", ErrProof)
	}
	return nil
}

func plain(path []protocol.Bytes) [][]byte {
	out := make([][]byte, len(path))
	for i, hash := range path {
		out[i] = hash
	}
	return out
}

// Path is a list of hashes as proofs carry it.
func Path(hashes [][]byte) []protocol.Bytes {
	out := make([]protocol.Bytes, len(hashes))
	for i, hash := range hashes {
		out[i] = hash
	}
	return out
}
