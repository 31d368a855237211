package life

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

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/internal/sqldb"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// Kinds and states of issuances.
const (
	issuanceDual = "dual"

	StatePending = "pending"
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

// Issuance is one issuance as it is stored before anything is signed.
type Issuance struct {
	ID, Kind, Digest, State   string
	SPKI                      []byte
	Subject                   string // JSON
	lineage, account          string
	deviceKey                 []byte
	codeDigest                string
	SignSerial, encryptSerial string
	keyRecord                 string
	NotBefore, NotAfter       int64
	RefusalCode, refusal      string
	Answer                    []byte
	Operation, predecessor    string
	device                    string
	reason                    trust.Reason // for which the certificates before are revoked
}

func LeafDates(now time.Time, validity time.Duration) (notBefore, notAfter time.Time) {
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
func (l *Life) leafRequest(s caapi.Subject, lineage []byte) (issuance.Request, error) {
	r := issuance.Request{
		Subject: issuance.Subject{Country: l.country, Serial: hex.EncodeToString(lineage), CommonName: s.Name}, Lineage: lineage,
	}
	switch trust.HolderKind(s.Kind) {
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
	r.Identity, err = l.identityMark(r.Profile, s.Identity)
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

// ReadIssuance returns nil if there is none.
func ReadIssuance(ctx context.Context, q kmc.Querier, id string) (*Issuance, error) {
	var r Issuance
	err := q.QueryRowContext(ctx, `SELECT `+issuanceColumns+` FROM ca_issuances WHERE id = $1`, id).Scan(
		&r.ID, &r.Kind, &r.Digest, &r.State, &r.SPKI, &r.Subject, &r.lineage, &r.account, &r.deviceKey, &r.codeDigest,
		&r.SignSerial, &r.encryptSerial, &r.keyRecord, &r.NotBefore, &r.NotAfter, &r.RefusalCode, &r.refusal, &r.Answer,
		&r.Operation, &r.predecessor, &r.device, &r.reason)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read issuance: %w", err)
	}
	return &r, nil
}

// Insert stores a new one and claims its lineage. A key that was
// certified before is refused: each signing certificate has a key of its own.
func (l *Life) Insert(ctx context.Context, tx *sql.Tx, r *Issuance) error {
	digest := hex.EncodeToString(protocol.H(r.SPKI))
	var other string
	switch err := tx.QueryRowContext(ctx, `SELECT id FROM ca_issuances WHERE spki_digest = $1`, digest).Scan(&other); {
	case err == nil:
		return protocol.Errorf(protocol.CodeIssuanceConflict, "the key was certified before")
	case !errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("store issuance: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO ca_issuances (`+issuanceColumns+`, spki_digest, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)`,
		r.ID, r.Kind, r.Digest, r.State, r.SPKI, r.Subject, r.lineage, r.account, r.deviceKey, r.codeDigest,
		r.SignSerial, r.encryptSerial, r.keyRecord, r.NotBefore, r.NotAfter, r.RefusalCode, r.refusal, r.Answer,
		r.Operation, r.predecessor, r.device, int(r.reason), digest, l.now().Unix()); err != nil {
		return fmt.Errorf("store issuance: %w", err)
	}
	if r.Kind == issuanceDual {
		if err := claimLineage(ctx, tx, r); err != nil {
			return err
		}
	}
	return l.audit.Append(ctx, tx, audit.ActorAuthority, audit.EventIssuancePending, map[string]string{
		"issuance": r.ID, "kind": r.Kind, "operation": r.Operation, "request": r.Digest, "sign_serial": r.SignSerial, "encrypt_serial": r.encryptSerial,
		"lineage": r.lineage, "predecessor": r.predecessor, "device": r.device, "code": r.codeDigest, "record": r.keyRecord,
	})
}

// NewSerials draws n serial numbers in stored form.
func NewSerials(n int) ([]string, error) {
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

// complete brings a stored issuance to its end and returns its answer; for one
// that has ended it returns the stored answer. It may run any number of times, in several
// processes at once: the certificates follow from the row, and only the first
// transaction that finds it pending stores them.
func (l *Life) Complete(ctx context.Context, r *Issuance) ([]byte, error) {
	if r.State != StatePending {
		return r.outcome()
	}
	if err := l.stop(stepPending); err != nil {
		return nil, err
	}
	requests, err := l.requests(ctx, r)
	if err != nil {
		return nil, err
	}
	issuer := l.status.Current()
	linted, err := l.prepare(ctx, issuer, r, requests)
	if err != nil {
		return nil, err
	}
	if err := l.stop(stepLinted); err != nil {
		return nil, err
	}
	certs := make([]*smx509.Certificate, len(linted))
	for i, one := range linted {
		if certs[i], err = issuer.Issue(one); err != nil {
			return nil, err
		}
	}
	if err := l.stop(stepSigned); err != nil {
		return nil, err
	}
	answer, err := l.settle(ctx, issuer, r.ID, requests, certs)
	if err != nil {
		return nil, err
	}
	if err := l.stop(stepIssued); err != nil {
		return nil, err
	}
	if r.Operation == opReissue {
		l.destroyPending(ctx)
	}
	return answer, nil
}

// outcome returns the answer or the error of an issuance that has ended.
func (r *Issuance) outcome() ([]byte, error) {
	if r.State == stateRefused {
		return nil, protocol.Errorf(protocol.Code(r.RefusalCode), "%s", r.refusal)
	}
	return r.Answer, nil
}

// requests are the certificates that a stored issuance stands for.
func (l *Life) requests(ctx context.Context, r *Issuance) ([]issuance.Request, error) {
	public, err := smx509.ParsePKIXPublicKey(r.SPKI)
	if err != nil {
		return nil, fmt.Errorf("stored key: %w", err)
	}
	var first issuance.Request
	switch r.Kind {
	case issuanceDual:
		first, err = l.dualRequest(r)
	case issuanceSingle:
		first, err = l.singleRequest(r)
	default:
		kind, known := l.kinds[r.Kind]
		if !known {
			return nil, fmt.Errorf("issuance %s is of kind %q", r.ID, r.Kind)
		}
		first, err = kind.Request(r.Subject)
	}
	if err != nil {
		return nil, err
	}
	first.PublicKey = public
	first.NotBefore, first.NotAfter = time.Unix(r.NotBefore, 0).UTC(), time.Unix(r.NotAfter, 0).UTC()
	if first.Serial, err = trust.ParseSerialHex(r.SignSerial); err != nil {
		return nil, err
	}
	if r.Kind != issuanceDual {
		return []issuance.Request{first}, nil
	}
	second := first
	second.Profile, second.OtherKey = encryptionProfile(first.Profile), first.PublicKey
	if second.PublicKey, err = l.kmc.PublicKey(ctx, l.db.Reader(), r.keyRecord); err != nil {
		return nil, err
	}
	second.Serial, err = trust.ParseSerialHex(r.encryptSerial)
	return []issuance.Request{first, second}, err
}

// Lint lints what an issuance of one certificate would sign.
func (l *Life) Lint(ctx context.Context, r *Issuance) error {
	requests, err := l.requests(ctx, r)
	if err != nil {
		return err
	}
	return l.lintOnly(requests[0])
}

// Family of all keys.
func (l *Life) Family() issuance.Family { return l.family }

func (l *Life) dualRequest(r *Issuance) (issuance.Request, error) {
	var subject caapi.Subject
	if err := json.Unmarshal([]byte(r.Subject), &subject); err != nil {
		return issuance.Request{}, fmt.Errorf("stored subject: %w", err)
	}
	lineage, err := hex.DecodeString(r.lineage)
	if err != nil {
		return issuance.Request{}, fmt.Errorf("stored lineage: %w", err)
	}
	return l.leafRequest(subject, lineage)
}

// prepare lints all certificates of an issuance before any is signed. A failed
// lint ends the issuance by the lint's name.
func (l *Life) prepare(ctx context.Context, issuer *status.Issuer, r *Issuance, requests []issuance.Request) ([]*issuance.Linted, error) {
	var all []*issuance.Linted
	for _, request := range requests {
		linted, err := issuer.Prepare(request)
		var failed *issuance.LintError
		if errors.As(err, &failed) {
			return nil, l.refuse(ctx, r, failed)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, linted)
	}
	return all, nil
}

func (l *Life) refuse(ctx context.Context, r *Issuance, failed *issuance.LintError) error {
	err := l.db.Update(ctx, func(tx *sql.Tx) error {
		return l.Refuse(ctx, tx, r, protocol.CodeLintFailed, failed.Error())
	})
	if err != nil {
		return err
	}
	return protocol.Errorf(protocol.CodeLintFailed, "%v", failed)
}

// Refuse ends a pending issuance without certificates; one that has ended in
// another process stays as it is.
func (l *Life) Refuse(ctx context.Context, tx *sql.Tx, r *Issuance, code protocol.Code, why string) error {
	won, err := sqldb.Changed(tx.ExecContext(ctx, `UPDATE ca_issuances SET state = 'refused', refusal_code = $1, refusal = $2 WHERE id = $3 AND state = 'pending'`,
		string(code), why, r.ID))
	if err != nil {
		return fmt.Errorf("refuse issuance: %w", err)
	}
	if !won {
		return nil
	}
	if err := releaseLineage(ctx, tx, r); err != nil {
		return err
	}
	return l.audit.Append(ctx, tx, audit.ActorAuthority, audit.EventIssuanceRefused, map[string]string{"issuance": r.ID, "lineage": r.lineage, "refusal": string(code), "why": why})
}

// settle stores certificates and answer in one transaction, or returns what
// another one stored before.
func (l *Life) settle(ctx context.Context, issuer *status.Issuer, id string, requests []issuance.Request, certs []*smx509.Certificate) ([]byte, error) {
	var answer []byte
	err := l.db.Update(ctx, func(tx *sql.Tx) error {
		r, err := ReadIssuance(ctx, tx, id)
		if err != nil {
			return err
		}
		if r == nil {
			return fmt.Errorf("issuance %s has vanished", id)
		}
		if r.State != StatePending {
			answer, err = r.outcome()
			return err
		}
		if err := l.mayIssue(ctx, tx, issuer); err != nil {
			return err
		}
		if err := errors.Join(l.supersede(ctx, tx, r), l.stop(stepSuperseded)); err != nil {
			return err
		}
		for i, cert := range certs {
			row := status.Certificate{Profile: requests[i].Profile, Issuer: issuer.Name, Lineage: r.lineage, Issuance: r.ID, Cert: cert}
			if err := l.status.Store(ctx, tx, row); err != nil {
				return err
			}
		}
		switch r.Kind {
		case issuanceSingle:
			answer, err = protocol.EncodeJSON(SingleCertificate{Serial: r.SignSerial, Chain: append([]protocol.Bytes{certs[0].Raw}, issuer.Chain(l.status.Root())...)})
		case issuanceDual:
			answer, err = l.dualAnswer(ctx, tx, r, certs[0], certs[1])
			err = errors.Join(err, advanceLineage(ctx, tx, r))
		default:
			answer, err = l.kinds[r.Kind].Answer(ctx, tx, issuer, r, certs[0])
		}
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE ca_issuances SET state = 'issued', answer = $1 WHERE id = $2`, answer, id); err != nil {
			return fmt.Errorf("store answer: %w", err)
		}
		done := map[string]string{"issuance": id, "lineage": r.lineage}
		if r.Operation == opReissue {
			done["destruction"] = id
		}
		return errors.Join(l.audit.Append(ctx, tx, audit.ActorAuthority, audit.EventIssued, done), l.stop(stepStored))
	})
	return answer, err
}

// mayIssue refuses an issuing authority that another process has revoked. What was
// to be issued stays pending until this one takes up the new authority.
func (l *Life) mayIssue(ctx context.Context, tx *sql.Tx, issuer *status.Issuer) error {
	var state string
	if err := tx.QueryRowContext(ctx, `SELECT state FROM ca_certificates WHERE serial = $1`, trust.SerialHex(issuer.Certificate().SerialNumber)).Scan(&state); err != nil {
		return fmt.Errorf("read issuing authority: %w", err)
	}
	if state != status.StateGood {
		return fmt.Errorf("issuing authority %s is revoked: open the authority again", issuer.Name)
	}
	return nil
}

// ReadCSR reads a PKCS#10 request, checks its signature (proof of possession)
// and returns the SubjectPublicKeyInfo of its key, which is of the authority's
// family. Everything else in it is ignored: the authority knows its subjects by
// itself.
func ReadCSR(family issuance.Family, der []byte) (spki []byte, err error) {
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
