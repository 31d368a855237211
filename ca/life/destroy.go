package life

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/internal/sqldb"
)

// Destruction names what a reissue leaves behind on a lost phone.
type Destruction struct {
	Issuance string // the reissue, lower-case hexadecimal; the same one may come again
	Lineage  string // lower-case hexadecimal
	Device   string // protocol.DeviceID of the lost phone
	Account  string // opaque
}

// AssistDestroyer destroys a server's half of what opens the keystores of a
// device (password assist and reset shares). Afterwards no copy of them can be
// opened, not even with the right password. The same destruction may be asked for
// any number of times; nothing to destroy is not an error.
type AssistDestroyer interface {
	DestroyAssist(ctx context.Context, d Destruction) error
}

// destroyPending hands on what reissues asked for. It is asked for in the
// transaction of the reissue and stays until the destroyer has confirmed it: a
// crash or an error in between only delays it.
func (l *Life) destroyPending(ctx context.Context) {
	if l.assist == nil {
		return
	}
	all, err := l.pendingDestructions(ctx)
	if err != nil {
		l.log.LogAttrs(ctx, slog.LevelError, "read destructions", slog.Any("error", err))
		return
	}
	for _, d := range all {
		if err := l.destroy(ctx, d); err != nil {
			l.log.LogAttrs(ctx, slog.LevelError, "the assist of a lost phone is not destroyed yet", slog.String("device", d.Device), slog.Any("error", err))
		}
	}
}

func (l *Life) destroy(ctx context.Context, d Destruction) error {
	if err := l.assist.DestroyAssist(ctx, d); err != nil {
		return err
	}
	return l.db.Update(ctx, func(tx *sql.Tx) error {
		won, err := sqldb.Changed(tx.ExecContext(ctx, `UPDATE ca_destructions SET state = 'done' WHERE issuance = $1 AND state = 'pending'`, d.Issuance))
		if err != nil || !won {
			return err
		}
		return l.audit.Append(ctx, tx, audit.ActorAuthority, audit.EventAssistDestroyed, map[string]string{"destruction": d.Issuance, "lineage": d.Lineage, "device": d.Device})
	})
}

func (l *Life) pendingDestructions(ctx context.Context) ([]Destruction, error) {
	rows, err := l.db.Reader().QueryContext(ctx, `SELECT issuance, lineage, device, account FROM ca_destructions WHERE state = 'pending' ORDER BY issuance`)
	if err != nil {
		return nil, fmt.Errorf("read destructions: %w", err)
	}
	defer rows.Close()
	var all []Destruction
	for rows.Next() {
		var d Destruction
		if err := rows.Scan(&d.Issuance, &d.Lineage, &d.Device, &d.Account); err != nil {
			return nil, fmt.Errorf("read destructions: %w", err)
		}
		all = append(all, d)
	}
	return all, rows.Err()
}
