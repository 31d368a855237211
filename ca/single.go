package ca

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

// kindSingle is an issuance of one signing certificate, in families without dual
// certificates.
const kindSingle = "single"

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

// SingleCertificate is the answer: the certificate, the issuing authority and the
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
func (a *Authority) IssueSingle(ctx context.Context, s Single) (*SingleCertificate, error) {
	if a.config.Family == issuance.SM2 {
		return nil, protocol.Errorf(protocol.CodeMalformed, "an SM2 authority issues dual certificates, to phones that enrol")
	}
	s.Subject.Identity = "" // written by the authority alone
	if s.Validity == 0 {
		s.Validity = defaultValidity
	}
	if s.Validity < time.Second {
		return nil, protocol.Errorf(protocol.CodeMalformed, "validity out of bounds")
	}
	if err := checkShown(s.Subject.Name); err != nil {
		return nil, err
	}
	spki, err := readCSR(a.config.Family, s.CSR)
	if err != nil {
		return nil, err
	}
	var row *issuanceRow
	if err := a.db.Update(ctx, func(tx *sql.Tx) (err error) {
		row, err = a.beginSingle(ctx, tx, s, spki)
		return err
	}); err != nil {
		return nil, err
	}
	raw, err := a.complete(ctx, row)
	if err != nil {
		return nil, err
	}
	var answer SingleCertificate
	return &answer, protocol.DecodeJSON(raw, &answer)
}

func (a *Authority) beginSingle(ctx context.Context, tx *sql.Tx, s Single, spki []byte) (*issuanceRow, error) {
	subject, err := json.Marshal(singleSubject{s.Subject, int64(s.Validity / time.Second)})
	if err != nil {
		return nil, fmt.Errorf("subject: %w", err)
	}
	id := "single-" + hex.EncodeToString(protocol.H(spki)[:16])
	row, err := readIssuance(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	if row != nil {
		if row.subject != string(subject) {
			return nil, protocol.Errorf(protocol.CodeConflict, "this key was certified for another request")
		}
		return row, nil
	}
	serials, err := newSerials(1)
	if err != nil {
		return nil, err
	}
	lineage := make([]byte, trust.LineageSize)
	if _, err := rand.Read(lineage); err != nil {
		return nil, fmt.Errorf("lineage: %w", err)
	}
	notBefore, notAfter := leafDates(a.now(), s.Validity)
	row = &issuanceRow{
		id: id, kind: kindSingle, operation: "new", refusalCode: string(protocol.CodeLintFailed), digest: hex.EncodeToString(protocol.H(subject)),
		state: statePending, spki: spki, subject: string(subject), lineage: hex.EncodeToString(lineage), signSerial: serials[0],
		notBefore: notBefore.Unix(), notAfter: notAfter.Unix(),
	}
	requests, err := a.requests(ctx, row)
	if err != nil {
		return nil, err
	}
	if err := a.lintOnly(requests[0]); err != nil {
		return nil, err
	}
	return row, a.insertIssuance(ctx, tx, row)
}

func (a *Authority) singleRequest(r *issuanceRow) (issuance.Request, error) {
	var stored singleSubject
	if err := json.Unmarshal([]byte(r.subject), &stored); err != nil {
		return issuance.Request{}, fmt.Errorf("stored subject: %w", err)
	}
	lineage, err := hex.DecodeString(r.lineage)
	if err != nil {
		return issuance.Request{}, fmt.Errorf("stored lineage: %w", err)
	}
	return a.leafRequest(stored.Subject, lineage)
}
