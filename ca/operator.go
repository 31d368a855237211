package ca

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

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// Role is what an operator may do. Everyone has one: whoever registers never
// approves, whoever audits changes nothing, and keys are recovered by people who
// can do nothing else.
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

// kindOperator is the kind of issuances for operators.
const kindOperator = "operator"

// operatorValidity is the longest life of an operator's certificate.
const operatorValidity = 366 * 24 * time.Hour

// NewOperator is who becomes an operator.
type NewOperator struct {
	Name string
	Role Role
	// CSR is the PKCS#10 of the operator's SM2 key; its subject is not looked at.
	CSR []byte
	// Validity of the certificate; a year if zero, at most 366 days.
	Validity time.Duration
}

// AddOperator certifies an operator. It works on the authority's machine only:
// whoever makes operators there is how the first ones come to be. The same request
// gives the same certificate. Two active operators never have one name, so that one
// person is never two where two are needed.
//
// Errors: malformed, conflict, issuance_conflict, lint_failed.
func (a *Authority) AddOperator(ctx context.Context, n NewOperator) (*caapi.OperatorCertificate, error) {
	if n.Validity == 0 {
		n.Validity = defaultValidity
	}
	if _, err := ParseRole(string(n.Role)); err != nil {
		return nil, err
	}
	if err := checkShown(n.Name); err != nil {
		return nil, err
	}
	spki, err := readCSR(a.config.Family, n.CSR)
	if err != nil {
		return nil, err
	}
	var row *issuanceRow
	if err := a.db.Update(ctx, func(tx *sql.Tx) (err error) {
		row, err = a.beginOperator(ctx, tx, n, spki)
		return err
	}); err != nil {
		return nil, err
	}
	raw, err := a.complete(ctx, row)
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

func (a *Authority) beginOperator(ctx context.Context, tx *sql.Tx, n NewOperator, spki []byte) (*issuanceRow, error) {
	id := hex.EncodeToString(protocol.H([]byte("bidseal/ca operator 1\x00"), spki)[:16])
	subject, err := json.Marshal(operatorSubject{id, n.Name, n.Role})
	if err != nil {
		return nil, fmt.Errorf("subject: %w", err)
	}
	row, err := readIssuance(ctx, tx, operatorIssuance(id))
	if err != nil {
		return nil, err
	}
	if row != nil {
		if row.subject != string(subject) {
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
	serials, err := newSerials(1)
	if err != nil {
		return nil, err
	}
	notBefore, notAfter := leafDates(a.now(), n.Validity)
	if latest := notBefore.Add(operatorValidity - time.Second); notAfter.After(latest) {
		notAfter = latest
	}
	row = &issuanceRow{
		id: operatorIssuance(id), kind: kindOperator, digest: hex.EncodeToString(protocol.H(subject)), state: statePending, spki: spki,
		subject: string(subject), signSerial: serials[0], notBefore: notBefore.Unix(), notAfter: notAfter.Unix(),
	}
	requests, err := a.requests(ctx, row)
	if err != nil {
		return nil, err
	}
	if err := a.lintOnly(requests[0]); err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO ca_operators (id, name, role, state, created_at) VALUES ($1, $2, $3, $4, $5)`,
		id, n.Name, string(n.Role), operatorPending, a.now().Unix()); err != nil {
		return nil, fmt.Errorf("store operator: %w", err)
	}
	if err := a.audit.append(ctx, tx, a.operator, eventOperatorAdded, map[string]string{"operator": id, "role": string(n.Role)}); err != nil {
		return nil, err
	}
	return row, a.insertIssuance(ctx, tx, row)
}

func (a *Authority) operatorRequest(stored string) (issuance.Request, error) {
	var s operatorSubject
	if err := json.Unmarshal([]byte(stored), &s); err != nil {
		return issuance.Request{}, fmt.Errorf("stored subject: %w", err)
	}
	return issuance.Request{
		Profile: issuance.Operator,
		Subject: issuance.Subject{Country: a.config.Country, Organisation: a.config.Organisation, Unit: string(s.Role), Serial: s.ID, CommonName: s.Name},
	}, nil
}

// operatorAnswer ends the issuance for an operator in the transaction that stores
// the certificate.
func (a *Authority) operatorAnswer(ctx context.Context, tx *sql.Tx, issuer *issuing, r *issuanceRow, cert *smx509.Certificate) ([]byte, error) {
	var s operatorSubject
	if err := json.Unmarshal([]byte(r.subject), &s); err != nil {
		return nil, fmt.Errorf("stored subject: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `UPDATE ca_operators SET state = $1, serial = $2 WHERE id = $3 AND state = $4`,
		operatorActive, r.signSerial, s.ID, operatorPending); err != nil {
		return nil, fmt.Errorf("store operator: %w", err)
	}
	if err := a.audit.append(ctx, tx, actorAuthority, eventOperatorCertified, map[string]string{"operator": s.ID, "certificate": r.signSerial}); err != nil {
		return nil, err
	}
	return protocol.EncodeJSON(caapi.OperatorCertificate{
		V: caapi.Version, ID: s.ID, Name: s.Name, Role: string(s.Role), Serial: r.signSerial,
		Chain: append([]protocol.Bytes{cert.Raw}, issuer.chain(a.root)...),
	})
}

// OperatorInfo is a line of the list of operators.
type OperatorInfo = caapi.OperatorInfo

// Operators lists them, newest first.
func (a *Authority) Operators(ctx context.Context) ([]OperatorInfo, error) {
	rows, err := a.db.Reader().QueryContext(ctx, `SELECT id, name, role, state, serial, created_at FROM ca_operators ORDER BY created_at DESC, id`)
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

// BlockOperator ends an operator's part at once and for good, and revokes the
// certificate. Blocking again changes nothing.
func (a *Authority) BlockOperator(ctx context.Context, id string) error {
	var serial string
	err := a.db.Update(ctx, func(tx *sql.Tx) error {
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
		r, err := readIssuance(ctx, tx, operatorIssuance(id))
		if err != nil {
			return err
		}
		if r != nil { // one that a crash left pending brings no certificate any more
			if err := a.refuseIn(ctx, tx, r, protocol.CodeForbidden, "the operator was blocked"); err != nil {
				return err
			}
		}
		return a.audit.append(ctx, tx, a.operator, eventOperatorBlocked, map[string]string{"operator": id})
	})
	if err != nil || serial == "" {
		return err
	}
	_, err = a.Revoke(ctx, Revocation{Serial: serial, Reason: trust.CessationOfOperation})
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
func (a *Authority) operatorKey(ctx context.Context, q kmc.Querier, serial string) (*operatorRow, *ecdsa.PublicKey, error) {
	o, err := readOperator(ctx, q, `serial = $1`, serial)
	if err != nil {
		return nil, nil, err
	}
	if o.state != operatorActive || serial == "" {
		return nil, nil, protocol.Errorf(protocol.CodeForbidden, "the operator is %s", o.state)
	}
	cert, state, err := a.operatorCertificate(ctx, q, serial)
	if err != nil {
		return nil, nil, err
	}
	if state != stateGood {
		return nil, nil, protocol.Errorf(protocol.CodeForbidden, "the operator's certificate is %s", state)
	}
	// The certificate says who it is and in which role: a row that says otherwise
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
func (a *Authority) operatorCertificate(ctx context.Context, q kmc.Querier, serial string) (*smx509.Certificate, string, error) {
	var der []byte
	var issuer, state string
	if err := q.QueryRowContext(ctx, `SELECT der, issuer, state FROM ca_certificates WHERE serial = $1`, serial).Scan(&der, &issuer, &state); err != nil {
		return nil, "", fmt.Errorf("read operator's certificate: %w", err)
	}
	cert, err := trust.ParseCertificate(der)
	if err != nil {
		return nil, "", err
	}
	by := a.issuers.named(issuer)
	if by == nil {
		return nil, "", fmt.Errorf("issuer %s of an operator's certificate", issuer)
	}
	store, err := trust.NewStore(a.TrustAuthority())
	if err != nil {
		return nil, "", err
	}
	if _, err := store.Verify([]*smx509.Certificate{cert, by.Certificate(), a.root}, trust.VerifyOptions{Time: a.now(), Usage: trust.Operator}); err != nil {
		return nil, "", protocol.Errorf(protocol.CodeForbidden, "the operator's certificate: %v", err)
	}
	return cert, state, nil
}
