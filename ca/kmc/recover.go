package kmc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm3"
)

// Order is an order by two operators: the key of a record, enveloped under a
// public key.
type Order struct {
	Record string
	To     []byte // SubjectPublicKeyInfo of an SM2 key
	// RequestedBy and ApprovedBy name the two operators.
	RequestedBy, ApprovedBy string
	// Check verifies both operators' signatures once more; it is called before the
	// record is opened, and its error stops the recovery.
	Check func() error
}

// ErrDualControl: a recovery without two operators.
var ErrDualControl = errors.New("a recovery needs two operators")

// Recover returns a stored private key as an SM2EnvelopedKey (GB/T 35276) under
// the key of an order. It is the one way to a key outside an issuance, and it takes
// two people: an order by one is refused here, whatever was decided before.
func (c *Centre) Recover(ctx context.Context, tx Querier, o Order) ([]byte, error) {
	if o.RequestedBy == "" || o.ApprovedBy == "" || o.RequestedBy == o.ApprovedBy || o.Check == nil {
		return nil, ErrDualControl
	}
	if err := o.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDualControl, err)
	}
	receiving, err := (&row{spki: o.To}).public()
	if err != nil {
		return nil, fmt.Errorf("receiving key: %w", err)
	}
	r, err := c.read(ctx, tx, o.Record)
	if err != nil {
		return nil, err
	}
	digest := sm3.Sum(o.To)
	if err := c.audit(ctx, tx, Release{ID: o.Record, Lineage: r.lineage, Reason: "recovery", To: hex.EncodeToString(digest[:])}); err != nil {
		return nil, fmt.Errorf("record the release: %w", err)
	}
	key, err := c.unwrap(o.Record, r)
	if err != nil {
		return nil, err
	}
	defer wipe(key)
	der, err := sm2.MarshalEnvelopedPrivateKey(rand.Reader, receiving, key)
	if err != nil {
		return nil, fmt.Errorf("envelope key: %w", err)
	}
	return der, nil
}
