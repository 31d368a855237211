package life

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/bidseal/bidseal/protocol"
)

// Reconcile completes what a crash left pending and returns how many issuances
// came to an end. The server calls it at its start. One that cannot be completed
// stays pending and is logged: it hinders no other, and no server from starting.
func (l *Life) Reconcile(ctx context.Context) (int, error) {
	ids, err := l.pendingIssuances(ctx)
	if err != nil {
		return 0, err
	}
	completed := 0
	for _, id := range ids {
		r, err := ReadIssuance(ctx, l.db.Reader(), id)
		if err == nil && r != nil {
			_, err = l.Complete(ctx, r)
		}
		if err == nil || ended(err) {
			completed++
			continue
		}
		l.log.LogAttrs(ctx, slog.LevelError, "an issuance cannot be completed", slog.String("issuance", id), slog.Any("error", err))
	}
	l.destroyPending(ctx)
	return completed, ctx.Err()
}

// ended says that an issuance has come to its end without certificates.
func ended(err error) bool {
	code := protocol.CodeOf(err)
	return code == protocol.CodeLintFailed || code == protocol.CodeEnrolmentCode
}

func (l *Life) pendingIssuances(ctx context.Context) ([]string, error) {
	rows, err := l.db.Reader().QueryContext(ctx, `SELECT id FROM ca_issuances WHERE state = 'pending' ORDER BY created_at, id`)
	if err != nil {
		return nil, fmt.Errorf("read pending issuances: %w", err)
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("read pending issuances: %w", err)
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}
