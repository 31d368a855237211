package keystore

import (
	"context"
	"fmt"

	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/protocol"
)

// lockedFile reads the file under its lock, which the caller releases.
func (s *Store) lockedFile(ctx context.Context) (d *document, release func(), err error) {
	release, err = s.files.Lock(ctx, storeFile)
	if err != nil {
		return nil, nil, err
	}
	d, err = s.load(ctx)
	if err == nil && d == nil {
		err = protocol.Errorf(protocol.CodeNotEnrolled, "no keys on this phone")
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return d, release, nil
}

// ChangePassword implements keys.Provider.
func (s *Store) ChangePassword(ctx context.Context, password, next []byte) error {
	if err := CheckPassword(next); err != nil {
		return err
	}
	d, release, err := s.lockedFile(ctx)
	if err != nil {
		return err
	}
	defer release()
	u, err := s.unlock(ctx, d, password)
	if err != nil {
		return err
	}
	defer u.wipe()
	slot, err := d.assisted()
	if err != nil {
		return err
	}
	helper := s.helper()
	if slot == nil && (helper == nil || !helper.Ready(ctx)) {
		return s.changeAlone(ctx, u, next)
	}
	if err := s.confirmed(ctx, helper, d.ID); err != nil {
		return err
	}
	return s.reseal(ctx, helper, u, next)
}

// changeAlone changes a password that no server helps with.
func (s *Store) changeAlone(ctx context.Context, u *unlocked, password []byte) error {
	dataKey, err := protocol.Random(dataKeySize)
	if err != nil {
		return err
	}
	defer clear(dataKey)
	fresh, err := newSlot(u.doc.ID, u.doc.Epoch+1, s.kdf, password, dataKey)
	if err != nil {
		return err
	}
	next, err := u.under(dataKey, fresh.Epoch, fresh)
	if err != nil {
		return err
	}
	return s.save(ctx, next)
}

// Upgrade implements keys.Assisted.
func (s *Store) Upgrade(ctx context.Context, password []byte) error {
	helper := s.helper()
	d, err := s.load(ctx)
	if err != nil || d == nil || helper == nil {
		return err
	}
	slot, err := d.assisted()
	if err != nil || slot != nil || !helper.Ready(ctx) {
		return err
	}
	u, err := s.unlock(ctx, d, password)
	if err != nil {
		return err
	}
	defer u.wipe()
	return s.upgrade(ctx, u, password)
}

// upgrade puts a file that the password alone opens under the server's help. A
// file that was changed meanwhile has its turn at the next unlocking.
func (s *Store) upgrade(ctx context.Context, u *unlocked, password []byte) error {
	helper := s.helper()
	d, release, err := s.lockedFile(ctx)
	if err != nil {
		return err
	}
	defer release()
	before, err := u.doc.passwordSlot()
	if err != nil {
		return err
	}
	now, err := d.passwordSlot()
	if err != nil || !protocol.Equal(now.ID, before.ID) {
		return nil //nolint:nilerr // another process was here first
	}
	if err := s.reseal(ctx, helper, &unlocked{doc: d, dataKey: u.dataKey}, password); err != nil {
		return err
	}
	if err := s.files.Remove(ctx, triesFile); err != nil {
		return fmt.Errorf("count of wrong passwords: %w", err)
	}
	return nil
}

// unlockNewest unlocks the file; one that another process replaced meanwhile is
// read again.
func (s *Store) unlockNewest(ctx context.Context, password []byte) (*unlocked, error) {
	d, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	if d == nil {
		return nil, protocol.Errorf(protocol.CodeNotEnrolled, "no keys on this phone")
	}
	u, err := s.unlock(ctx, d, password)
	if protocol.CodeOf(err) != protocol.CodeKeystoreGone {
		return u, err
	}
	again, loadErr := s.load(ctx)
	if loadErr != nil || again == nil || again.Epoch == d.Epoch {
		return nil, err
	}
	return s.unlock(ctx, again, password)
}

// assistedLeft is what TriesLeft says of a file that a server helps with.
func (s *Store) assistedLeft(ctx context.Context, d *document) (int, error) {
	n, err := s.readNotes(ctx, d.ID)
	return max(0, assistapi.MaxTries-n.Count), err
}
