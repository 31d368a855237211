package transparency

import (
	"context"
	"fmt"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
)

// Nodes keeps the hashes of perfect subtrees: the node (level, index) is the root
// over the leaves from index<<level up to (index+1)<<level. Only complete ones are
// stored; a stored one never changes.
type Nodes interface {
	// Node returns a stored hash; one that is not there is an error.
	Node(ctx context.Context, level uint, index uint64) ([]byte, error)
	// Put stores a new hash; one that is there already is an error.
	Put(ctx context.Context, level uint, index uint64, hash []byte) error
}

// Append adds the leaf with the given hash (of Hasher.HashLeaf) to a tree of size
// leaves, and stores every subtree that it completes.
func Append(ctx context.Context, nodes Nodes, size uint64, leafHash []byte) error {
	hash := leafHash
	for level, index := uint(0), size; ; level, index = level+1, index/2 {
		if err := nodes.Put(ctx, level, index, hash); err != nil {
			return fmt.Errorf("store node %d/%d: %w", level, index, err)
		}
		if index%2 == 0 {
			return nil
		}
		left, err := nodes.Node(ctx, level, index-1)
		if err != nil {
			return fmt.Errorf("read node %d/%d: %w", level, index-1, err)
		}
		hash = Hasher{}.HashChildren(left, hash)
	}
}

// Root is the root over the first size leaves. The tree may hold more.
func Root(ctx context.Context, nodes Nodes, size uint64) ([]byte, error) {
	hashes, err := read(ctx, nodes, compact.RangeNodes(0, size, nil))
	if err != nil {
		return nil, err
	}
	if len(hashes) == 0 {
		return Hasher{}.EmptyRoot(), nil
	}
	root := hashes[len(hashes)-1]
	for i := len(hashes) - 2; i >= 0; i-- {
		root = Hasher{}.HashChildren(hashes[i], root)
	}
	return root, nil
}

// Inclusion is the audit path of a leaf in the tree of the first size leaves
// (RFC 9162 2.1.3).
func Inclusion(ctx context.Context, nodes Nodes, index, size uint64) ([][]byte, error) {
	wanted, err := proof.Inclusion(index, size)
	if err != nil {
		return nil, fmt.Errorf("proof of inclusion: %w", err)
	}
	return collect(ctx, nodes, wanted)
}

// Consistency is the proof between the trees of the first and of the second size
// leaves (RFC 9162 2.1.4).
func Consistency(ctx context.Context, nodes Nodes, first, second uint64) ([][]byte, error) {
	wanted, err := proof.Consistency(first, second)
	if err != nil {
		return nil, fmt.Errorf("proof of consistency: %w", err)
	}
	return collect(ctx, nodes, wanted)
}

func collect(ctx context.Context, nodes Nodes, wanted proof.Nodes) ([][]byte, error) {
	hashes, err := read(ctx, nodes, wanted.IDs)
	if err != nil {
		return nil, err
	}
	return wanted.Rehash(hashes, Hasher{}.HashChildren)
}

func read(ctx context.Context, nodes Nodes, ids []compact.NodeID) ([][]byte, error) {
	hashes := make([][]byte, len(ids))
	for i, id := range ids {
		var err error
		if hashes[i], err = nodes.Node(ctx, id.Level, id.Index); err != nil {
			return nil, fmt.Errorf("read node %d/%d: %w", id.Level, id.Index, err)
		}
	}
	return hashes, nil
}
