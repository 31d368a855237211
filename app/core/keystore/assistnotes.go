package keystore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/protocol"
)

const notesFile = "assist.json"

// notes are what the phone has to remember between two tries. They decide
// nothing: the server counts.
type notes struct {
	V  int            `json:"v"`
	ID protocol.Bytes `json:"id"` // of the keystore
	// Open is a try whose response was lost. The same password gives the same
	// blinded element under it, so that the server counts it once.
	Open *openTry `json:"open,omitzero"`
	// Proof is a success that the server was not told of yet.
	Proof *assistapi.ProveRequest `json:"proof,omitzero"`
	Count int                     `json:"count"` // wrong passwords, as the server said last
	protocol.Kept
}

// openTry is one try. The seed alone reveals nothing; with a secret of the device
// and the stretched password it gives the blind.
type openTry struct {
	Epoch   int64          `json:"epoch"`
	Attempt protocol.Bytes `json:"attempt"`
	Seed    protocol.Bytes `json:"seed"`
	protocol.Kept
}

// readNotes ignores notes that cannot be read or belong to another keystore.
func (s *Store) readNotes(ctx context.Context, id []byte) (notes, error) {
	fresh := notes{V: Version, ID: id}
	raw, err := s.files.Read(ctx, notesFile)
	if errors.Is(err, fs.ErrNotExist) {
		return fresh, nil
	}
	if err != nil {
		return fresh, fmt.Errorf("notes of the password server: %w", err)
	}
	defer clear(raw)
	var n notes
	if err := protocol.DecodeJSON(raw, &n); err != nil || n.V != Version || !protocol.Equal(n.ID, id) || n.Count < 0 || n.Count > assistapi.MaxTries {
		return fresh, nil
	}
	if n.Open != nil && (len(n.Open.Attempt) != assistapi.IDSize || len(n.Open.Seed) != assistapi.SeedSize) {
		n.Open = nil
	}
	return n, nil
}

// changeNotes changes them under their lock.
func (s *Store) changeNotes(ctx context.Context, id []byte, change func(*notes) error) error {
	release, err := s.files.Lock(ctx, notesFile)
	if err != nil {
		return err
	}
	defer release()
	n, err := s.readNotes(ctx, id)
	if err != nil {
		return err
	}
	if err := change(&n); err != nil {
		return err
	}
	raw, err := protocol.EncodeJSON(n)
	if err != nil {
		return err
	}
	defer clear(raw)
	if err := s.files.Write(ctx, notesFile, raw); err != nil {
		return fmt.Errorf("notes of the password server: %w", err)
	}
	return nil
}

// noteTry finds the open try of an epoch, or stores a new one before it is made.
func (s *Store) noteTry(ctx context.Context, id []byte, epoch int64) (try openTry, err error) {
	n, err := s.readNotes(ctx, id)
	if err != nil {
		return try, err
	}
	if n.Open != nil && n.Open.Epoch == epoch {
		return *n.Open, nil
	}
	try.Epoch = epoch
	if try.Attempt, err = protocol.Random(assistapi.IDSize); err != nil {
		return try, err
	}
	if try.Seed, err = protocol.Random(assistapi.SeedSize); err != nil {
		return try, err
	}
	return try, s.changeNotes(ctx, id, func(n *notes) error { n.Open = &try; return nil })
}

// endTry forgets an open try; another one that was begun meanwhile stays.
func (n *notes) endTry(attempt []byte) {
	if n.Open != nil && protocol.Equal(n.Open.Attempt, attempt) {
		n.Open = nil
	}
}
