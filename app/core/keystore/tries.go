package keystore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/protocol"
)

// tries is the counter of wrong passwords. It belongs to one file and epoch; a
// counter of another one counts as none.
type tries struct {
	V     int            `json:"v"`
	ID    protocol.Bytes `json:"id"`
	Epoch int64          `json:"epoch"`
	Count int            `json:"count"`
	protocol.Kept
}

func (s *Store) readTries(ctx context.Context, d *document) (tries, error) {
	fresh := tries{V: Version, ID: d.ID, Epoch: d.Epoch}
	raw, err := s.files.Read(ctx, triesFile)
	if errors.Is(err, fs.ErrNotExist) {
		return fresh, nil
	}
	if err != nil {
		return fresh, fmt.Errorf("count of wrong passwords: %w", err)
	}
	var t tries
	if err := protocol.DecodeJSON(raw, &t); err != nil || t.V != Version || t.Count < 0 {
		// A counter that cannot be read must not give ten more tries.
		fresh.Count = assistapi.MaxTries
		return fresh, nil
	}
	if !protocol.Equal(t.ID, d.ID) || t.Epoch != d.Epoch {
		return fresh, nil
	}
	return t, nil
}

func (s *Store) writeTries(ctx context.Context, t tries) error {
	raw, err := protocol.EncodeJSON(t)
	if err != nil {
		return err
	}
	if err := s.files.Write(ctx, triesFile, raw); err != nil {
		return fmt.Errorf("count of wrong passwords: %w", err)
	}
	return nil
}

// countTry counts one more try before it is evaluated and returns how many are
// left if it is wrong.
func (s *Store) countTry(ctx context.Context, d *document) (left int, err error) {
	release, err := s.files.Lock(ctx, triesFile)
	if err != nil {
		return 0, err
	}
	defer release()
	t, err := s.readTries(ctx, d)
	if err != nil {
		return 0, err
	}
	if t.Count >= assistapi.MaxTries {
		return 0, protocol.Errorf(protocol.CodePasswordLocked, "locked after %d wrong passwords", assistapi.MaxTries)
	}
	t.Count++
	return assistapi.MaxTries - t.Count, s.writeTries(ctx, t)
}

// forgetTries resets the counter after a right password.
func (s *Store) forgetTries(ctx context.Context, d *document) error {
	release, err := s.files.Lock(ctx, triesFile)
	if err != nil {
		return err
	}
	defer release()
	t, err := s.readTries(ctx, d)
	if err != nil {
		return err
	}
	t.Count = 0
	return s.writeTries(ctx, t)
}

// TriesLeft implements keys.Provider.
func (s *Store) TriesLeft(ctx context.Context) (int, error) {
	d, err := s.load(ctx)
	if err != nil {
		return 0, err
	}
	if d == nil {
		return assistapi.MaxTries, nil
	}
	if slot, err := d.assisted(); err != nil || slot != nil {
		if err != nil {
			return 0, err
		}
		return s.assistedLeft(ctx, d)
	}
	t, err := s.readTries(ctx, d)
	if err != nil {
		return 0, err
	}
	return max(0, assistapi.MaxTries-t.Count), nil
}
