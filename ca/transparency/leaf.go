package transparency

import (
	"encoding/hex"
	"fmt"

	"github.com/bidseal/bidseal/protocol"
)

// Kinds of leaves.
const (
	LeafCertificate = "certificate"
	LeafRecovery    = "recovery"
)

// Leaf is what a leaf says. Its JSON as Marshal writes it once is what is hashed,
// stored and handed out; nobody writes it again.
type Leaf struct {
	V    int    `json:"v"`
	Kind string `json:"kind"`
	At   int64  `json:"at"` // Unix seconds
	// Holder names the holder to whoever knows the lineage id, see Holder; empty
	// for certificates without one.
	Holder string `json:"holder,omitzero"`

	// Of certificates.

	Digest    string `json:"digest,omitzero"` // SM3 of the certificate, lower-case hexadecimal
	Serial    string `json:"serial,omitzero"` // upper-case hexadecimal
	Profile   string `json:"profile,omitzero"`
	NotBefore int64  `json:"not_before,omitzero"` // Unix seconds
	NotAfter  int64  `json:"not_after,omitzero"`
	// Organisation, CreditCode and Role stand in the leaves of organisations.
	Organisation string `json:"organisation,omitzero"`
	CreditCode   string `json:"credit_code,omitzero"`
	Role         string `json:"role,omitzero"`
	// Certificate in DER, where it names no human being.
	Certificate protocol.Bytes `json:"certificate,omitzero"`

	// Of recoveries.

	Release string `json:"release,omitzero"` // the authority's random id of it
	Key     string `json:"key,omitzero"`     // SM3 of the recovered key's SubjectPublicKeyInfo
	Reason  string `json:"reason,omitzero"`  // "reissue" or "recovery"
	To      string `json:"to,omitzero"`      // SM3 of the receiving key's SubjectPublicKeyInfo
}

// Holder is the digest by which leaves name the holder of a lineage:
// SM3("bidseal/ca holder 1" 0x00 | lineage), lower-case hexadecimal. lineage is the
// id in lower-case hexadecimal, as certificates carry it.
func Holder(lineage string) (string, error) {
	id, err := hex.DecodeString(lineage)
	if err != nil || len(id) == 0 {
		return "", fmt.Errorf("lineage id %.64q", lineage)
	}
	return hex.EncodeToString(protocol.H([]byte("bidseal/ca holder 1\x00"), id)), nil
}

// Marshal writes a new leaf.
func (l Leaf) Marshal() ([]byte, error) {
	l.V = version
	raw, err := protocol.EncodeJSON(l)
	if err != nil {
		return nil, fmt.Errorf("write leaf: %w", err)
	}
	return raw, nil
}

// ReadLeaf reads the bytes of a leaf.
func ReadLeaf(raw []byte) (*Leaf, error) {
	var l Leaf
	if err := protocol.DecodeJSON(raw, &l); err != nil {
		return nil, fmt.Errorf("read leaf: %w", err)
	}
	if l.V != version || l.Kind != LeafCertificate && l.Kind != LeafRecovery {
		return nil, fmt.Errorf("read leaf: version %d, kind %.32q", l.V, l.Kind)
	}
	return &l, nil
}
