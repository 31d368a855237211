package assist

import (
	"context"
	"fmt"
)

// DestroyForDevice destroys the server's half of everything that a device keeps,
// in the caller's transaction: its keystores cannot be unlocked any more, and it
// gets no new ones. It is for the reissue of a certificate to another device and
// for a device that is given up. Again it changes nothing.
func (s *Service) DestroyForDevice(ctx context.Context, tx Querier, device, reason string) error {
	done, err := tx.ExecContext(ctx, `INSERT INTO assist_destroyed (device, at) VALUES ($1, $2) ON CONFLICT (device) DO NOTHING`, device, s.o.Now().Unix())
	if err != nil {
		return fmt.Errorf("destroy keystores: %w", err)
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		return err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE assist_keystores SET state = $1 WHERE device = $2`, stateDestroyed, device); err != nil {
		return fmt.Errorf("destroy keystores: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `UPDATE assist_epochs SET wrapped = $1, share = $1 WHERE device = $2`, overwritten(), device); err != nil {
		return fmt.Errorf("destroy keystores: %w", err)
	}
	for _, query := range []string{`DELETE FROM assist_epochs WHERE device = $1`, `DELETE FROM assist_attempts WHERE device = $1`} {
		if _, err := tx.ExecContext(ctx, query, device); err != nil {
			return fmt.Errorf("destroy keystores: %w", err)
		}
	}
	return s.o.Audit(ctx, tx, Event{Name: Destroyed, Device: device, Reason: reason})
}
