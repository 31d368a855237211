package ca_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/listing"
	"github.com/bidseal/bidseal/ca/transparency"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
)

// TestListingProvesEveryCertificate: each has a proof that verifies with the log's
// key alone, and a head kept before is continued.
func TestListingProvesEveryCertificate(t *testing.T) {
	f := newFixture(t)
	kept, err := f.Listing.Head(t.Context())
	must(t, err)
	e := f.enrol(t)
	all, err := f.Status.Certificates(t.Context(), "", 100)
	must(t, err)
	for _, c := range all {
		digest := hex.EncodeToString(protocol.H(c.Definition))
		bySerial, err := f.Status.Digest(t.Context(), c.Serial)
		must(t, err)
		for _, name := range []string{digest, bySerial} {
			proof, err := f.Listing.Proof(t.Context(), listing.Listed{Certificate: name}, 0)
			must(t, err)
			must(t, transparency.VerifyInclusion(f.Audit.Key(), proof))
			leaf, err := transparency.ReadLeaf(proof.Leaf)
			must(t, err)
			if leaf.Digest != digest || leaf.Serial != c.Serial {
				t.Errorf("%s: %+v", c.Profile, leaf)
			}
		}
	}
	later, err := f.Listing.Consistency(t.Context(), kept.Size, uint64(len(all)))
	must(t, err)
	if !bytes.Equal(later.First.Root, kept.Root) {
		t.Error("the listing forgot what it was")
	}
	later.First = *kept
	must(t, transparency.VerifyConsistency(f.Audit.Key(), later))
	digest := trust.Digest(e.sign)
	if _, err := f.Listing.Proof(t.Context(), listing.Listed{Certificate: hex.EncodeToString(digest[:])}, kept.Size); protocol.CodeOf(err) != protocol.CodeNotFound {
		t.Errorf("in the tree before it was issued: %v", err)
	}
}

// TestListingNamesNobody: persons stand there as digests, organisations with the
// register's data, and only what names no human being in full.
func TestListingNamesNobody(t *testing.T) {
	f := newFixture(t)
	employee := f.enrol(t)
	file, err := f.Life.NewEnrolmentCode(t.Context(), audit.Local(""), life.CodeRequest{Subject: caapi.Subject{Kind: "person", Name: "李四"}})
	must(t, err)
	p := newPhone(t, f.clock, file.Code)
	raw, err := f.Life.Enrol(t.Context(), p.call(t))
	must(t, err)
	person := p.read(t, raw)
	leaves, size, err := f.Listing.Entries(t.Context(), 0, 100)
	must(t, err)
	if size != 8 || len(leaves) != 8 {
		t.Fatalf("%d of %d leaves", len(leaves), size)
	}
	full := 0
	for _, raw := range leaves {
		leaf, err := transparency.ReadLeaf(raw)
		must(t, err)
		if bytes.Contains(raw, []byte("张三")) || bytes.Contains(raw, []byte("李四")) || bytes.Contains(raw, []byte(employee.answer.Lineage)) {
			t.Errorf("a person in %s", raw)
		}
		if leaf.Certificate != nil {
			full++
		}
		if leaf.Digest == hex.EncodeToString(protocol.H(employee.sign.Raw)) && (leaf.CreditCode != "91330100MA27XL0G0X" || leaf.Organisation == "" || leaf.Role != "admin") {
			t.Errorf("organisation's leaf: %+v", leaf)
		}
		if leaf.Digest == hex.EncodeToString(protocol.H(person.sign.Raw)) {
			want, err := transparency.Holder(person.answer.Lineage)
			must(t, err)
			if leaf.Holder != want || leaf.Organisation != "" || leaf.CreditCode != "" {
				t.Errorf("person's leaf: %+v", leaf)
			}
		}
	}
	if full != 4 { // root, issuing authority, responder, timestamp authority
		t.Errorf("%d certificates in full", full)
	}
}

// TestVerifyLogFindsAnAlteredListing: leaves and nodes.
func TestVerifyLogFindsAnAlteredListing(t *testing.T) {
	for name, query := range map[string]string{
		"leaf altered":   `UPDATE ca_tree_leaves SET data = zeroblob(200) WHERE idx = 3`,
		"leaf removed":   `DELETE FROM ca_tree_leaves WHERE idx = 2`,
		"end removed":    `DELETE FROM ca_tree_leaves WHERE idx = 5`,
		"leaf added":     `INSERT INTO ca_tree_leaves (idx, name, data) VALUES (6, 'x', zeroblob(1))`,
		"leaves swapped": `UPDATE ca_tree_leaves SET data = (SELECT data FROM ca_tree_leaves WHERE idx = 1) WHERE idx = 3`,
		"node altered":   `UPDATE ca_tree_nodes SET hash = zeroblob(32) WHERE level = 1 AND idx = 1`,
		"node removed":   `DELETE FROM ca_tree_nodes WHERE level = 0 AND idx = 3`,
		"node added":     `INSERT INTO ca_tree_nodes (level, idx, hash) VALUES (7, 0, zeroblob(32))`,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.enrol(t)
			must(t, exec(t, f, query))
			if _, err := f.Audit.Verify(t.Context()); !errors.Is(err, audit.ErrLog) {
				t.Errorf("got %v", err)
			}
		})
	}
}
