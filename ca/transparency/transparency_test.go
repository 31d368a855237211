package transparency_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/bidseal/bidseal/ca/transparency"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm3"
	"pgregory.net/rapid"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// memory keeps nodes and counts what is asked of it.
type memory struct {
	nodes         map[[2]uint64][]byte
	reads, writes int
}

func newMemory() *memory { return &memory{nodes: make(map[[2]uint64][]byte)} }

func (m *memory) Node(_ context.Context, level uint, index uint64) ([]byte, error) {
	m.reads++
	hash, ok := m.nodes[[2]uint64{uint64(level), index}]
	if !ok {
		return nil, errors.New("no such node")
	}
	return hash, nil
}

func (m *memory) Put(_ context.Context, level uint, index uint64, hash []byte) error {
	m.writes++
	key := [2]uint64{uint64(level), index}
	if _, ok := m.nodes[key]; ok {
		return errors.New("there already")
	}
	m.nodes[key] = hash
	return nil
}

// tree is a log in memory.
type tree struct {
	*memory
	leaves [][]byte
}

func (tr *tree) add(t testing.TB, leaf []byte) {
	t.Helper()
	must(t, transparency.Append(t.Context(), tr, uint64(len(tr.leaves)), transparency.Hasher{}.HashLeaf(leaf)))
	tr.leaves = append(tr.leaves, leaf)
}

func newTree(t testing.TB, n int) *tree {
	t.Helper()
	tr := &tree{memory: newMemory()}
	for i := range n {
		tr.add(t, fmt.Appendf(nil, "leaf %d", i))
	}
	return tr
}

// reference is RFC 9162 2.1.1 as it is written, on the leaves themselves.
func reference(leaves [][]byte) []byte {
	switch len(leaves) {
	case 0:
		empty := sm3.Sum(nil)
		return empty[:]
	case 1:
		hash := sm3.Sum(append([]byte{0}, leaves[0]...))
		return hash[:]
	}
	k := 1
	for 2*k < len(leaves) {
		k *= 2
	}
	hash := sm3.Sum(slices.Concat([]byte{1}, reference(leaves[:k]), reference(leaves[k:])))
	return hash[:]
}

func TestRootIsTheReference(t *testing.T) {
	tr := newTree(t, 70)
	for size := range len(tr.leaves) + 1 {
		root, err := transparency.Root(t.Context(), tr, uint64(size))
		must(t, err)
		if !bytes.Equal(root, reference(tr.leaves[:size])) {
			t.Fatalf("root of %d leaves", size)
		}
	}
}

// TestAppendIsCheap: two nodes an append on average, and no more reads than the
// tree has levels.
func TestAppendIsCheap(t *testing.T) {
	const n = 1 << 12
	tr := newTree(t, n)
	if tr.writes != 2*n-1 || tr.reads != n-1 {
		t.Errorf("%d writes and %d reads for %d leaves", tr.writes, tr.reads, n)
	}
}

func newKey(t testing.TB) *sm2.PrivateKey {
	t.Helper()
	key, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	return key
}

func (tr *tree) head(t testing.TB, key *sm2.PrivateKey, size int) transparency.Head {
	t.Helper()
	root, err := transparency.Root(t.Context(), tr, uint64(size))
	must(t, err)
	head, err := transparency.SignHead(key, uint64(size), 1, root)
	must(t, err)
	return *head
}

func (tr *tree) inclusion(t testing.TB, key *sm2.PrivateKey, index, size int) *transparency.InclusionProof {
	t.Helper()
	path, err := transparency.Inclusion(t.Context(), tr, uint64(index), uint64(size))
	must(t, err)
	return &transparency.InclusionProof{V: 1, Index: uint64(index), Leaf: tr.leaves[index], Path: transparency.Path(path), Head: tr.head(t, key, size)}
}

func (tr *tree) consistency(t testing.TB, key *sm2.PrivateKey, first, second int) *transparency.ConsistencyProof {
	t.Helper()
	path, err := transparency.Consistency(t.Context(), tr, uint64(first), uint64(second))
	must(t, err)
	return &transparency.ConsistencyProof{V: 1, First: tr.head(t, key, first), Second: tr.head(t, key, second), Path: transparency.Path(path)}
}

// TestProofsOfEveryTree: every leaf of every size, and every pair of sizes.
func TestProofsOfEveryTree(t *testing.T) {
	const n = 20
	key, tr := newKey(t), newTree(t, n)
	for size := range n + 1 {
		for index := range size {
			must(t, transparency.VerifyInclusion(key.Public(), tr.inclusion(t, key, index, size)))
		}
		for first := range size + 1 {
			must(t, transparency.VerifyConsistency(key.Public(), tr.consistency(t, key, first, size)))
		}
	}
}

// TestWrongProofs: nothing but the right proof verifies.
func TestWrongProofs(t *testing.T) {
	key, tr := newKey(t), newTree(t, 13)
	for name, change := range map[string]func(*transparency.InclusionProof){
		"leaf":       func(p *transparency.InclusionProof) { p.Leaf = []byte("another leaf") },
		"index":      func(p *transparency.InclusionProof) { p.Index++ },
		"beyond":     func(p *transparency.InclusionProof) { p.Index = p.Head.Size },
		"path":       func(p *transparency.InclusionProof) { p.Path[1] = p.Path[0] },
		"shorter":    func(p *transparency.InclusionProof) { p.Path = p.Path[:len(p.Path)-1] },
		"longer":     func(p *transparency.InclusionProof) { p.Path = append(p.Path, p.Path[0]) },
		"version":    func(p *transparency.InclusionProof) { p.V = 2 },
		"root":       func(p *transparency.InclusionProof) { p.Head = tr.head(t, key, 12) },
		"endless":    func(p *transparency.InclusionProof) { p.Path = make([]protocol.Bytes, 1000) },
		"node's sum": func(p *transparency.InclusionProof) { p.Leaf = slices.Concat(p.Path[0], p.Path[1]) },
	} {
		p := tr.inclusion(t, key, 5, 13)
		change(p)
		if err := transparency.VerifyInclusion(key.Public(), p); !errors.Is(err, transparency.ErrProof) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]func(*transparency.Head){
		"size":      func(h *transparency.Head) { h.Size++ },
		"time":      func(h *transparency.Head) { h.At++ },
		"root":      func(h *transparency.Head) { h.Root = protocol.H(nil) },
		"signature": func(h *transparency.Head) { h.Signature[10] ^= 1 },
		"log":       func(h *transparency.Head) { h.Log = protocol.H(nil) },
		"none":      func(h *transparency.Head) { *h = transparency.Head{} },
	} {
		p := tr.inclusion(t, key, 5, 13)
		change(&p.Head)
		if err := transparency.VerifyInclusion(key.Public(), p); !errors.Is(err, transparency.ErrSignature) {
			t.Errorf("head with another %s: %v", name, err)
		}
	}
	if err := transparency.VerifyInclusion(newKey(t).Public(), tr.inclusion(t, key, 5, 13)); !errors.Is(err, transparency.ErrSignature) {
		t.Errorf("another log's key: %v", err)
	}
}

// TestRewrittenHistory: a log that replaces a leaf has no proof from the head that
// somebody kept, whatever it sends.
func TestRewrittenHistory(t *testing.T) {
	key, tr := newKey(t), newTree(t, 9)
	kept := tr.head(t, key, 6)
	rewritten := &tree{memory: newMemory()}
	for i, leaf := range tr.leaves {
		if i == 2 {
			leaf = []byte("nobody saw this")
		}
		rewritten.add(t, leaf)
	}
	p := rewritten.consistency(t, key, 6, 9)
	p.First = kept
	if err := transparency.VerifyConsistency(key.Public(), p); !errors.Is(err, transparency.ErrProof) {
		t.Errorf("a rewritten history: %v", err)
	}
	p = tr.consistency(t, key, 6, 9)
	p.Second = rewritten.head(t, key, 9)
	if err := transparency.VerifyConsistency(key.Public(), p); !errors.Is(err, transparency.ErrProof) {
		t.Errorf("the old proof for the new head: %v", err)
	}
	p = &transparency.ConsistencyProof{V: 1, First: tr.head(t, key, 9), Second: rewritten.head(t, key, 9)}
	if err := transparency.VerifyConsistency(key.Public(), p); !errors.Is(err, transparency.ErrFork) {
		t.Errorf("two heads of one size: %v", err)
	}
	p = &transparency.ConsistencyProof{V: 1, First: tr.head(t, key, 9), Second: tr.head(t, key, 6)}
	if err := transparency.VerifyConsistency(key.Public(), p); !errors.Is(err, transparency.ErrProof) {
		t.Errorf("a log that became shorter: %v", err)
	}
	empty := transparency.ConsistencyProof{V: 1, First: tr.head(t, key, 0), Second: tr.head(t, key, 9)}
	empty.First.Root = protocol.H([]byte("not the root of nothing"))
	resigned, err := transparency.SignHead(key, 0, 1, empty.First.Root)
	must(t, err)
	empty.First = *resigned
	if err := transparency.VerifyConsistency(key.Public(), &empty); !errors.Is(err, transparency.ErrProof) {
		t.Errorf("an empty tree with a root: %v", err)
	}
}

// TestAnyTree: proofs of random trees verify, and those of another index do not.
func TestAnyTree(t *testing.T) {
	key := newKey(t)
	rapid.Check(t, func(rt *rapid.T) {
		tr := newTree(t, rapid.IntRange(1, 200).Draw(rt, "leaves"))
		size := rapid.IntRange(1, len(tr.leaves)).Draw(rt, "size")
		index := rapid.IntRange(0, size-1).Draw(rt, "index")
		p := tr.inclusion(t, key, index, size)
		if err := transparency.VerifyInclusion(key.Public(), p); err != nil {
			rt.Fatal(err)
		}
		p.Index = uint64(rapid.IntRange(0, size-1).Filter(func(i int) bool { return i != index || size == 1 }).Draw(rt, "other"))
		if err := transparency.VerifyInclusion(key.Public(), p); (err == nil) != (p.Index == uint64(index)) {
			rt.Fatalf("index %d for %d: %v", p.Index, index, err)
		}
	})
}

func TestHolderAndLeaf(t *testing.T) {
	if _, err := transparency.Holder("no hex"); err == nil {
		t.Error("a lineage that is no hexadecimal")
	}
	if _, err := transparency.Holder(""); err == nil {
		t.Error("a holder without lineage")
	}
	raw, err := transparency.Leaf{Kind: transparency.LeafRecovery, At: 7, Release: "x"}.Marshal()
	must(t, err)
	if string(raw) != `{"v":1,"kind":"recovery","at":7,"release":"x"}` {
		t.Errorf("%s", raw)
	}
	for _, text := range []string{``, `{}`, `{"v":2,"kind":"recovery","at":7}`, `{"v":1,"kind":"else","at":7}`, `{"v":1,"kind":"recovery","at":7,"more":1}`} {
		if _, err := transparency.ReadLeaf([]byte(text)); err == nil {
			t.Errorf("%s was read", text)
		}
	}
}

// vectors are what another implementation checks itself against.
type vectors struct {
	Leaves []string            `json:"leaves"` // text
	Roots  []string            `json:"roots"`  // of the first 0, 1, 2, ... leaves
	Holder map[string]string   `json:"holder"` // by lineage
	Path   map[string][]string `json:"path"`   // "inclusion index/size" or "consistency first/second"
	// A head with the message that is signed, and a signature of Key over it.
	Key     string `json:"key"` // SubjectPublicKeyInfo
	Head    string `json:"head"`
	Message string `json:"message"`
	// Refused are heads and proofs that must not verify, each with its reason.
	Refused map[string]string `json:"refused"`
}

var update = flag.Bool("update", false, "write testdata/vectors.json anew")

func makeVectors(t *testing.T) vectors {
	key, tr := newKey(t), newTree(t, 7)
	v := vectors{Holder: make(map[string]string), Path: make(map[string][]string), Refused: make(map[string]string)}
	spki, err := protocol.MarshalKey(key.Public())
	must(t, err)
	v.Key = hex.EncodeToString(spki)
	for _, leaf := range tr.leaves {
		v.Leaves = append(v.Leaves, string(leaf))
	}
	for size := range 8 {
		root, err := transparency.Root(t.Context(), tr, uint64(size))
		must(t, err)
		v.Roots = append(v.Roots, hex.EncodeToString(root))
	}
	head := tr.head(t, key, 7)
	raw, err := protocol.EncodeJSON(head)
	must(t, err)
	v.Head = string(raw)
	v.Message = hex.EncodeToString(message(head))
	lineage := "000102030405060708090a0b0c0d0e0f"
	v.Holder[lineage], err = transparency.Holder(lineage)
	must(t, err)
	for _, c := range [][2]int{{0, 1}, {0, 7}, {3, 7}, {6, 7}} {
		v.Path[fmt.Sprintf("inclusion %d/%d", c[0], c[1])] = texts(tr.inclusion(t, key, c[0], c[1]).Path)
	}
	for _, c := range [][2]int{{0, 7}, {3, 7}, {4, 7}, {6, 7}, {7, 7}} {
		v.Path[fmt.Sprintf("consistency %d/%d", c[0], c[1])] = texts(tr.consistency(t, key, c[0], c[1]).Path)
	}
	for name, change := range map[string]func(*transparency.Head){
		"size changed":      func(h *transparency.Head) { h.Size = 6 },
		"time changed":      func(h *transparency.Head) { h.At = 2 },
		"root changed":      func(h *transparency.Head) { h.Root = protocol.H(nil) },
		"log changed":       func(h *transparency.Head) { h.Log = protocol.H(nil) },
		"signature changed": func(h *transparency.Head) { h.Signature = bytes.Clone(h.Signature); h.Signature[12] ^= 1 },
	} {
		bad := head
		change(&bad)
		raw, err := protocol.EncodeJSON(bad)
		must(t, err)
		v.Refused[name] = string(raw)
	}
	return v
}

// message is written from SPEC.md, not from the code.
func message(h transparency.Head) []byte {
	m := append([]byte("bidseal/ca tree head 1\x00"), h.Log...)
	for _, n := range []uint64{h.Size, uint64(h.At)} {
		for shift := 56; shift >= 0; shift -= 8 {
			m = append(m, byte(n>>shift))
		}
	}
	return append(m, h.Root...)
}

func texts(path []protocol.Bytes) []string {
	out := []string{}
	for _, hash := range path {
		out = append(out, hex.EncodeToString(hash))
	}
	return out
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(text)
	must(t, err)
	return raw
}

func TestVectors(t *testing.T) {
	const path = "testdata/vectors.json"
	if *update {
		raw, err := json.MarshalIndent(makeVectors(t), "", "  ")
		must(t, err)
		must(t, os.WriteFile(path, append(raw, '\n'), 0o644))
	}
	raw, err := os.ReadFile(path)
	must(t, err)
	var v vectors
	must(t, json.Unmarshal(raw, &v))
	public, err := protocol.ParseKey(unhex(t, v.Key))
	must(t, err)
	tr := &tree{memory: newMemory()}
	for i, leaf := range v.Leaves {
		tr.add(t, []byte(leaf))
		if hex.EncodeToString(reference(tr.leaves)) != v.Roots[i+1] {
			t.Errorf("root %d", i+1)
		}
	}
	var head transparency.Head
	must(t, protocol.DecodeJSON([]byte(v.Head), &head))
	if must(t, head.Verify(public)); hex.EncodeToString(message(head)) != v.Message || !protocol.Verify(public, unhex(t, v.Message), head.Signature) {
		t.Error("the head's message")
	}
	for name, text := range v.Refused {
		var bad transparency.Head
		must(t, protocol.DecodeJSON([]byte(text), &bad))
		if err := bad.Verify(public); !errors.Is(err, transparency.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for lineage, want := range v.Holder {
		if got, err := transparency.Holder(lineage); err != nil || got != want {
			t.Errorf("holder %s, %v", got, err)
		}
	}
	for name, want := range v.Path {
		var kind string
		var a, b uint64
		if _, err := fmt.Sscanf(name, "%s %d/%d", &kind, &a, &b); err != nil {
			t.Fatal(err)
		}
		prove := transparency.Inclusion
		if kind == "consistency" {
			prove = transparency.Consistency
		}
		path, err := prove(t.Context(), tr, a, b)
		must(t, err)
		if !slices.Equal(texts(transparency.Path(path)), want) {
			t.Errorf("%s: %v", name, path)
		}
	}
}
