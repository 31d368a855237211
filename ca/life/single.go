package life

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
)

// issuanceSingle is an issuance of one signing certificate, in families without dual
// certificates.
const issuanceSingle = "single"

// Single is a signing certificate for a key that its holder made, in an authority
// of the ECDSA or RSA family: what PDF readers abroad verify. Phones enrol with
// SM2 authorities alone.
type Single struct {
	Subject caapi.Subject
	// CSR is the holder's PKCS#10; its subject is not looked at.
	CSR []byte
	// Validity from now; a year if zero.
	Validity time.Duration
}

// SingleCertificate is the result: the certificate, the issuing authority and the
// root.
type SingleCertificate struct {
	Serial string           `json:"serial"`
	Chain  []protocol.Bytes `json:"chain"`
}

// singleSubject is what is stored of a request.
type singleSubject struct {
	caapi.Subject
	Validity int64 `json:"validity"` // seconds
}

// IssueSingle issues one signing certificate. The same request for the same key
// gives the same certificate, whatever happened in between; another request for
// that key is refused.
//
// Errors: malformed, conflict, lint_failed.
func (l *Life) IssueSingle(ctx context.Context, s Single) (*SingleCertificate, error) {
	if l.family == issuance.SM2 {
		return nil, protocol.Errorf(protocol.CodeMalformed, "an SM2 authority issues dual certificates, to phones that enrol")
	}
	s.Subject.Identity = "" // written by the authority alone
	if s.Validity == 0 {
		s.Validity = DefaultValidity
	}
	if s.Validity < time.Second {
		return nil, protocol.Errorf(protocol.CodeMalformed, "validity out of bounds")
	}
	if err := CheckShown(s.Subject.Name); err != nil {
		return nil, err
	}
	spki, err := ReadCSR(l.family, s.CSR)
	if err != nil {
		return nil, err
	}
	var row *Issuance
	if err := l.db.Update(ctx, func(tx *sql.Tx) (err error) {
		row, err = l.beginSingle(ctx, tx, s, spki)
		return err
	}); err != nil {
		return nil, err
	}
	raw, err := l.Complete(ctx, row)
	if err != nil {
		return nil, err
	}
	var answer SingleCertificate
	return &answer, protocol.DecodeJSON(raw, &answer)
}

func (l *Life) beginSingle(ctx context.Context, tx *sql.Tx, s Single, spki []byte) (*Issuance, error) {
	subject, err := json.Marshal(singleSubject{s.Subject, int64(s.Validity / time.Second)})
	if err != nil {
		return nil, fmt.Errorf("subject: %w", err)
	}
	id := "single-" + hex.EncodeToString(protocol.H(spki)[:16])
	row, err := ReadIssuance(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	if row != nil {
		if row.Subject != string(subject) {
			return nil, protocol.Errorf(protocol.CodeConflict, "this key was certified for another request")
		}
		return row, nil
	}
	serials, err := NewSerials(1)
	if err != nil {
		return nil, err
	}
	lineage := make([]byte, trust.LineageSize)
	if _, err := rand.Read(lineage); err != nil {
		return nil, fmt.Errorf("lineage: %w", err)
	}
	notBefore, notAfter := LeafDates(l.now(), s.Validity)
	row = &Issuance{
		ID: id, Kind: issuanceSingle, Operation: "new", RefusalCode: string(protocol.CodeLintFailed), Digest: hex.EncodeToString(protocol.H(subject)),
		State: StatePending, SPKI: spki, Subject: string(subject), lineage: hex.EncodeToString(lineage), SignSerial: serials[0],
		NotBefore: notBefore.Unix(), NotAfter: notAfter.Unix(),
	}
	if err := l.Lint(ctx, row); err != nil {
		return nil, err
	}
	return row, l.Insert(ctx, tx, row)
}

func (l *Life) singleRequest(r *Issuance) (issuance.Request, error) {
	var stored singleSubject
	if err := json.Unmarshal([]byte(r.Subject), &stored); err != nil {
		return issuance.Request{}, fmt.Errorf("stored subject: %w", err)
	}
	lineage, err := hex.DecodeString(r.lineage)
	if err != nil {
		return issuance.Request{}, fmt.Errorf("stored lineage: %w", err)
	}
	return l.leafRequest(stored.Subject, lineage)
}
