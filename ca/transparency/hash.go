package transparency

import (
	"github.com/emmansun/gmsm/sm3"
	"github.com/transparency-dev/merkle"
)

// HashSize is the length of every hash in bytes.
const HashSize = sm3.Size

// Prefixes of RFC 6962 2.1, which keep leaves and nodes apart.
const (
	leafPrefix = 0
	nodePrefix = 1
)

// Hasher is the tree's: the structure of RFC 6962 2.1 with SM3.
type Hasher struct{}

var _ merkle.LogHasher = Hasher{}

// EmptyRoot is the hash of nothing.
func (Hasher) EmptyRoot() []byte { return sum() }

// HashLeaf is SM3(0x00 | leaf).
func (Hasher) HashLeaf(leaf []byte) []byte { return sum([]byte{leafPrefix}, leaf) }

// HashChildren is SM3(0x01 | left | right).
func (Hasher) HashChildren(left, right []byte) []byte { return sum([]byte{nodePrefix}, left, right) }

// Size is HashSize.
func (Hasher) Size() int { return HashSize }

func sum(parts ...[]byte) []byte {
	h := sm3.New()
	for _, part := range parts {
		h.Write(part)
	}
	return h.Sum(nil)
}
