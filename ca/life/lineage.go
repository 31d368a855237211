package life

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/internal/sqldb"
	"github.com/bidseal/bidseal/protocol"
)

// Operations of a lineage, as codes and issuances name them.
const (
	OperationNew   = "new"
	OperationRenew = "renew"
	opChange       = "change"
	opReissue      = "reissue"
)

// lineageRow is where a lineage stands. Its certificates follow one another:
// an issuance claims the lineage when it begins (pending) and becomes its head
// in the transaction that stores its certificates. An operation that finds
// another head or another claim than it expected changes nothing.
type lineageRow struct {
	id, head, pending, device string
}

// readLineage returns nil if there is none.
func readLineage(ctx context.Context, q kmc.Querier, id string) (*lineageRow, error) {
	l := lineageRow{id: id}
	err := q.QueryRowContext(ctx, `SELECT head, pending, device FROM ca_lineages WHERE lineage = $1`, id).Scan(&l.head, &l.pending, &l.device)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read lineage: %w", err)
	}
	return &l, nil
}

// claimLineage lets an issuance begin: for the first certificate the row is
// made, for every other the head must be the predecessor and nothing under way.
func claimLineage(ctx context.Context, tx kmc.Querier, r *Issuance) error {
	if r.Operation == OperationNew {
		_, err := tx.ExecContext(ctx, `INSERT INTO ca_lineages (lineage, head, pending, device) VALUES ($1, '', $2, $3)`, r.lineage, r.ID, r.device)
		if err != nil {
			return fmt.Errorf("claim lineage: %w", err)
		}
		return nil
	}
	won, err := sqldb.Changed(tx.ExecContext(ctx, `UPDATE ca_lineages SET pending = $1 WHERE lineage = $2 AND head = $3 AND pending = ''`, r.ID, r.lineage, r.predecessor))
	if err != nil {
		return fmt.Errorf("claim lineage: %w", err)
	}
	if !won {
		return protocol.Errorf(protocol.CodeIssuanceConflict, "another issuance for this certificate is under way or was faster")
	}
	return nil
}

// advanceLineage makes the claiming issuance the head.
func advanceLineage(ctx context.Context, tx kmc.Querier, r *Issuance) error {
	won, err := sqldb.Changed(tx.ExecContext(ctx, `UPDATE ca_lineages SET head = $1, pending = '', device = $2 WHERE lineage = $3 AND head = $4 AND pending = $5`,
		r.SignSerial, r.device, r.lineage, r.predecessor, r.ID))
	if err != nil {
		return fmt.Errorf("advance lineage: %w", err)
	}
	if !won {
		return fmt.Errorf("advance lineage %s: issuance %s holds no claim", r.lineage, r.ID)
	}
	return nil
}

// releaseLineage gives up a claim.
func releaseLineage(ctx context.Context, tx kmc.Querier, r *Issuance) error {
	if _, err := tx.ExecContext(ctx, `UPDATE ca_lineages SET pending = '' WHERE lineage = $1 AND pending = $2`, r.lineage, r.ID); err != nil {
		return fmt.Errorf("release lineage: %w", err)
	}
	return nil
}

// withdraw ends what was authorised for a lineage and has not come to an end:
// open codes, and an issuance under way. The operator's later
// decision prevails.
func (l *Life) withdraw(ctx context.Context, tx *sql.Tx, actor audit.Actor, lineage, why string) error {
	if lineage == "" {
		return nil
	}
	if err := l.voidCodes(ctx, tx, actor, lineage, codeWithdrawn, why); err != nil {
		return err
	}
	for _, withdraw := range l.withdrawn {
		if err := withdraw(ctx, tx, actor, lineage, why); err != nil {
			return err
		}
	}
	line, err := readLineage(ctx, tx, lineage)
	if err != nil || line == nil || line.pending == "" {
		return err
	}
	r, err := ReadIssuance(ctx, tx, line.pending)
	if err != nil || r == nil {
		return err
	}
	return l.Refuse(ctx, tx, r, protocol.CodeEnrolmentCode, "withdrawn: "+why)
}

// States of codes that can no longer be used. A void code was replaced by another;
// a withdrawn one is replaced only after a new approval.
const (
	codeVoid      = "void"
	codeWithdrawn = "withdrawn"
)

// voidCodes voids the open codes of a lineage, and withdraws void ones.
func (l *Life) voidCodes(ctx context.Context, tx *sql.Tx, actor audit.Actor, lineage, state, why string) error {
	open, err := openCodes(ctx, tx, lineage, state)
	if err != nil || len(open) == 0 {
		return err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE ca_codes SET state = $2 WHERE lineage = $1 AND (state = 'open' OR state = 'void' AND $2 = 'withdrawn')`,
		lineage, state); err != nil {
		return fmt.Errorf("void codes: %w", err)
	}
	return l.audit.Append(ctx, tx, actor, audit.EventCodeVoid, map[string]any{"lineage": lineage, "codes": open, "why": why})
}

// openCodes are the digests of the codes of a lineage that are to be in a state.
func openCodes(ctx context.Context, tx *sql.Tx, lineage, state string) ([]string, error) {
	rows, err := tx.QueryContext(ctx, `SELECT digest FROM ca_codes WHERE lineage = $1 AND (state = 'open' OR state = 'void' AND $2 = 'withdrawn') ORDER BY digest`, lineage, state)
	if err != nil {
		return nil, fmt.Errorf("read codes: %w", err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var digest string
		if err := rows.Scan(&digest); err != nil {
			return nil, fmt.Errorf("read codes: %w", err)
		}
		all = append(all, digest)
	}
	return all, rows.Err()
}

// WithdrawCodes withdraws every code that could still be used, and returns their
// digests.
func WithdrawCodes(ctx context.Context, tx *sql.Tx) ([]string, error) {
	rows, err := tx.QueryContext(ctx, `SELECT digest FROM ca_codes WHERE state IN ('open', 'void') ORDER BY digest`)
	if err != nil {
		return nil, fmt.Errorf("open codes: %w", err)
	}
	defer rows.Close()
	codes := []string{}
	for rows.Next() {
		var digest string
		if err := rows.Scan(&digest); err != nil {
			return nil, fmt.Errorf("open codes: %w", err)
		}
		codes = append(codes, digest)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("open codes: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `UPDATE ca_codes SET state = 'withdrawn' WHERE state IN ('open', 'void')`); err != nil {
		return nil, fmt.Errorf("void codes: %w", err)
	}
	return codes, nil
}
