package life

import (
	"context"
	"crypto/rand"
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
	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// predecessor is the newest certificate of a lineage, which another is to
// follow.
type predecessor struct {
	lineage  *lineageRow
	row      *Issuance // that made it
	cert     *smx509.Certificate
	subject  caapi.Subject
	revoked  bool // a hold counts
	held     bool
	expected string // serial number that was asked for
}

// findPredecessor reads the newest certificate of the lineage to which a serial
// number belongs.
func (l *Life) findPredecessor(ctx context.Context, tx *sql.Tx, serial string) (*predecessor, error) {
	number, err := trust.ParseSerialHex(serial)
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeMalformed, "%v", err)
	}
	p := &predecessor{expected: trust.SerialHex(number)}
	var lineage string
	err = tx.QueryRowContext(ctx, `SELECT lineage FROM ca_certificates WHERE serial = $1`, p.expected).Scan(&lineage)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	if err != nil || lineage == "" {
		return nil, protocol.Errorf(protocol.CodeNotFound, "no dual certificate of that serial number")
	}
	if p.lineage, err = readLineage(ctx, tx, lineage); err != nil {
		return nil, err
	}
	if p.lineage == nil || p.lineage.head == "" {
		return nil, protocol.Errorf(protocol.CodeNotFound, "lineage %s has no certificate", lineage)
	}
	return p, l.readHead(ctx, tx, p)
}

func (l *Life) readHead(ctx context.Context, tx *sql.Tx, p *predecessor) error {
	var der []byte
	var id, state string
	var reason trust.Reason
	err := tx.QueryRowContext(ctx, `SELECT der, issuance, state, reason FROM ca_certificates WHERE serial = $1`, p.lineage.head).Scan(&der, &id, &state, &reason)
	if err != nil {
		return fmt.Errorf("read certificate %s: %w", p.lineage.head, err)
	}
	p.revoked, p.held = state != status.StateGood, state != status.StateGood && reason == trust.CertificateHold
	if p.cert, err = trust.ParseCertificate(der); err != nil {
		return err
	}
	if p.row, err = ReadIssuance(ctx, tx, id); err != nil || p.row == nil {
		return fmt.Errorf("issuance %s of certificate %s: %w", id, p.lineage.head, errors.Join(err, sql.ErrNoRows))
	}
	if err := json.Unmarshal([]byte(p.row.Subject), &p.subject); err != nil {
		return fmt.Errorf("stored subject: %w", err)
	}
	return nil
}

// check holds what every operation wants: the newest certificate, in force. A
// held one can be reissued, because a lost phone is reported first.
func (p *predecessor) check(operation string, now time.Time) error {
	switch {
	case p.expected != p.row.SignSerial && p.expected != p.row.encryptSerial:
		return protocol.Errorf(protocol.CodeConflict, "certificate %s was followed by %s", p.expected, p.lineage.head)
	case p.revoked && !p.held:
		return protocol.Errorf(protocol.CodeCertRevoked, "certificate %s is revoked: apply for a new one", p.lineage.head)
	case p.held && operation != opReissue:
		return protocol.Errorf(protocol.CodeCertRevoked, "certificate %s is on hold", p.lineage.head)
	case !now.Before(p.cert.NotAfter):
		return protocol.Errorf(protocol.CodeCertExpired, "certificate %s ended on %s", p.lineage.head, p.cert.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkEscrowed refuses to certify an encryption key anew that is known to be in
// other hands. A reissue with a new one goes on.
func (l *Life) checkEscrowed(ctx context.Context, tx *sql.Tx, p *predecessor, rekey bool) error {
	if rekey {
		return nil
	}
	var lost int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM ca_issuances i JOIN ca_certificates c ON c.serial = i.encrypt_serial
		WHERE i.lineage = $1 AND i.key_record = $2 AND c.state = 'revoked' AND c.reason = $3`, p.lineage.id, p.row.keyRecord, int(trust.KeyCompromise)).Scan(&lost); err != nil {
		return fmt.Errorf("read encryption certificates: %w", err)
	}
	if lost != 0 {
		return protocol.Errorf(protocol.CodeCertRevoked, "the encryption key is compromised: reissue with a new one")
	}
	return nil
}

// plan is what the next certificate of a lineage will say.
func (l *Life) plan(p *predecessor, code *codeRow) (caapi.Subject, time.Time, error) {
	switch code.operation {
	case OperationRenew:
		end, err := renewedEnd(p.cert.NotAfter, code.years, l.now())
		return p.subject, end, err
	case opChange:
		return code.subject, p.cert.NotAfter, checkChange(p.subject, code.subject)
	case opReissue:
		return p.subject, p.cert.NotAfter, nil
	}
	return caapi.Subject{}, time.Time{}, fmt.Errorf("operation %q", code.operation)
}

// authorise makes a one-use code for an operation on the certificate of a serial
// number. What was authorised for its lineage before, and not used, is void.
func (l *Life) authorise(ctx context.Context, actor audit.Actor, serial string, code codeRow, expires time.Duration) (*caapi.EnrolmentFile, error) {
	if expires < time.Second || expires > maxExpiry {
		return nil, protocol.Errorf(protocol.CodeMalformed, "expiry out of bounds")
	}
	text, digest, err := drawCode()
	if err != nil {
		return nil, err
	}
	until := l.now().Add(expires).Unix()
	var file *caapi.EnrolmentFile
	err = l.db.Update(ctx, func(tx *sql.Tx) error {
		p, err := l.findPredecessor(ctx, tx, serial)
		if err != nil {
			return err
		}
		if err := p.check(code.operation, l.now()); err != nil {
			return err
		}
		if err := l.checkEscrowed(ctx, tx, p, code.rekey); err != nil {
			return err
		}
		if p.lineage.pending != "" {
			return protocol.Errorf(protocol.CodeIssuanceConflict, "an issuance for this certificate is under way")
		}
		if code.operation == opChange {
			code.subject = changedSubject(p.subject, code.subject)
		}
		subject, end, err := l.plan(p, &code)
		if err != nil {
			return err
		}
		if err := l.lintPlan(p, subject, end); err != nil {
			return err
		}
		code.subject, code.lineage, code.predecessor = subject, p.lineage.id, p.lineage.head
		if err := l.voidCodes(ctx, tx, actor, p.lineage.id, codeVoid, "another code was made"); err != nil {
			return err
		}
		if file, err = l.codeFile(text, until, code); err != nil {
			return err
		}
		return l.storeCode(ctx, tx, actor, digest, until, code)
	})
	return file, err
}

// lintPlan lints the certificate to be, so that a code which could never be used
// is not given out.
func (l *Life) lintPlan(p *predecessor, subject caapi.Subject, end time.Time) error {
	key, err := throwAwayKey(l.family)
	if err != nil {
		return err
	}
	lineage, err := hex.DecodeString(p.lineage.id)
	if err != nil {
		return fmt.Errorf("stored lineage: %w", err)
	}
	request, err := l.leafRequest(subject, lineage)
	if err != nil {
		return err
	}
	if request.Serial, err = issuance.NewSerial(rand.Reader); err != nil {
		return err
	}
	request.PublicKey, request.NotAfter = key, end.UTC()
	request.NotBefore, _ = LeafDates(l.now(), 0)
	return l.lintOnly(request)
}

// successor is the pending issuance that follows the newest certificate of a
// lineage. The caller has used the code; an error gives it back.
func (l *Life) successor(ctx context.Context, tx *sql.Tx, request *caapi.EnrolRequest, code *codeRow) (*Issuance, error) {
	p, err := l.findPredecessor(ctx, tx, code.predecessor)
	if err != nil {
		return nil, err
	}
	if err := p.check(code.operation, l.now()); err != nil {
		return nil, err
	}
	if err := l.checkEscrowed(ctx, tx, p, code.rekey); err != nil {
		return nil, err
	}
	if code.operation == opReissue {
		err = checkReissue(request, code)
	} else {
		err = p.checkHolder(request)
	}
	if err != nil {
		return nil, err
	}
	subject, end, err := l.plan(p, code)
	if err != nil {
		return nil, err
	}
	notBefore, _ := LeafDates(l.now(), 0)
	row, err := l.dualRow(code.operation, p.lineage.id, subject, notBefore, end)
	if err != nil {
		return nil, err
	}
	row.predecessor, row.keyRecord = p.lineage.head, p.row.keyRecord
	switch {
	case code.operation == opChange:
		row.reason = trust.AffiliationChanged
	case code.operation == opReissue:
		row.reason = code.reason
	}
	if code.rekey {
		row.keyRecord = ""
	}
	return row, nil
}

// checkHolder: a renewal or change comes from the phone that holds the
// certificate, and its signing key says so. The code alone is worth nothing.
func (p *predecessor) checkHolder(request *caapi.EnrolRequest) error {
	if protocol.DeviceID(request.DeviceKey) != p.lineage.device {
		return protocol.Errorf(protocol.CodeForbidden, "this phone does not hold the certificate: moving it to another phone takes a reissue")
	}
	serial, err := trust.ParseSerialHex(request.Predecessor)
	if err != nil || trust.SerialHex(serial) != p.lineage.head {
		return protocol.Errorf(protocol.CodeForbidden, "the request names another certificate than the code")
	}
	if !protocol.Verify(p.cert.PublicKey, request.SuccessionMessage(), request.Succession) {
		return protocol.Errorf(protocol.CodeForbidden, "the request is not signed by the certificate's key")
	}
	return nil
}

// supersede revokes what an issuance replaces, in the transaction that stores
// the new certificates: after a change of name and a reissue no signing
// certificate of the lineage but the new one counts. A renewal leaves the old
// ones to their end. Encryption certificates stay: what was encrypted to them
// opens with the key that continues.
func (l *Life) supersede(ctx context.Context, tx *sql.Tx, r *Issuance) error {
	if r.Operation != opChange && r.Operation != opReissue {
		return nil
	}
	found, err := status.ReadStanding(ctx, tx, "", r.lineage)
	if err != nil {
		return err
	}
	found = slices.DeleteFunc(found, func(s status.Standing) bool {
		return s.Profile != issuance.OrganisationSigning && s.Profile != issuance.PersonSigning
	})
	if _, err := l.status.Stop(ctx, tx, audit.ActorAuthority, found, r.reason); err != nil {
		return err
	}
	if r.Operation == opReissue {
		return l.retireDevice(ctx, tx, r)
	}
	return nil
}
