package listing

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/transparency"
)

// follower holds the listing against the log; see audit.Follower.
type follower struct{ leaves [][]byte } // hashes, in the listing's order

// Follow begins a verification.
func Follow() audit.Follower { return new(follower) }

// Entry notes the leaf that an entry put into the listing.
func (f *follower) Entry(e audit.Entry) error {
	var content struct {
		Leaf *Leaf `json:"leaf"`
	}
	if err := json.Unmarshal([]byte(e.Content), &content); err != nil {
		return fmt.Errorf("entry %d: content: %w", e.Seq, audit.ErrLog)
	}
	if content.Leaf == nil {
		return nil
	}
	hash, err := hex.DecodeString(content.Leaf.Hash)
	if err != nil || len(hash) != transparency.HashSize || content.Leaf.Index != uint64(len(f.leaves)) {
		return fmt.Errorf("entry %d: leaf %d of the listing comes after %d: %w", e.Seq, content.Leaf.Index, len(f.leaves), audit.ErrLog)
	}
	f.leaves = append(f.leaves, hash)
	return nil
}

// Compare holds the stored listing, leaves and tree, against the log.
func (f *follower) Compare(ctx context.Context, tx audit.Querier, report func(string)) (int, error) {
	return len(f.leaves), compareListing(ctx, tx, f.leaves, report)
}

// compareListing holds the stored listing, leaves and tree, against the log.
func compareListing(ctx context.Context, tx audit.Querier, leaves [][]byte, report func(string)) error {
	if err := compareLeaves(ctx, tx, leaves, report); err != nil {
		return err
	}
	level := 0
	for ; len(leaves) > 0; level++ {
		if err := compareNodes(ctx, tx, level, leaves, report); err != nil {
			return err
		}
		leaves = above(leaves)
	}
	var more int64
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM ca_tree_nodes WHERE level >= $1`, level).Scan(&more); err != nil {
		return fmt.Errorf("read the tree: %w", err)
	}
	if more != 0 {
		report(fmt.Sprintf("the tree has %d nodes at level %d and above", more, level))
	}
	return nil
}

// compareLeaves holds the stored leaves against those of the log.
func compareLeaves(ctx context.Context, tx audit.Querier, leaves [][]byte, report func(string)) error {
	rows, err := tx.QueryContext(ctx, `SELECT idx, data FROM ca_tree_leaves ORDER BY idx`)
	if err != nil {
		return fmt.Errorf("read the listing: %w", err)
	}
	defer rows.Close()
	next := int64(0)
	for rows.Next() {
		var index int64
		var data []byte
		if err := rows.Scan(&index, &data); err != nil {
			return fmt.Errorf("read the listing: %w", err)
		}
		for ; next < index; next++ {
			report(fmt.Sprintf("leaf %d of the listing is missing", next))
		}
		next = index + 1
		if index < 0 || index >= int64(len(leaves)) || !bytes.Equal(transparency.Hasher{}.HashLeaf(data), leaves[index]) {
			report(fmt.Sprintf("leaf %d of the listing is not what the log says", index))
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read the listing: %w", err)
	}
	for ; next < int64(len(leaves)); next++ {
		report(fmt.Sprintf("leaf %d of the listing is missing", next))
	}
	return nil
}

// above are the nodes over complete pairs.
func above(nodes [][]byte) [][]byte {
	var up [][]byte
	for i := 0; i+1 < len(nodes); i += 2 {
		up = append(up, transparency.Hasher{}.HashChildren(nodes[i], nodes[i+1]))
	}
	return up
}

func compareNodes(ctx context.Context, tx audit.Querier, level int, want [][]byte, report func(string)) error {
	rows, err := tx.QueryContext(ctx, `SELECT idx, hash FROM ca_tree_nodes WHERE level = $1 ORDER BY idx`, level)
	if err != nil {
		return fmt.Errorf("read the tree: %w", err)
	}
	defer rows.Close()
	found := 0
	for rows.Next() {
		var index int64
		var hash []byte
		if err := rows.Scan(&index, &hash); err != nil {
			return fmt.Errorf("read the tree: %w", err)
		}
		if index < 0 || index >= int64(len(want)) || !bytes.Equal(hash, want[index]) {
			report(fmt.Sprintf("node %d of the tree's level %d is not what the log says", index, level))
		}
		found++
	}
	if found != len(want) && rows.Err() == nil {
		report(fmt.Sprintf("the tree's level %d has %d nodes, not %d", level, found, len(want)))
	}
	return rows.Err()
}
