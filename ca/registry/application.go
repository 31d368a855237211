package registry

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
)

// applicationRow is an enrolment application in the database.
type applicationRow struct {
	id, state, registeredBy, decidedBy, reason, code string
	request                                          []byte
	createdAt                                        int64
}

const applicationColumns = `id, state, registered_by, decided_by, reason, code, request, created_at`

func scanApplication(scan func(...any) error) (*applicationRow, error) {
	var r applicationRow
	err := scan(&r.id, &r.state, &r.registeredBy, &r.decidedBy, &r.reason, &r.code, &r.request, &r.createdAt)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, protocol.Errorf(protocol.CodeNotFound, "no such application")
	}
	if err != nil {
		return nil, fmt.Errorf("read application: %w", err)
	}
	return &r, nil
}

func (r *applicationRow) info() (*caapi.ApplicationInfo, error) {
	info := &caapi.ApplicationInfo{
		V: caapi.Version, ID: r.id, State: r.state, Reason: r.reason, Digest: hex.EncodeToString(protocol.H(r.request)),
		RegisteredBy: r.registeredBy, DecidedBy: r.decidedBy, CreatedAt: r.createdAt,
	}
	return info, protocol.DecodeJSON(r.request, &info.Application)
}

const applicationByID = `SELECT ` + applicationColumns + ` FROM ca_applications WHERE id = $1`

// RegisterApplication stores an enrolment application of a registration operator. The same bytes under
// the same request id are the same application.
//
// Errors: malformed, conflict, lint_failed.
func (r *Registry) RegisterApplication(ctx context.Context, call *OperatorCall) (*caapi.ApplicationInfo, error) {
	var application caapi.Application
	if err := protocol.DecodeJSON(call.Body, &application); err != nil {
		return nil, err
	}
	if err := r.checkApplication(&application); err != nil {
		return nil, err
	}
	id := hex.EncodeToString(application.RequestID)
	var row *applicationRow
	err := r.db.Update(ctx, func(tx *sql.Tx) (err error) {
		row, err = scanApplication(tx.QueryRowContext(ctx, applicationByID, id).Scan)
		if err == nil {
			if row.registeredBy != call.ID || !protocol.Equal(row.request, call.Body) {
				return protocol.Errorf(protocol.CodeConflict, "the request id belongs to other content")
			}
			return nil
		}
		if protocol.CodeOf(err) != protocol.CodeNotFound {
			return err
		}
		row = &applicationRow{id: id, state: caapi.ApplicationPending, registeredBy: call.ID, request: call.Body, createdAt: r.now().Unix()}
		if _, err := tx.ExecContext(ctx, `INSERT INTO ca_applications (id, request, state, registered_by, created_at) VALUES ($1, $2, $3, $4, $5)`,
			row.id, row.request, row.state, row.registeredBy, row.createdAt); err != nil {
			return fmt.Errorf("store application: %w", err)
		}
		return r.audit.Append(ctx, tx, call.Actor(), audit.EventApplicationRegistered, map[string]string{"registration": id, "request": hex.EncodeToString(protocol.H(call.Body)), "by": call.Serial})
	})
	if err != nil {
		return nil, err
	}
	return row.info()
}

func (r *Registry) checkApplication(application *caapi.Application) error {
	if application.V != caapi.Version || len(application.RequestID) != caapi.RequestIDSize {
		return protocol.Errorf(protocol.CodeMalformed, "version or request id")
	}
	switch application.Operation {
	case caapi.OperationNew:
		if application.Subject == nil || application.Days < 1 || application.Days > 3*366+93 || application.Serial != "" {
			return protocol.Errorf(protocol.CodeMalformed, "a new certificate needs subject and days")
		}
		return r.life.CheckCodeRequest(life.CodeRequest{Subject: *application.Subject, Validity: Days(application.Days), Expires: life.DefaultExpiry})
	case caapi.OperationRenew, caapi.OperationReissue:
		if application.Serial == "" || len(application.Serial) > 64 || application.Subject != nil || application.Days != 0 {
			return protocol.Errorf(protocol.CodeMalformed, "a renewal or reissue needs the serial number alone")
		}
		return nil
	}
	return protocol.Errorf(protocol.CodeMalformed, "operation %.32q", application.Operation)
}

func Days(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }

// DecideApplication approves an enrolment application, or rejects it where approve is false. The
// approval names the digest of what was registered: an operator approves what was
// read, nothing else. The operator who registered it cannot decide it.
//
// Errors: malformed, not_found, forbidden, conflict.
func (r *Registry) DecideApplication(ctx context.Context, call *OperatorCall, id string, approve bool) (*caapi.ApplicationInfo, error) {
	decision, err := readDecision(call.Body, approve)
	if err != nil {
		return nil, err
	}
	state, event := caapi.ApplicationApproved, audit.EventApplicationApproved
	if !approve {
		state, event = caapi.ApplicationRejected, audit.EventApplicationRejected
	}
	var row *applicationRow
	err = r.db.Update(ctx, func(tx *sql.Tx) (err error) {
		if row, err = scanApplication(tx.QueryRowContext(ctx, applicationByID, id).Scan); err != nil {
			return err
		}
		if err := r.distinct(ctx, tx, row.registeredBy, call); err != nil {
			return err
		}
		if approve && decision.Digest != hex.EncodeToString(protocol.H(row.request)) {
			return protocol.Errorf(protocol.CodeConflict, "the digest is not the application's")
		}
		if row.state == state && row.decidedBy == call.ID {
			return nil // the answer was lost
		}
		if row.state != caapi.ApplicationPending {
			return protocol.Errorf(protocol.CodeConflict, "the application is %s", row.state)
		}
		row.state, row.decidedBy, row.reason = state, call.ID, decision.Reason
		if _, err := tx.ExecContext(ctx, `UPDATE ca_applications SET state = $1, decided_by = $2, reason = $3 WHERE id = $4 AND state = 'pending'`,
			row.state, row.decidedBy, row.reason, id); err != nil {
			return fmt.Errorf("decide application: %w", err)
		}
		return r.audit.Append(ctx, tx, call.Actor(), event, map[string]string{"registration": id, "by": call.Serial, "signed": hex.EncodeToString(protocol.H(call.base))})
	})
	if err != nil {
		return nil, err
	}
	return row.info()
}

// distinct enforces four eyes: it rejects a second operator who is the first one,
// or has the first one's name, as after a block and a new certificate.
func (r *Registry) distinct(ctx context.Context, tx *sql.Tx, first string, call *OperatorCall) error {
	other, err := readOperator(ctx, tx, `id = $1`, first)
	if err != nil {
		return err
	}
	if other.id == call.ID || other.name == call.Name {
		return protocol.Errorf(protocol.CodeForbidden, "two operators are needed, and this is one")
	}
	return nil
}

// stepCodeEnded is a step of ApplicationCode: the previous code is void, and the
// new one is not made yet.
const stepCodeEnded = "code ended"

// ApplicationCode returns the one-use code of an approved application to the
// operator who registered it. A repeated call, after a lost response, voids the
// previous code; after the code was used no other is made.
//
// Errors: not_found, forbidden, conflict and those of the operation.
func (r *Registry) ApplicationCode(ctx context.Context, call *OperatorCall, id string) (*caapi.EnrolmentFile, error) {
	row, err := scanApplication(r.db.Reader().QueryRowContext(ctx, applicationByID, id).Scan)
	if err != nil {
		return nil, err
	}
	if row.registeredBy != call.ID {
		return nil, protocol.Errorf(protocol.CodeForbidden, "another operator registered it")
	}
	if row.state != caapi.ApplicationApproved && row.state != caapi.ApplicationUsed {
		return nil, protocol.Errorf(protocol.CodeConflict, "the application is %s", row.state)
	}
	if err := r.life.VoidCode(ctx, call.Actor(), row.code); err != nil {
		return nil, err
	}
	if err := r.stop(stepCodeEnded); err != nil {
		return nil, err
	}
	info, err := row.info()
	if err != nil {
		return nil, err
	}
	file, err := r.codeOf(ctx, call.Actor(), &info.Application)
	if err != nil {
		return nil, err
	}
	return file, r.db.Update(ctx, func(tx *sql.Tx) error {
		// an application that was withdrawn since it was read gets no code
		result, err := tx.ExecContext(ctx, `UPDATE ca_applications SET state = 'used', code = $1 WHERE id = $2 AND code = $3 AND state = $4
			AND NOT EXISTS (SELECT 1 FROM ca_codes WHERE digest = $3 AND state = 'withdrawn')`, life.CodeDigest(file.Code), id, row.code, row.state)
		if err != nil {
			return fmt.Errorf("store application: %w", err)
		}
		if n, err := result.RowsAffected(); err != nil || n != 1 {
			return errors.Join(err, protocol.Errorf(protocol.CodeConflict, "the code was asked for twice at once, or withdrawn"))
		}
		return r.audit.Append(ctx, tx, call.Actor(), audit.EventApplicationCode, map[string]string{"registration": id, "code": life.CodeDigest(file.Code)})
	})
}

// codeOf makes the code for what was approved.
func (r *Registry) codeOf(ctx context.Context, actor audit.Actor, application *caapi.Application) (*caapi.EnrolmentFile, error) {
	switch application.Operation {
	case caapi.OperationRenew:
		return r.life.AuthoriseRenewal(ctx, actor, life.Renewal{Serial: application.Serial, Years: application.Years})
	case caapi.OperationReissue:
		return r.life.AuthoriseReissue(ctx, actor, life.Reissue{Serial: application.Serial, Device: application.Device})
	}
	return r.life.NewEnrolmentCode(ctx, actor, life.CodeRequest{Subject: *application.Subject, Validity: Days(application.Days)})
}

// Withdraw ends what was approved for a lineage, or for any if empty,
// and has no code yet. What an operator decides afterwards needs a new approval.
func (r *Registry) Withdraw(ctx context.Context, tx *sql.Tx, actor audit.Actor, lineage, why string) error {
	approved, err := approvedApplications(ctx, tx)
	if err != nil {
		return err
	}
	for _, row := range approved {
		if about, err := lineageOf(ctx, tx, row); err != nil || lineage != "" && about != lineage {
			if err != nil {
				return err
			}
			continue
		}
		if _, err := tx.ExecContext(ctx, `UPDATE ca_applications SET state = $1, reason = $2 WHERE id = $3`,
			caapi.ApplicationRejected, "withdrawn: "+why, row.id); err != nil {
			return fmt.Errorf("withdraw application: %w", err)
		}
		if err := r.audit.Append(ctx, tx, actor, audit.EventApplicationRejected, map[string]string{"registration": row.id, "why": why}); err != nil {
			return err
		}
	}
	return nil
}

func approvedApplications(ctx context.Context, tx *sql.Tx) ([]*applicationRow, error) {
	rows, err := tx.QueryContext(ctx, `SELECT `+applicationColumns+` FROM ca_applications WHERE state = 'approved' ORDER BY created_at, id`)
	if err != nil {
		return nil, fmt.Errorf("read applications: %w", err)
	}
	defer rows.Close()
	var all []*applicationRow
	for rows.Next() {
		row, err := scanApplication(rows.Scan)
		if err != nil {
			return nil, err
		}
		all = append(all, row)
	}
	return all, rows.Err()
}

// lineageOf is the lineage that an application is about, "" for a new one.
func lineageOf(ctx context.Context, tx *sql.Tx, row *applicationRow) (lineage string, err error) {
	info, err := row.info()
	if err != nil {
		return "", err
	}
	number, err := trust.ParseSerialHex(info.Application.Serial)
	if err != nil {
		return "", nil //nolint:nilerr // no certificate has that serial number
	}
	err = tx.QueryRowContext(ctx, `SELECT lineage FROM ca_certificates WHERE serial = $1`, trust.SerialHex(number)).Scan(&lineage)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("lineage of an application: %w", err)
	}
	return lineage, nil
}

// Applications lists the applications in a state, all if empty, from a cursor on,
// oldest first.
func (r *Registry) Applications(ctx context.Context, state, after string, limit int) (*caapi.ApplicationList, error) {
	rows, err := r.db.Reader().QueryContext(ctx, `SELECT `+applicationColumns+` FROM ca_applications WHERE ($1 = '' OR state = $1) AND id > $2 ORDER BY id LIMIT $3`, state, after, limit+1)
	if err != nil {
		return nil, fmt.Errorf("list applications: %w", err)
	}
	defer rows.Close()
	list := &caapi.ApplicationList{V: caapi.Version, Applications: []caapi.ApplicationInfo{}}
	for rows.Next() {
		row, err := scanApplication(rows.Scan)
		if err != nil {
			return nil, err
		}
		if len(list.Applications) == limit {
			list.After = list.Applications[limit-1].ID
			break
		}
		info, err := row.info()
		if err != nil {
			return nil, err
		}
		list.Applications = append(list.Applications, *info)
	}
	return list, rows.Err()
}
