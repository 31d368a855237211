package life

import (
	"context"
	"time"

	"github.com/bidseal/bidseal/ca/assist"
)

// RenewedEnd is renewedEnd.
func RenewedEnd(end time.Time, years int, now time.Time) (time.Time, error) {
	return renewedEnd(end, years, now)
}

// AuditAssist is auditAssist.
func (l *Life) AuditAssist(ctx context.Context, tx assist.Querier, e assist.Event) error {
	return l.auditAssist(ctx, tx, e)
}
