package ca

import (
	"context"
	"crypto"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// Kinds and states of issuances.
const (
	kindDual     = "dual"
	kindPlatform = "platform"

	statePending = "pending"
	stateIssued  = "issued"
	stateRefused = "refused"
)

// Steps of an issuance at which a crash may come. At stepBegun, stepSuperseded
// and stepStored a transaction is open.
const (
	stepBegun      = "begun" // written, not committed
	stepPending    = "pending"
	stepLinted     = "linted"
	stepSigned     = "signed"
	stepSuperseded = "superseded" // the old ones are revoked, the new ones not stored
	stepStored     = "stored"     // all of it written, not committed
	stepIssued     = "issued"
)

// leafBackdate is how far before the clock a leaf certificate begins, so that
// verifiers whose clock is behind believe it.
const leafBackdate = 5 * time.Minute

// issuanceRow is one issuance as it is stored before anything is signed.
type issuanceRow struct {
	id, kind, digest, state   string
	spki                      []byte
	subject                   string // JSON
	lineage, account          string
	deviceKey                 []byte
	codeDigest                string
	signSerial, encryptSerial string
	keyRecord                 string
	notBefore, notAfter       int64
	refusalCode, refusal      string
	answer                    []byte
	operation, predecessor    string
	device                    string
	reason                    trust.Reason // for which the certificates before are revoked
}

func leafDates(now time.Time, validity time.Duration) (notBefore, notAfter time.Time) {
	now = now.UTC().Truncate(time.Second)
	return now.Add(-leafBackdate), now.Add(validity.Truncate(time.Second))
}

func throwAwayKey(family issuance.Family) (crypto.PublicKey, error) {
	key, err := family.GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("throw-away key: %w", err)
	}
	return key.Public(), nil
}

// leafRequest is a signing certificate for a subject, without key, serial number
// and dates.
func (a *Authority) leafRequest(s caapi.Subject, lineage []byte) (issuance.Request, error) {
	r := issuance.Request{
		Subject: issuance.Subject{Country: a.config.Country, Serial: hex.EncodeToString(lineage), CommonName: s.Name}, Lineage: lineage,
	}
	switch trust.Kind(s.Kind) {
	case trust.Organisation:
		r.Profile, r.Subject.Organisation, r.CreditCode, r.Role = issuance.OrganisationSigning, s.Organisation, s.CreditCode, s.Role
	case trust.Person:
		if s.Organisation != "" || s.CreditCode != "" || s.Role != "" {
			return r, protocol.Errorf(protocol.CodeMalformed, "a natural person has no organisation, credit code or role")
		}
		r.Profile = issuance.PersonSigning
	default:
		return r, protocol.Errorf(protocol.CodeMalformed, "subject of kind %q", s.Kind)
	}
	var err error
	r.Identity, err = a.identityMark(r.Profile, s.Identity)
	return r, err
}

// encryptionProfile is the other half of a dual certificate.
func encryptionProfile(signing issuance.Name) issuance.Name {
	if signing == issuance.OrganisationSigning {
		return issuance.OrganisationEncryption
	}
	return issuance.PersonEncryption
}

const issuanceColumns = `id, kind, digest, state, spki, subject, lineage, account, device_key, code_digest,
	sign_serial, encrypt_serial, key_record, not_before, not_after, refusal_code, refusal, answer, operation, predecessor, device, reason`

// readIssuance answers nil if there is none.
func readIssuance(ctx context.Context, q kmc.Querier, id string) (*issuanceRow, error) {
	var r issuanceRow
	err := q.QueryRowContext(ctx, `SELECT `+issuanceColumns+` FROM ca_issuances WHERE id = $1`, id).Scan(
		&r.id, &r.kind, &r.digest, &r.state, &r.spki, &r.subject, &r.lineage, &r.account, &r.deviceKey, &r.codeDigest,
		&r.signSerial, &r.encryptSerial, &r.keyRecord, &r.notBefore, &r.notAfter, &r.refusalCode, &r.refusal, &r.answer,
		&r.operation, &r.predecessor, &r.device, &r.reason)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read issuance: %w", err)
	}
	return &r, nil
}

// insertIssuance stores a new one and claims its lineage. A key that was
// certified before is refused: each signing certificate has a key of its own.
func (a *Authority) insertIssuance(ctx context.Context, tx *sql.Tx, r *issuanceRow) error {
	digest := hex.EncodeToString(protocol.H(r.spki))
	var other string
	switch err := tx.QueryRowContext(ctx, `SELECT id FROM ca_issuances WHERE spki_digest = $1`, digest).Scan(&other); {
	case err == nil:
		return protocol.Errorf(protocol.CodeIssuanceConflict, "the key was certified before")
	case !errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("store issuance: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO ca_issuances (`+issuanceColumns+`, spki_digest, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)`,
		r.id, r.kind, r.digest, r.state, r.spki, r.subject, r.lineage, r.account, r.deviceKey, r.codeDigest,
		r.signSerial, r.encryptSerial, r.keyRecord, r.notBefore, r.notAfter, r.refusalCode, r.refusal, r.answer,
		r.operation, r.predecessor, r.device, int(r.reason), digest, a.now().Unix()); err != nil {
		return fmt.Errorf("store issuance: %w", err)
	}
	if r.kind == kindDual {
		if err := claimLineage(ctx, tx, r); err != nil {
			return err
		}
	}
	return a.audit.append(ctx, tx, actorAuthority, eventIssuancePending, map[string]string{
		"issuance": r.id, "kind": r.kind, "operation": r.operation, "request": r.digest, "sign_serial": r.signSerial, "encrypt_serial": r.encryptSerial,
		"lineage": r.lineage, "predecessor": r.predecessor, "device": r.device, "code": r.codeDigest, "record": r.keyRecord,
	})
}

// newSerials draws n serial numbers in stored form.
func newSerials(n int) ([]string, error) {
	all := make([]string, n)
	for i := range all {
		serial, err := issuance.NewSerial(rand.Reader)
		if err != nil {
			return nil, err
		}
		all[i] = trust.SerialHex(serial)
	}
	return all, nil
}

// complete brings a stored issuance to its end and gives its answer; one that
// has ended gives the stored answer. It may run any number of times, in several
// processes at once: the certificates follow from the row, and only the first
// transaction that finds it pending stores them.
func (a *Authority) complete(ctx context.Context, r *issuanceRow) ([]byte, error) {
	if r.state != statePending {
		return r.outcome()
	}
	if err := a.stop(stepPending); err != nil {
		return nil, err
	}
	requests, err := a.requests(ctx, r)
	if err != nil {
		return nil, err
	}
	issuer := a.issuers.current()
	linted, err := a.prepare(ctx, issuer, r, requests)
	if err != nil {
		return nil, err
	}
	if err := a.stop(stepLinted); err != nil {
		return nil, err
	}
	certs := make([]*smx509.Certificate, len(linted))
	for i, l := range linted {
		if certs[i], err = issuer.Issue(l); err != nil {
			return nil, err
		}
	}
	if err := a.stop(stepSigned); err != nil {
		return nil, err
	}
	answer, err := a.settle(ctx, issuer, r.id, requests, certs)
	if err != nil {
		return nil, err
	}
	if err := a.stop(stepIssued); err != nil {
		return nil, err
	}
	if r.operation == opReissue {
		a.destroyPending(ctx)
	}
	return answer, nil
}

// outcome is what an issuance that has ended gives.
func (r *issuanceRow) outcome() ([]byte, error) {
	if r.state == stateRefused {
		return nil, protocol.Errorf(protocol.Code(r.refusalCode), "%s", r.refusal)
	}
	return r.answer, nil
}

// requests are the certificates that a stored issuance stands for.
func (a *Authority) requests(ctx context.Context, r *issuanceRow) ([]issuance.Request, error) {
	public, err := smx509.ParsePKIXPublicKey(r.spki)
	if err != nil {
		return nil, fmt.Errorf("stored key: %w", err)
	}
	var first issuance.Request
	switch r.kind {
	case kindPlatform:
		first, err = a.platformRequest(r.subject)
	case kindOperator:
		first, err = a.operatorRequest(r.subject)
	case kindSingle:
		first, err = a.singleRequest(r)
	default:
		first, err = a.dualRequest(r)
	}
	if err != nil {
		return nil, err
	}
	first.PublicKey = public
	first.NotBefore, first.NotAfter = time.Unix(r.notBefore, 0).UTC(), time.Unix(r.notAfter, 0).UTC()
	if first.Serial, err = trust.ParseSerialHex(r.signSerial); err != nil {
		return nil, err
	}
	if r.kind != kindDual {
		return []issuance.Request{first}, nil
	}
	second := first
	second.Profile, second.OtherKey = encryptionProfile(first.Profile), first.PublicKey
	if second.PublicKey, err = a.kmc.PublicKey(ctx, a.db.Reader(), r.keyRecord); err != nil {
		return nil, err
	}
	second.Serial, err = trust.ParseSerialHex(r.encryptSerial)
	return []issuance.Request{first, second}, err
}

func (a *Authority) dualRequest(r *issuanceRow) (issuance.Request, error) {
	var subject caapi.Subject
	if err := json.Unmarshal([]byte(r.subject), &subject); err != nil {
		return issuance.Request{}, fmt.Errorf("stored subject: %w", err)
	}
	lineage, err := hex.DecodeString(r.lineage)
	if err != nil {
		return issuance.Request{}, fmt.Errorf("stored lineage: %w", err)
	}
	return a.leafRequest(subject, lineage)
}

// prepare lints all certificates of an issuance before any is signed. A failed
// lint ends the issuance by the lint's name.
func (a *Authority) prepare(ctx context.Context, issuer *issuing, r *issuanceRow, requests []issuance.Request) ([]*issuance.Linted, error) {
	var all []*issuance.Linted
	for _, request := range requests {
		linted, err := issuer.Prepare(request)
		var failed *issuance.LintError
		if errors.As(err, &failed) {
			return nil, a.refuse(ctx, r, failed)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, linted)
	}
	return all, nil
}

func (a *Authority) refuse(ctx context.Context, r *issuanceRow, failed *issuance.LintError) error {
	err := a.db.Update(ctx, func(tx *sql.Tx) error {
		return a.refuseIn(ctx, tx, r, protocol.CodeLintFailed, failed.Error())
	})
	if err != nil {
		return err
	}
	return protocol.Errorf(protocol.CodeLintFailed, "%v", failed)
}

// refuseIn ends a pending issuance without certificates; one that has ended in
// another process stays as it is.
func (a *Authority) refuseIn(ctx context.Context, tx *sql.Tx, r *issuanceRow, code protocol.Code, why string) error {
	won, err := changed(tx.ExecContext(ctx, `UPDATE ca_issuances SET state = 'refused', refusal_code = $1, refusal = $2 WHERE id = $3 AND state = 'pending'`,
		string(code), why, r.id))
	if err != nil {
		return fmt.Errorf("refuse issuance: %w", err)
	}
	if !won {
		return nil
	}
	if err := releaseLineage(ctx, tx, r); err != nil {
		return err
	}
	return a.audit.append(ctx, tx, actorAuthority, eventIssuanceRefused, map[string]string{"issuance": r.id, "lineage": r.lineage, "refusal": string(code), "why": why})
}

// settle stores certificates and answer in one transaction, or answers what
// another one stored before.
func (a *Authority) settle(ctx context.Context, issuer *issuing, id string, requests []issuance.Request, certs []*smx509.Certificate) ([]byte, error) {
	var answer []byte
	err := a.db.Update(ctx, func(tx *sql.Tx) error {
		r, err := readIssuance(ctx, tx, id)
		if err != nil {
			return err
		}
		if r == nil {
			return fmt.Errorf("issuance %s has vanished", id)
		}
		if r.state != statePending {
			answer, err = r.outcome()
			return err
		}
		if err := a.mayIssue(ctx, tx, issuer); err != nil {
			return err
		}
		if err := errors.Join(a.supersede(ctx, tx, r), a.stop(stepSuperseded)); err != nil {
			return err
		}
		for i, cert := range certs {
			row := certificateRow{profile: requests[i].Profile, issuer: issuer.name, lineage: r.lineage, issuance: r.id, cert: cert}
			if err := storeCertificate(ctx, tx, &a.audit, row); err != nil {
				return err
			}
		}
		switch r.kind {
		case kindPlatform:
			answer, err = a.platformAnswer(ctx, tx, r, certs[0])
		case kindOperator:
			answer, err = a.operatorAnswer(ctx, tx, issuer, r, certs[0])
		case kindSingle:
			answer, err = protocol.EncodeJSON(SingleCertificate{Serial: r.signSerial, Chain: append([]protocol.Bytes{certs[0].Raw}, issuer.chain(a.root)...)})
		default:
			answer, err = a.dualAnswer(ctx, tx, r, certs[0], certs[1])
			err = errors.Join(err, advanceLineage(ctx, tx, r))
		}
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE ca_issuances SET state = 'issued', answer = $1 WHERE id = $2`, answer, id); err != nil {
			return fmt.Errorf("store answer: %w", err)
		}
		done := map[string]string{"issuance": id, "lineage": r.lineage}
		if r.operation == opReissue {
			done["destruction"] = id
		}
		return errors.Join(a.audit.append(ctx, tx, actorAuthority, eventIssued, done), a.stop(stepStored))
	})
	return answer, err
}

// mayIssue refuses an issuing authority that another process has revoked. What was
// to be issued stays pending until this one takes up the new authority.
func (a *Authority) mayIssue(ctx context.Context, tx *sql.Tx, issuer *issuing) error {
	var state string
	if err := tx.QueryRowContext(ctx, `SELECT state FROM ca_certificates WHERE serial = $1`, trust.SerialHex(issuer.Certificate().SerialNumber)).Scan(&state); err != nil {
		return fmt.Errorf("read issuing authority: %w", err)
	}
	if state != stateGood {
		return fmt.Errorf("issuing authority %s is revoked: open the authority again", issuer.name)
	}
	return nil
}

// readCSR reads a PKCS#10 request, checks its signature (proof of possession)
// and answers the SubjectPublicKeyInfo of its key, which is of the authority's
// family. Everything else in it is ignored: the authority knows its subjects by
// itself.
func readCSR(family issuance.Family, der []byte) (spki []byte, err error) {
	if len(der) == 0 || len(der) > maxCSR {
		return nil, protocol.Errorf(protocol.CodeMalformed, "certification request of %d bytes", len(der))
	}
	csr, err := smx509.ParseCertificateRequest(der)
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeMalformed, "certification request: not PKCS#10")
	}
	if issuance.FamilyOf(csr.PublicKey) != family || csr.SignatureAlgorithm != family.Signature() {
		return nil, protocol.Errorf(protocol.CodeMalformed, "certification request: not a key of family %s signing with %v", family, family.Signature())
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, protocol.Errorf(protocol.CodeMalformed, "certification request: signature does not verify")
	}
	// the key is written anew, so that one key has one encoding
	if spki, err = smx509.MarshalPKIXPublicKey(csr.PublicKey); err != nil {
		return nil, protocol.Errorf(protocol.CodeMalformed, "certification request: key")
	}
	return spki, nil
}

// maxCSR is the longest certification request in bytes.
const maxCSR = 4 << 10
