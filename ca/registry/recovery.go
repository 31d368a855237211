package registry

import (
	"context"
	"crypto/ecdsa"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/internal/callsig"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
)

// recoveryLife is how long a request waits for the second operator.
const recoveryLife = 24 * time.Hour

// recoveryRow is a recovery in the database.
type recoveryRow struct {
	id, state, record, lineage      string
	request                         []byte
	requestSerial                   string
	requestBase, requestSignature   []byte
	decision                        []byte
	decisionSerial                  string
	decisionBase, decisionSignature []byte
	envelope                        []byte
	createdAt, expiresAt            int64
}

const recoveryColumns = `id, state, record, lineage, request, request_serial, request_base, request_signature,
	decision, decision_serial, decision_base, decision_signature, envelope, created_at, expires_at`

const recoveryByID = `SELECT ` + recoveryColumns + ` FROM ca_recoveries WHERE id = $1`

func scanRecovery(scan func(...any) error) (*recoveryRow, error) {
	var r recoveryRow
	err := scan(&r.id, &r.state, &r.record, &r.lineage, &r.request, &r.requestSerial, &r.requestBase, &r.requestSignature,
		&r.decision, &r.decisionSerial, &r.decisionBase, &r.decisionSignature, &r.envelope, &r.createdAt, &r.expiresAt)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, protocol.Errorf(protocol.CodeNotFound, "no such recovery")
	}
	if err != nil {
		return nil, fmt.Errorf("read recovery: %w", err)
	}
	return &r, nil
}

func (r *recoveryRow) info() (*caapi.RecoveryInfo, error) {
	info := &caapi.RecoveryInfo{
		V: caapi.Version, ID: r.id, State: r.state, Digest: hex.EncodeToString(protocol.H(r.request)), RequestedBy: r.requestSerial, DecidedBy: r.decisionSerial,
		CreatedAt: r.createdAt, Expires: r.expiresAt, Enveloped: r.envelope,
	}
	return info, protocol.DecodeJSON(r.request, &info.Request)
}

// RequestRecovery is the first operator's half: it stores what is asked for with
// the operator's signature, and releases nothing.
//
// Errors: malformed, not_found, conflict.
func (r *Registry) RequestRecovery(ctx context.Context, call *OperatorCall) (*caapi.RecoveryInfo, error) {
	var request caapi.RecoveryRequest
	if err := protocol.DecodeJSON(call.Body, &request); err != nil {
		return nil, err
	}
	serial, err := checkRecovery(&request)
	if err != nil {
		return nil, err
	}
	id := hex.EncodeToString(request.RequestID)
	var row *recoveryRow
	err = r.db.Update(ctx, func(tx *sql.Tx) (err error) {
		if row, err = scanRecovery(tx.QueryRowContext(ctx, recoveryByID, id).Scan); err == nil {
			if row.requestSerial != call.Serial || !protocol.Equal(row.request, call.Body) {
				return protocol.Errorf(protocol.CodeConflict, "the request id belongs to other content")
			}
			return nil
		}
		if protocol.CodeOf(err) != protocol.CodeNotFound {
			return err
		}
		now := r.now()
		row = &recoveryRow{
			id: id, state: caapi.RecoveryPending, request: call.Body, requestSerial: call.Serial, requestBase: call.base, requestSignature: call.signature,
			createdAt: now.Unix(), expiresAt: now.Add(recoveryLife).Unix(),
		}
		if row.record, row.lineage, err = r.escrowed(ctx, tx, serial); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO ca_recoveries (id, state, record, lineage, request, request_serial, request_base, request_signature, created_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`, row.id, row.state, row.record, row.lineage, row.request, row.requestSerial,
			row.requestBase, row.requestSignature, row.createdAt, row.expiresAt); err != nil {
			return fmt.Errorf("store recovery: %w", err)
		}
		return r.audit.Append(ctx, tx, call.Actor(), audit.EventRecoveryRequested, map[string]string{
			"recovery": id, "escrowed": row.record, "holder": row.lineage, "by": call.Serial, "signed": hex.EncodeToString(protocol.H(call.base)),
		})
	})
	if err != nil {
		return nil, err
	}
	return row.info()
}

// checkRecovery returns the serial number in stored form.
func checkRecovery(r *caapi.RecoveryRequest) (string, error) {
	if r.V != caapi.Version || len(r.RequestID) != caapi.RequestIDSize {
		return "", protocol.Errorf(protocol.CodeMalformed, "version or request id")
	}
	if r.Reason == "" || len(r.Reason) > 256 || strings.ContainsFunc(r.Reason, trust.Deceptive) {
		return "", protocol.Errorf(protocol.CodeMalformed, "reason: one line of at most 256 bytes that can be shown")
	}
	key, err := protocol.ParseKey(r.To)
	if err != nil {
		return "", err
	}
	if public, ok := key.(*ecdsa.PublicKey); !ok || !sm2.IsSM2PublicKey(public) {
		return "", protocol.Errorf(protocol.CodeMalformed, "the receiving key is not SM2")
	}
	serial, err := trust.ParseSerialHex(r.Serial)
	if err != nil {
		return "", protocol.Errorf(protocol.CodeMalformed, "%v", err)
	}
	return trust.SerialHex(serial), nil
}

// escrowed is the key record over which an encryption certificate was issued.
func (r *Registry) escrowed(ctx context.Context, tx *sql.Tx, serial string) (record, lineage string, err error) {
	err = tx.QueryRowContext(ctx, `SELECT i.key_record, i.lineage FROM ca_issuances i JOIN ca_certificates c ON c.issuance = i.id
		WHERE c.serial = $1 AND i.encrypt_serial = $1`, serial).Scan(&record, &lineage)
	if errors.Is(err, sql.ErrNoRows) {
		return "", "", protocol.Errorf(protocol.CodeNotFound, "no encryption certificate of this serial number")
	}
	if err != nil {
		return "", "", fmt.Errorf("find escrowed key: %w", err)
	}
	return record, lineage, nil
}

// ApproveRecovery is the second operator's half: another person than the first
// approves exactly what was asked for, and in the same transaction the key is
// released under the requested key, once. Approving again returns the same envelope.
//
// Errors: malformed, not_found, forbidden, conflict, expired.
func (r *Registry) ApproveRecovery(ctx context.Context, call *OperatorCall, id string) (*caapi.RecoveryInfo, error) {
	decision, err := readDecision(call.Body, true)
	if err != nil {
		return nil, err
	}
	var row *recoveryRow
	late := false
	err = r.db.Update(ctx, func(tx *sql.Tx) (err error) {
		row, late, err = r.openRecovery(ctx, tx, call, id)
		if err != nil || late {
			return err
		}
		if decision.Digest != hex.EncodeToString(protocol.H(row.request)) {
			return protocol.Errorf(protocol.CodeConflict, "the digest is not the request's")
		}
		if row.state == caapi.RecoveryReleased && row.decisionSerial == call.Serial {
			return nil // the answer was lost
		}
		if row.state != caapi.RecoveryPending {
			return protocol.Errorf(protocol.CodeConflict, "the recovery is %s", row.state)
		}
		return r.release(ctx, tx, call, row)
	})
	if err != nil {
		return nil, err
	}
	if late {
		return nil, protocol.Errorf(protocol.CodeExpired, "the request waited for more than %v", recoveryLife)
	}
	return row.info()
}

func readDecision(body []byte, approve bool) (*caapi.Decision, error) {
	var decision caapi.Decision
	if err := protocol.DecodeJSON(body, &decision); err != nil {
		return nil, err
	}
	if decision.V != caapi.Version || approve == (decision.Digest == "") || !approve == (decision.Reason == "") || len(decision.Reason) > 256 {
		return nil, protocol.Errorf(protocol.CodeMalformed, "an approval names the digest, a rejection the reason")
	}
	return &decision, nil
}

// openRecovery reads a recovery for its second operator and ends one that waited
// too long.
func (r *Registry) openRecovery(ctx context.Context, tx *sql.Tx, call *OperatorCall, id string) (row *recoveryRow, late bool, err error) {
	if row, err = scanRecovery(tx.QueryRowContext(ctx, recoveryByID, id).Scan); err != nil {
		return nil, false, err
	}
	first, err := readOperator(ctx, tx, `serial = $1`, row.requestSerial)
	if err != nil {
		return nil, false, err
	}
	if err := r.distinct(ctx, tx, first.id, call); err != nil {
		return nil, false, err
	}
	if row.state != caapi.RecoveryPending || r.now().Unix() < row.expiresAt {
		return row, false, nil
	}
	if _, err := tx.ExecContext(ctx, `UPDATE ca_recoveries SET state = 'expired' WHERE id = $1 AND state = 'pending'`, id); err != nil {
		return nil, false, fmt.Errorf("end recovery: %w", err)
	}
	return row, true, r.audit.Append(ctx, tx, audit.ActorAuthority, audit.EventRecoveryExpired, map[string]string{"recovery": id})
}

// release lets the key out and stores the envelope, in the caller's transaction.
func (r *Registry) release(ctx context.Context, tx *sql.Tx, call *OperatorCall, row *recoveryRow) error {
	var request caapi.RecoveryRequest
	if err := protocol.DecodeJSON(row.request, &request); err != nil {
		return err
	}
	row.decision, row.decisionSerial, row.decisionBase, row.decisionSignature = call.Body, call.Serial, call.base, call.signature
	if err := r.audit.Append(ctx, tx, call.Actor(), audit.EventRecoveryApproved, map[string]string{
		"escrowed": row.record, "approved": row.id, "by": call.Serial, "signed": hex.EncodeToString(protocol.H(call.base)),
	}); err != nil {
		return err
	}
	var err error
	row.envelope, err = r.life.KeyCentre().Recover(ctx, tx, kmc.Order{
		Record: row.record, To: request.To, RequestedBy: row.requestSerial, ApprovedBy: row.decisionSerial,
		Check: func() error { return r.checkOrder(ctx, tx, row) },
	})
	if err != nil {
		return err
	}
	row.state = caapi.RecoveryReleased
	if _, err := tx.ExecContext(ctx, `UPDATE ca_recoveries SET state = $1, decision = $2, decision_serial = $3, decision_base = $4, decision_signature = $5, envelope = $6
		WHERE id = $7 AND state = 'pending'`, row.state, row.decision, row.decisionSerial, row.decisionBase, row.decisionSignature, row.envelope, row.id); err != nil {
		return fmt.Errorf("store recovery: %w", err)
	}
	return r.audit.Append(ctx, tx, audit.ActorAuthority, audit.EventRecoveryReleased, map[string]string{"recovery": row.id})
}

// checkOrder verifies from what is stored that two operators in office, both for
// recoveries, signed: the first this request, the second this request's approval.
// Altering the database gains an attacker nothing.
func (r *Registry) checkOrder(ctx context.Context, tx *sql.Tx, row *recoveryRow) error {
	base, err := url.Parse(r.publicURL)
	if err != nil {
		return fmt.Errorf("base URL: %w", err)
	}
	path := strings.TrimSuffix(base.Path, "/") + caapi.PathOperatorRecoveries
	for _, half := range []struct {
		serial, path          string
		base, signature, body []byte
	}{
		{row.requestSerial, path, row.requestBase, row.requestSignature, row.request},
		{row.decisionSerial, path + "/" + row.id + "/approve", row.decisionBase, row.decisionSignature, row.decision},
	} {
		operator, key, err := r.operatorKey(ctx, tx, half.serial)
		if err != nil {
			return err
		}
		if operator.role != RoleRecovery {
			return protocol.Errorf(protocol.CodeForbidden, "an operator for %s", operator.role)
		}
		if err := callsig.VerifyKept(key, half.base, half.signature, http.MethodPost, half.path, half.body); err != nil {
			return protocol.Errorf(protocol.CodeForbidden, "%v", err)
		}
	}
	record, lineage, err := r.orderedRecord(ctx, tx, row)
	if err != nil || record != row.record || lineage != row.lineage {
		return errors.Join(protocol.Errorf(protocol.CodeForbidden, "the key is not the one that was asked for"), err)
	}
	return nil
}

func (r *Registry) orderedRecord(ctx context.Context, tx *sql.Tx, row *recoveryRow) (record, lineage string, err error) {
	var request caapi.RecoveryRequest
	if err := protocol.DecodeJSON(row.request, &request); err != nil {
		return "", "", err
	}
	serial, err := checkRecovery(&request)
	if err != nil {
		return "", "", err
	}
	return r.escrowed(ctx, tx, serial)
}

// RejectRecovery ends a pending request with a reason. Any recovery operator may
// call it, including the one who made the request.
func (r *Registry) RejectRecovery(ctx context.Context, call *OperatorCall, id string) (*caapi.RecoveryInfo, error) {
	if _, err := readDecision(call.Body, false); err != nil {
		return nil, err
	}
	var row *recoveryRow
	err := r.db.Update(ctx, func(tx *sql.Tx) (err error) {
		if row, err = scanRecovery(tx.QueryRowContext(ctx, recoveryByID, id).Scan); err != nil {
			return err
		}
		if row.state == caapi.RecoveryRejected && row.decisionSerial == call.Serial {
			return nil
		}
		if row.state != caapi.RecoveryPending {
			return protocol.Errorf(protocol.CodeConflict, "the recovery is %s", row.state)
		}
		row.state, row.decisionSerial = caapi.RecoveryRejected, call.Serial
		if _, err := tx.ExecContext(ctx, `UPDATE ca_recoveries SET state = $1, decision = $2, decision_serial = $3, decision_base = $4, decision_signature = $5
			WHERE id = $6 AND state = 'pending'`, row.state, call.Body, call.Serial, call.base, call.signature, id); err != nil {
			return fmt.Errorf("store recovery: %w", err)
		}
		return r.audit.Append(ctx, tx, call.Actor(), audit.EventRecoveryRejected, map[string]string{"recovery": id, "by": call.Serial})
	})
	if err != nil {
		return nil, err
	}
	return row.info()
}

// Recovery returns the state of a recovery.
func (r *Registry) Recovery(ctx context.Context, id string) (*caapi.RecoveryInfo, error) {
	row, err := scanRecovery(r.db.Reader().QueryRowContext(ctx, recoveryByID, id).Scan)
	if err != nil {
		return nil, err
	}
	return row.info()
}

// Recoveries lists the recoveries in a state, all if empty, from a cursor on,
// without their envelopes.
func (r *Registry) Recoveries(ctx context.Context, state, after string, limit int) (*caapi.RecoveryList, error) {
	rows, err := r.db.Reader().QueryContext(ctx, `SELECT `+recoveryColumns+` FROM ca_recoveries WHERE ($1 = '' OR state = $1) AND id > $2 ORDER BY id LIMIT $3`, state, after, limit+1)
	if err != nil {
		return nil, fmt.Errorf("list recoveries: %w", err)
	}
	defer rows.Close()
	list := &caapi.RecoveryList{V: caapi.Version, Recoveries: []caapi.RecoveryInfo{}}
	for rows.Next() {
		row, err := scanRecovery(rows.Scan)
		if err != nil {
			return nil, err
		}
		if len(list.Recoveries) == limit {
			list.After = list.Recoveries[limit-1].ID
			break
		}
		row.envelope = nil
		info, err := row.info()
		if err != nil {
			return nil, err
		}
		list.Recoveries = append(list.Recoveries, *info)
	}
	return list, rows.Err()
}
