package registry

import (
	"context"
	"crypto/ecdsa"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// Role is what an operator may do. Every operator has exactly one, so an
// operator who registers cannot approve, one who audits cannot change anything, and
// one who recovers keys cannot do anything else.
type Role string

// The roles.
const (
	RoleRegistration Role = "registration" // registers applications and hands out codes
	RoleApproval     Role = "approval"     // approves applications and platforms, revokes
	RoleRecovery     Role = "recovery"     // asks for the recovery of an escrowed key, or approves another's request
	RoleAudit        Role = "audit"        // reads
)

// ParseRole reads a role's name.
func ParseRole(name string) (Role, error) {
	switch r := Role(name); r {
	case RoleRegistration, RoleApproval, RoleRecovery, RoleAudit:
		return r, nil
	}
	return "", protocol.Errorf(protocol.CodeMalformed, "role %.32q: registration, approval, recovery or audit", name)
}

// States of operators.
const (
	operatorPending = "pending" // the certificate is being issued
	operatorActive  = "active"
	operatorBlocked = "blocked"
)

// issuanceOperator is the kind of issuances for operators.
const issuanceOperator = "operator"

// operatorValidity is the longest life of an operator's certificate.
const operatorValidity = 366 * 24 * time.Hour

// NewOperator describes an operator to add.
type NewOperator struct {
	Name string
	Role Role
	// CSR is the PKCS#10 of the operator's SM2 key; its subject is not looked at.
	CSR []byte
	// Validity of the certificate; a year if zero, at most 366 days.
	Validity time.Duration
}

// AddOperator certifies an operator. It works on the authority's machine only,
// which is how the first operators are made. The same request gives the same
// certificate. No two active operators have the same name, so that one person cannot
// act as two where two are required.
//
// Errors: malformed, conflict, issuance_conflict, lint_failed.
func (r *Registry) AddOperator(ctx context.Context, actor audit.Actor, n NewOperator) (*caapi.OperatorCertificate, error) {
	if n.Validity == 0 {
		n.Validity = life.DefaultValidity
	}
	if _, err := ParseRole(string(n.Role)); err != nil {
		return nil, err
	}
	if err := life.CheckShown(n.Name); err != nil {
		return nil, err
	}
	spki, err := life.ReadCSR(r.life.Family(), n.CSR)
	if err != nil {
		return nil, err
	}
	var row *life.Issuance
	if err := r.db.Update(ctx, func(tx *sql.Tx) (err error) {
		row, err = r.beginOperator(ctx, tx, actor, n, spki)
		return err
	}); err != nil {
		return nil, err
	}
	raw, err := r.life.Complete(ctx, row)
	if err != nil {
		return nil, err
	}
	var answer caapi.OperatorCertificate
	return &answer, protocol.DecodeJSON(raw, &answer)
}

// operatorSubject is what is stored for an operator's certificate.
type operatorSubject struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Role Role   `json:"role"`
}

func operatorIssuance(id string) string { return "operator-" + id }

func (r *Registry) beginOperator(ctx context.Context, tx *sql.Tx, actor audit.Actor, n NewOperator, spki []byte) (*life.Issuance, error) {
	id := hex.EncodeToString(protocol.H([]byte("bidseal/ca operator 1\x00"), spki)[:16])
	subject, err := json.Marshal(operatorSubject{id, n.Name, n.Role})
	if err != nil {
		return nil, fmt.Errorf("subject: %w", err)
	}
	row, err := life.ReadIssuance(ctx, tx, operatorIssuance(id))
	if err != nil {
		return nil, err
	}
	if row != nil {
		if row.Subject != string(subject) {
			return nil, protocol.Errorf(protocol.CodeConflict, "this key belongs to another operator")
		}
		return row, nil
	}
	var taken int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM ca_operators WHERE name = $1 AND state <> 'blocked'`, n.Name).Scan(&taken); err != nil {
		return nil, fmt.Errorf("read operators: %w", err)
	}
	if taken != 0 {
		return nil, protocol.Errorf(protocol.CodeConflict, "there is an operator of this name; block that one first")
	}
	serials, err := life.NewSerials(1)
	if err != nil {
		return nil, err
	}
	notBefore, notAfter := life.LeafDates(r.now(), n.Validity)
	if latest := notBefore.Add(operatorValidity - time.Second); notAfter.After(latest) {
		notAfter = latest
	}
	row = &life.Issuance{
		ID: operatorIssuance(id), Kind: issuanceOperator, Digest: hex.EncodeToString(protocol.H(subject)), State: life.StatePending, SPKI: spki,
		Subject: string(subject), SignSerial: serials[0], NotBefore: notBefore.Unix(), NotAfter: notAfter.Unix(),
	}
	if err := r.life.Lint(ctx, row); err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO ca_operators (id, name, role, state, created_at) VALUES ($1, $2, $3, $4, $5)`,
		id, n.Name, string(n.Role), operatorPending, r.now().Unix()); err != nil {
		return nil, fmt.Errorf("store operator: %w", err)
	}
	if err := r.audit.Append(ctx, tx, actor, audit.EventOperatorAdded, map[string]string{"operator": id, "role": string(n.Role)}); err != nil {
		return nil, err
	}
	return row, r.life.Insert(ctx, tx, row)
}

// operatorIssuances is the kind of issuances for operators.
type operatorIssuances struct{ a *Registry }

// Request implements life.IssuanceKind.
func (k operatorIssuances) Request(stored string) (issuance.Request, error) {
	var s operatorSubject
	if err := json.Unmarshal([]byte(stored), &s); err != nil {
		return issuance.Request{}, fmt.Errorf("stored subject: %w", err)
	}
	return issuance.Request{
		Profile: issuance.Operator,
		Subject: issuance.Subject{Country: k.a.country, Organisation: k.a.organisation, Unit: string(s.Role), Serial: s.ID, CommonName: s.Name},
	}, nil
}

// Answer implements life.IssuanceKind.
func (k operatorIssuances) Answer(ctx context.Context, tx *sql.Tx, issuer *status.Issuer, r *life.Issuance, cert *smx509.Certificate) ([]byte, error) {
	var s operatorSubject
	if err := json.Unmarshal([]byte(r.Subject), &s); err != nil {
		return nil, fmt.Errorf("stored subject: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `UPDATE ca_operators SET state = $1, serial = $2 WHERE id = $3 AND state = $4`,
		operatorActive, r.SignSerial, s.ID, operatorPending); err != nil {
		return nil, fmt.Errorf("store operator: %w", err)
	}
	if err := k.a.audit.Append(ctx, tx, audit.ActorAuthority, audit.EventOperatorCertified, map[string]string{"operator": s.ID, "certificate": r.SignSerial}); err != nil {
		return nil, err
	}
	return protocol.EncodeJSON(caapi.OperatorCertificate{
		V: caapi.Version, ID: s.ID, Name: s.Name, Role: string(s.Role), Serial: r.SignSerial,
		Chain: append([]protocol.Bytes{cert.Raw}, issuer.Chain(k.a.status.Root())...),
	})
}

// OperatorInfo is a line of the list of operators.
type OperatorInfo = caapi.OperatorInfo

// Operators lists them, newest first.
func (r *Registry) Operators(ctx context.Context) ([]OperatorInfo, error) {
	rows, err := r.db.Reader().QueryContext(ctx, `SELECT id, name, role, state, serial, created_at FROM ca_operators ORDER BY created_at DESC, id`)
	if err != nil {
		return nil, fmt.Errorf("list operators: %w", err)
	}
	defer rows.Close()
	all := []OperatorInfo{}
	for rows.Next() {
		var o OperatorInfo
		if err := rows.Scan(&o.ID, &o.Name, &o.Role, &o.State, &o.Serial, &o.CreatedAt); err != nil {
			return nil, fmt.Errorf("list operators: %w", err)
		}
		all = append(all, o)
	}
	return all, rows.Err()
}

// BlockOperator blocks an operator at once and for good, and revokes the
// certificate. It is idempotent.
func (r *Registry) BlockOperator(ctx context.Context, actor audit.Actor, id string) error {
	var serial string
	err := r.db.Update(ctx, func(tx *sql.Tx) error {
		o, err := readOperator(ctx, tx, `id = $1`, id)
		if err != nil {
			return err
		}
		serial = o.serial
		if o.state == operatorBlocked {
			return nil
		}
		if _, err := tx.ExecContext(ctx, `UPDATE ca_operators SET state = $1 WHERE id = $2`, operatorBlocked, id); err != nil {
			return fmt.Errorf("block operator: %w", err)
		}
		row, err := life.ReadIssuance(ctx, tx, operatorIssuance(id))
		if err != nil {
			return err
		}
		if row != nil { // one that a crash left pending brings no certificate any more
			if err := r.life.Refuse(ctx, tx, row, protocol.CodeForbidden, "the operator was blocked"); err != nil {
				return err
			}
		}
		return r.audit.Append(ctx, tx, actor, audit.EventOperatorBlocked, map[string]string{"operator": id})
	})
	if err != nil || serial == "" {
		return err
	}
	_, err = r.life.Revoke(ctx, actor, life.Revocation{Serial: serial, Reason: trust.CessationOfOperation})
	return err
}

// operatorRow is an operator in the database.
type operatorRow struct {
	id, name, state, serial string
	role                    Role
}

// readOperator finds one by a condition on a column.
func readOperator(ctx context.Context, q kmc.Querier, where, value string) (*operatorRow, error) {
	queries := map[string]string{
		`id = $1`:     `SELECT id, name, role, state, serial FROM ca_operators WHERE id = $1`,
		`serial = $1`: `SELECT id, name, role, state, serial FROM ca_operators WHERE serial = $1`,
	}
	var o operatorRow
	err := q.QueryRowContext(ctx, queries[where], value).Scan(&o.id, &o.name, &o.role, &o.state, &o.serial)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, protocol.Errorf(protocol.CodeNotFound, "no such operator")
	}
	if err != nil {
		return nil, fmt.Errorf("read operator: %w", err)
	}
	return &o, nil
}

// operatorKey is the public key of an operator's certificate that is good now: the
// chain up to this authority's root, its dates and usage, its status, and that the
// operator may still act.
func (r *Registry) operatorKey(ctx context.Context, q kmc.Querier, serial string) (*operatorRow, *ecdsa.PublicKey, error) {
	o, err := readOperator(ctx, q, `serial = $1`, serial)
	if err != nil {
		return nil, nil, err
	}
	if o.state != operatorActive || serial == "" {
		return nil, nil, protocol.Errorf(protocol.CodeForbidden, "the operator is %s", o.state)
	}
	cert, state, err := r.operatorCertificate(ctx, q, serial)
	if err != nil {
		return nil, nil, err
	}
	if state != status.StateGood {
		return nil, nil, protocol.Errorf(protocol.CodeForbidden, "the operator's certificate is %s", state)
	}
	// The certificate states the operator's name and role: a row that differs
	// was altered.
	if name := cert.Subject; name.CommonName != o.name || !slices.Equal(name.OrganizationalUnit, []string{string(o.role)}) {
		return nil, nil, protocol.Errorf(protocol.CodeForbidden, "the certificate names another operator or role")
	}
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return nil, nil, fmt.Errorf("operator's key of type %T", cert.PublicKey)
	}
	return o, key, nil
}

// operatorCertificate reads a certificate and judges its chain at the present
// time.
func (r *Registry) operatorCertificate(ctx context.Context, q kmc.Querier, serial string) (*smx509.Certificate, string, error) {
	var der []byte
	var issuer, state string
	if err := q.QueryRowContext(ctx, `SELECT der, issuer, state FROM ca_certificates WHERE serial = $1`, serial).Scan(&der, &issuer, &state); err != nil {
		return nil, "", fmt.Errorf("read operator's certificate: %w", err)
	}
	cert, err := trust.ParseCertificate(der)
	if err != nil {
		return nil, "", err
	}
	by := r.status.Issuer(issuer)
	if by == nil {
		return nil, "", fmt.Errorf("issuer %s of an operator's certificate", issuer)
	}
	store, err := trust.NewStore(r.authority)
	if err != nil {
		return nil, "", err
	}
	if _, err := store.Verify([]*smx509.Certificate{cert, by.Certificate(), r.status.Root()}, trust.VerifyOptions{Time: r.now(), Usage: trust.Operator}); err != nil {
		return nil, "", protocol.Errorf(protocol.CodeForbidden, "the operator's certificate: %v", err)
	}
	return cert, state, nil
}
