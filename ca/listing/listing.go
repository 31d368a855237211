// Package listing is the authority's second room: the public listing of the
// certificates that it issued and the keys that it released, a Merkle tree whose
// leaves the audit log names. Package transparency has the tree and its proofs.
package listing

import (
	"context"
	"crypto"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/ca/transparency"
	"github.com/bidseal/bidseal/internal/sqldb"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// Leaf is the part of an audit entry that names a leaf of the listing.
type Leaf struct {
	Index uint64 `json:"index"`
	Hash  string `json:"hash"`
}

// Listing is the public listing of what the authority did: a Merkle tree.
type Listing struct {
	key  crypto.Signer
	now  func() time.Time
	db   *sqldb.DB
	oids trust.OIDs
}

// New is the listing in a database. Heads are signed under key;
// organisations' certificates are read by oids.
func New(key crypto.Signer, now func() time.Time, db *sqldb.DB, oids trust.OIDs) *Listing {
	return &Listing{key: key, now: now, db: db, oids: oids}
}

// treeNodes keeps the listing's tree in the transaction that appends to it.
type treeNodes struct{ tx kmc.Querier }

func (n treeNodes) Node(ctx context.Context, level uint, index uint64) ([]byte, error) {
	var hash []byte
	err := n.tx.QueryRowContext(ctx, `SELECT hash FROM ca_tree_nodes WHERE level = $1 AND idx = $2`, int64(level), int64(index)).Scan(&hash)
	return hash, err
}

func (n treeNodes) Put(ctx context.Context, level uint, index uint64, hash []byte) error {
	_, err := n.tx.ExecContext(ctx, `INSERT INTO ca_tree_nodes (level, idx, hash) VALUES ($1, $2, $3)`, int64(level), int64(index), hash)
	return err
}

// treeSize is the number of leaves.
func treeSize(ctx context.Context, tx kmc.Querier) (uint64, error) {
	var last int64
	err := tx.QueryRowContext(ctx, `SELECT idx FROM ca_tree_leaves ORDER BY idx DESC LIMIT 1`).Scan(&last)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("size of the listing: %w", err)
	}
	return uint64(last) + 1, nil
}

// Append appends a leaf in the caller's transaction; the caller's audit entry
// carries what it returns.
func Append(ctx context.Context, tx kmc.Querier, name string, leaf transparency.Leaf) (*Leaf, error) {
	raw, err := leaf.Marshal()
	if err != nil {
		return nil, err
	}
	size, err := treeSize(ctx, tx)
	if err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO ca_tree_leaves (idx, name, data) VALUES ($1, $2, $3)`, int64(size), name, raw); err != nil {
		return nil, fmt.Errorf("store leaf: %w", err)
	}
	hash := transparency.Hasher{}.HashLeaf(raw)
	if err := transparency.Append(ctx, treeNodes{tx}, size, hash); err != nil {
		return nil, fmt.Errorf("append to the listing: %w", err)
	}
	return &Leaf{Index: size, Hash: hex.EncodeToString(hash)}, nil
}

// Certificate is what the listing needs to know about a certificate.
type Certificate struct {
	Profile issuance.Name
	Lineage string // lower-case hexadecimal; may be empty
	Cert    *smx509.Certificate
}

// AppendCertificate puts a certificate into the listing.
func (l *Listing) AppendCertificate(ctx context.Context, tx kmc.Querier, r Certificate) (*Leaf, error) {
	digest := trust.Digest(r.Cert)
	leaf := transparency.Leaf{
		Kind: transparency.LeafCertificate, At: l.now().Unix(), Digest: hex.EncodeToString(digest[:]), Serial: trust.SerialHex(r.Cert.SerialNumber),
		Profile: string(r.Profile), NotBefore: r.Cert.NotBefore.Unix(), NotAfter: r.Cert.NotAfter.Unix(),
	}
	if r.Lineage != "" {
		var err error
		if leaf.Holder, err = transparency.Holder(r.Lineage); err != nil {
			return nil, err
		}
	}
	if err := l.describe(&leaf, r.Profile, r.Cert); err != nil {
		return nil, err
	}
	return Append(ctx, tx, leaf.Digest, leaf)
}

// describe adds what the public may read, by profile: everything of a certificate
// that names no human being, the register's data of an organisation, nothing of a
// person. A profile that is not known here counts as a person's.
func (l *Listing) describe(leaf *transparency.Leaf, profile issuance.Name, cert *smx509.Certificate) error {
	switch profile {
	case issuance.Root, issuance.Issuing, issuance.OCSP, issuance.Timestamp, issuance.Platform, issuance.SealMaker:
		leaf.Certificate = cert.Raw
	case issuance.OrganisationSigning, issuance.OrganisationEncryption:
		identity, err := trust.ReadSubject(cert, l.oids)
		if err != nil {
			return fmt.Errorf("listing: %w", err)
		}
		leaf.Organisation, leaf.CreditCode, leaf.Role = identity.Organisation, identity.CreditCode, identity.Role
	}
	return nil
}

// Head signs the listing as it is now.
func (l *Listing) Head(ctx context.Context) (*transparency.Head, error) {
	var head *transparency.Head
	err := l.db.View(ctx, func(tx *sql.Tx) (err error) {
		size, err := treeSize(ctx, tx)
		if err != nil {
			return err
		}
		head, err = l.treeHead(ctx, tx, size)
		return err
	})
	return head, err
}

// treeHead signs the tree of the first size leaves.
func (l *Listing) treeHead(ctx context.Context, tx kmc.Querier, size uint64) (*transparency.Head, error) {
	root, err := transparency.Root(ctx, treeNodes{tx}, size)
	if err != nil {
		return nil, err
	}
	return transparency.SignHead(l.key, size, l.now().UnixMilli(), root)
}

// Entries returns at most limit leaves from start on, and how many there are.
func (l *Listing) Entries(ctx context.Context, start uint64, limit int) (leaves []protocol.Bytes, size uint64, err error) {
	err = l.db.View(ctx, func(tx *sql.Tx) error {
		if size, err = treeSize(ctx, tx); err != nil || start >= size {
			return err
		}
		rows, err := tx.QueryContext(ctx, `SELECT data FROM ca_tree_leaves WHERE idx >= $1 ORDER BY idx LIMIT $2`, int64(start), limit)
		if err != nil {
			return fmt.Errorf("read the listing: %w", err)
		}
		defer rows.Close()
		for rows.Next() {
			var leaf []byte
			if err := rows.Scan(&leaf); err != nil {
				return fmt.Errorf("read the listing: %w", err)
			}
			leaves = append(leaves, leaf)
		}
		return rows.Err()
	})
	return leaves, size, err
}

// Listed names an entry of the listing: one of the two is set.
type Listed struct {
	Certificate string // SM3 of the DER, hexadecimal
	Release     string // id of a recovery
}

// Proof proves that an entry stands in the tree of the first size leaves, all
// of them if zero.
func (l *Listing) Proof(ctx context.Context, which Listed, size uint64) (*transparency.InclusionProof, error) {
	proof := &transparency.InclusionProof{V: headVersion}
	err := l.db.View(ctx, func(tx *sql.Tx) error {
		index, err := l.findLeaf(ctx, tx, which, &proof.Leaf)
		if err != nil {
			return err
		}
		all, err := treeSize(ctx, tx)
		if err != nil {
			return err
		}
		if size == 0 {
			size = all
		}
		if size > all || index >= size {
			return protocol.Errorf(protocol.CodeNotFound, "entry %d is not in a tree of %d; there are %d", index, size, all)
		}
		path, err := transparency.Inclusion(ctx, treeNodes{tx}, index, size)
		if err != nil {
			return err
		}
		head, err := l.treeHead(ctx, tx, size)
		if err != nil {
			return err
		}
		proof.Index, proof.Path, proof.Head = index, transparency.Path(path), *head
		return nil
	})
	if err != nil {
		return nil, err
	}
	return proof, nil
}

func (l *Listing) findLeaf(ctx context.Context, tx *sql.Tx, which Listed, leaf *protocol.Bytes) (uint64, error) {
	name := strings.ToLower(which.Certificate) + which.Release
	var index int64
	var raw []byte
	err := tx.QueryRowContext(ctx, `SELECT idx, data FROM ca_tree_leaves WHERE name = $1`, name).Scan(&index, &raw)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, protocol.Errorf(protocol.CodeNotFound, "no such entry in the listing")
	}
	if err != nil {
		return 0, fmt.Errorf("read the listing: %w", err)
	}
	*leaf = raw
	return uint64(index), nil
}

// Consistency proves that the tree of the first size continues in the tree of
// the second.
func (l *Listing) Consistency(ctx context.Context, first, second uint64) (*transparency.ConsistencyProof, error) {
	proof := &transparency.ConsistencyProof{V: headVersion}
	err := l.db.View(ctx, func(tx *sql.Tx) error {
		all, err := treeSize(ctx, tx)
		if err != nil {
			return err
		}
		if first > second || second > all {
			return protocol.Errorf(protocol.CodeMalformed, "from %d to %d in a tree of %d", first, second, all)
		}
		path, err := transparency.Consistency(ctx, treeNodes{tx}, first, second)
		if err != nil {
			return err
		}
		proof.Path = transparency.Path(path)
		for size, into := range map[uint64]*transparency.Head{first: &proof.First, second: &proof.Second} {
			head, err := l.treeHead(ctx, tx, size)
			if err != nil {
				return err
			}
			*into = *head
		}
		if first == second {
			proof.First = proof.Second
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return proof, nil
}

// headVersion is the version of heads and proofs.
const headVersion = 1
