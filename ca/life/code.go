package life

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
)

// CodeRequest is what an operator wants an enrolment code for.
type CodeRequest struct {
	Subject caapi.Subject
	// IdentityNumber of the person (GB 11643), if the certificates are to show it
	// in the configured form; it is not kept. Optional.
	IdentityNumber string
	// Validity of the certificates from the moment they are issued; a year if
	// zero, at most the profile's.
	Validity time.Duration
	// Expires is how long the code may be used; seven days if zero.
	Expires time.Duration
}

const (
	DefaultValidity = 365 * 24 * time.Hour
	DefaultExpiry   = 7 * 24 * time.Hour
	maxExpiry       = 90 * 24 * time.Hour
	codeSize        = 20 // bytes of randomness, 32 characters
)

// NewEnrolmentCode makes a one-use code for a named subject. The code is only
// in the result; the database keeps its digest.
func (l *Life) NewEnrolmentCode(ctx context.Context, actor audit.Actor, r CodeRequest) (*caapi.EnrolmentFile, error) {
	if r.Validity == 0 {
		r.Validity = DefaultValidity
	}
	if r.Expires == 0 {
		r.Expires = DefaultExpiry
	}
	var err error
	if r.Subject.Identity, err = l.identityText(r.Subject.Kind, r.IdentityNumber); err != nil {
		return nil, err
	}
	if err := l.CheckCodeRequest(r); err != nil {
		return nil, err
	}
	text, digest, err := drawCode()
	if err != nil {
		return nil, err
	}
	until := l.now().Add(r.Expires).Unix()
	code := codeRow{operation: OperationNew, subject: r.Subject, validity: r.Validity}
	file, err := l.codeFile(text, until, code)
	if err != nil {
		return nil, err
	}
	if err := l.db.Update(ctx, func(tx *sql.Tx) error { return l.storeCode(ctx, tx, actor, digest, until, code) }); err != nil {
		return nil, err
	}
	return file, nil
}

// drawCode draws a code and returns its text and its digest.
func drawCode() (text, digest string, err error) {
	secret := make([]byte, codeSize)
	if _, err := rand.Read(secret); err != nil {
		return "", "", fmt.Errorf("enrolment code: %w", err)
	}
	text = base32.StdEncoding.EncodeToString(secret)
	clear(secret)
	return text, CodeDigest(text), nil
}

// storeCode keeps what a code stands for under its digest.
func (l *Life) storeCode(ctx context.Context, tx *sql.Tx, actor audit.Actor, digest string, until int64, c codeRow) error {
	subject, err := json.Marshal(c.subject)
	if err != nil {
		return fmt.Errorf("enrolment code: %w", err)
	}
	validity, rekey := int64(c.validity/time.Second), 0
	if c.rekey {
		rekey = 1
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO ca_codes (digest, subject, validity, expires_at, state, created_at, kind, lineage, predecessor, years, reason, device, rekey)
		VALUES ($1, $2, $3, $4, 'open', $5, $6, $7, $8, $9, $10, $11, $12)`,
		digest, string(subject), validity, until, l.now().Unix(), c.operation, c.lineage, c.predecessor, c.years, int(c.reason), c.device, rekey); err != nil {
		return fmt.Errorf("store enrolment code: %w", err)
	}
	return l.audit.Append(ctx, tx, actor, audit.EventCodeMade, map[string]any{
		"code": digest, "operation": c.operation, "subject_sm3": hex.EncodeToString(protocol.H(subject)), "validity": validity, "expires": until,
		"lineage": c.lineage, "predecessor": c.predecessor, "years": c.years, "reason": c.reason.String(), "bound_to": c.device, "rekey": c.rekey,
	})
}

// codeFile is what the operator hands out.
func (l *Life) codeFile(text string, until int64, c codeRow) (*caapi.EnrolmentFile, error) {
	believed, err := l.trustFile()
	if err != nil {
		return nil, err
	}
	root := trust.Digest(l.status.Root())
	return &caapi.EnrolmentFile{
		V: caapi.Version, CA: l.publicURL, Code: text, Expires: until, Subject: c.subject, Operation: c.operation, Lineage: c.lineage, Serial: c.predecessor,
		Roots: []string{hex.EncodeToString(root[:])}, Trust: believed,
	}, nil
}

// CheckCodeRequest lints a certificate for the subject, so that a code which
// could never be used is not given out.
func (l *Life) CheckCodeRequest(r CodeRequest) error {
	if l.family != issuance.SM2 {
		return protocol.Errorf(protocol.CodeMalformed, "phones enrol with SM2 authorities; one of family %s issues by certification request", l.family)
	}
	if r.Validity < time.Second || r.Expires < time.Second || r.Expires > maxExpiry {
		return protocol.Errorf(protocol.CodeMalformed, "validity or expiry out of bounds")
	}
	if err := CheckShown(r.Subject.Name); err != nil {
		return err
	}
	key, err := throwAwayKey(l.family)
	if err != nil {
		return err
	}
	serial, err := issuance.NewSerial(rand.Reader)
	if err != nil {
		return err
	}
	lineage, err := protocol.Random(trust.LineageSize)
	if err != nil {
		return err
	}
	notBefore, notAfter := LeafDates(l.now(), r.Validity)
	request, err := l.leafRequest(r.Subject, lineage)
	if err != nil {
		return err
	}
	request.PublicKey, request.Serial, request.NotBefore, request.NotAfter = key, serial, notBefore, notAfter
	return l.lintOnly(request)
}

// lintOnly says by name which lint a certificate would fail; nothing is signed.
func (l *Life) lintOnly(request issuance.Request) error {
	_, err := l.status.Current().Prepare(request)
	var failed *issuance.LintError
	if errors.As(err, &failed) {
		return protocol.Errorf(protocol.CodeLintFailed, "%v", failed)
	}
	return err
}

// CheckShown refuses names that a phone would not show.
func CheckShown(name string) error {
	if err := protocol.CheckDisplay(name); err != nil || strings.TrimSpace(name) != name || utf8.RuneCountInString(name) > 64 {
		return protocol.Errorf(protocol.CodeMalformed, "name: 1 to 64 characters that can be shown, in normalization form C")
	}
	return nil
}

// CodeDigest is how a code is stored and found. Codes are 160 random bits, so
// that the digest needs no stretching, and a look-up by it reveals nothing.
func CodeDigest(code string) string {
	clean := strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(code))
	return hex.EncodeToString(protocol.H([]byte("bidseal/ca enrolment code 1\x00"), []byte(clean)))
}

// codeRow is a code in the database.
type codeRow struct {
	operation            string
	subject              caapi.Subject
	validity             time.Duration // of a first certificate
	lineage, predecessor string
	years                int // renewals
	reason               trust.Reason
	device               string
	rekey                bool
	account              string // of the lineage
}

// useCode binds a code to a request digest: the first use wins, the same request
// may come again at any time, any other finds the code used.
func (l *Life) useCode(ctx context.Context, tx *sql.Tx, digest, requestDigest string) (*codeRow, error) {
	refused := protocol.Errorf(protocol.CodeEnrolmentCode, "unknown, used or expired")
	if _, err := tx.ExecContext(ctx, `UPDATE ca_codes SET state = 'used', request_digest = $1 WHERE digest = $2 AND state = 'open' AND expires_at > $3`,
		requestDigest, digest, l.now().Unix()); err != nil {
		return nil, fmt.Errorf("use enrolment code: %w", err)
	}
	var row codeRow
	var subject, state, bound string
	var validity, rekey int64
	err := tx.QueryRowContext(ctx, `SELECT subject, validity, state, request_digest, kind, lineage, predecessor, years, reason, device, rekey,
		COALESCE((SELECT i.account FROM ca_issuances i WHERE i.sign_serial = ca_codes.predecessor), '') FROM ca_codes WHERE digest = $1`, digest).Scan(
		&subject, &validity, &state, &bound, &row.operation, &row.lineage, &row.predecessor, &row.years, &row.reason, &row.device, &rekey, &row.account)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, refused
	}
	if err != nil {
		return nil, fmt.Errorf("use enrolment code: %w", err)
	}
	if state != "used" || !protocol.Equal([]byte(bound), []byte(requestDigest)) {
		return nil, refused
	}
	row.validity, row.rekey = time.Duration(validity)*time.Second, rekey != 0
	if err := json.Unmarshal([]byte(subject), &row.subject); err != nil {
		return nil, fmt.Errorf("enrolment code's subject: %w", err)
	}
	return &row, nil
}

// VoidCode ends a code by its digest, so that another can be given out in its
// place; one that was used or withdrawn is a conflict. An empty digest is none.
func (l *Life) VoidCode(ctx context.Context, actor audit.Actor, digest string) error {
	if digest == "" {
		return nil
	}
	return l.db.Update(ctx, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, `UPDATE ca_codes SET state = 'void' WHERE digest = $1 AND state NOT IN ('used', 'withdrawn')`, digest)
		if err != nil {
			return fmt.Errorf("end code: %w", err)
		}
		if n, err := result.RowsAffected(); err != nil || n != 1 {
			return errors.Join(err, protocol.Errorf(protocol.CodeConflict, "the code was used or withdrawn"))
		}
		return l.audit.Append(ctx, tx, actor, audit.EventCodeVoid, map[string]string{"code": digest, "why": "given out anew"})
	})
}
