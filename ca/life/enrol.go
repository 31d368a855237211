package life

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// SignedCall is a POST to the API with what authenticates it.
type SignedCall struct {
	Path        string // of the request line
	Body        []byte
	Pass, Proof string // values of protocol.HeaderPass and HeaderProof
	Caller      string // see Caller; empty if unknown
}

func (l *Life) call(c SignedCall) protocol.Call {
	return protocol.Call{Method: http.MethodPost, URL: l.publicURL + c.Path, Body: c.Body}
}

// CheckProof verifies a call by a key that has no pass yet.
func (l *Life) CheckProof(c SignedCall, spki []byte) error {
	public, err := protocol.ParseKey(spki)
	if err != nil {
		return err
	}
	return protocol.VerifyProof(&protocol.VerifiedPass{Public: public, Digest: protocol.H(nil)}, c.Proof, l.call(c), l.now())
}

// Enrol answers a caapi.EnrolRequest with the bytes of a caapi.EnrolAnswer. The
// same request gives the same bytes, however often and after whatever crash.
//
// Error codes: malformed, unauthorized, clock_skew, enrolment_code_invalid,
// issuance_conflict, lint_failed, forbidden, cert_revoked, cert_expired,
// renewal_closed.
func (l *Life) Enrol(ctx context.Context, c SignedCall) ([]byte, error) {
	var request caapi.EnrolRequest
	if err := protocol.DecodeJSON(c.Body, &request); err != nil {
		return nil, err
	}
	if request.V != caapi.Version || len(request.RequestID) != caapi.RequestIDSize || len(request.Code) > 64 {
		return nil, protocol.Errorf(protocol.CodeMalformed, "version, request id or code")
	}
	if err := l.CheckProof(c, request.DeviceKey); err != nil {
		return nil, err
	}
	spki, err := ReadCSR(l.family, request.CSR)
	if err != nil {
		return nil, err
	}
	if protocol.Equal(spki, request.DeviceKey) {
		return nil, protocol.Errorf(protocol.CodeMalformed, "one key for device and certificate")
	}
	var row *Issuance
	if err := l.db.Update(ctx, func(tx *sql.Tx) (err error) {
		row, err = l.beginEnrolment(ctx, tx, &request, spki)
		return err
	}); err != nil {
		return nil, err
	}
	return l.Complete(ctx, row)
}

// beginEnrolment finds the issuance of a request that came before, or stores a
// new one: code used, serial numbers drawn, encryption key made and kept.
func (l *Life) beginEnrolment(ctx context.Context, tx *sql.Tx, request *caapi.EnrolRequest, spki []byte) (*Issuance, error) {
	id, digest, code := hex.EncodeToString(request.RequestID), request.Digest(), CodeDigest(request.Code)
	row, err := ReadIssuance(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	if row != nil {
		if row.Kind != issuanceDual || !protocol.Equal([]byte(row.codeDigest), []byte(code)) || !protocol.Equal([]byte(row.Digest), []byte(digest)) {
			return nil, protocol.Errorf(protocol.CodeIssuanceConflict, "the request id belongs to other content")
		}
		return row, nil
	}
	used, err := l.useCode(ctx, tx, code, digest)
	if err != nil {
		return nil, err
	}
	account, err := l.accountOf(ctx, tx, request.DeviceKey, used.account)
	if err != nil {
		return nil, err
	}
	if used.operation == OperationNew {
		row, err = l.newDual(used)
	} else {
		row, err = l.successor(ctx, tx, request, used)
	}
	if err != nil {
		return nil, err
	}
	row.ID, row.Digest, row.codeDigest, row.SPKI, row.account = id, digest, code, spki, account
	row.deviceKey, row.device = request.DeviceKey, protocol.DeviceID(request.DeviceKey)
	if row.keyRecord == "" {
		row.keyRecord = id
		if _, err := l.kmc.Generate(ctx, tx, row.keyRecord, row.lineage); err != nil {
			return nil, err
		}
	}
	return row, errors.Join(l.Insert(ctx, tx, row), l.stop(stepBegun))
}

// newDual draws what a first dual issuance needs of chance and clock.
func (l *Life) newDual(code *codeRow) (*Issuance, error) {
	lineage, err := protocol.Random(trust.LineageSize)
	if err != nil {
		return nil, err
	}
	notBefore, notAfter := LeafDates(l.now(), code.validity)
	return l.dualRow(OperationNew, hex.EncodeToString(lineage), code.subject, notBefore, notAfter)
}

// dualRow is a pending dual issuance with serial numbers of its own.
func (l *Life) dualRow(operation, lineage string, s caapi.Subject, notBefore, notAfter time.Time) (*Issuance, error) {
	serials, err := NewSerials(2)
	if err != nil {
		return nil, err
	}
	subject, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("subject: %w", err)
	}
	return &Issuance{
		Kind: issuanceDual, State: StatePending, Operation: operation, Subject: string(subject), lineage: lineage,
		SignSerial: serials[0], encryptSerial: serials[1], NotBefore: notBefore.Unix(), NotAfter: notAfter.Unix(),
		RefusalCode: string(protocol.CodeLintFailed),
	}, nil
}

// dualAnswer makes the answer of a dual issuance inside the transaction that
// stores it.
func (l *Life) dualAnswer(ctx context.Context, tx *sql.Tx, r *Issuance, signing, encryption *smx509.Certificate) ([]byte, error) {
	response, err := l.kmc.Respond(ctx, tx, r.keyRecord, releaseReason(r.Operation), signing, encryption)
	if err != nil {
		return nil, err
	}
	history, err := l.history(ctx, tx, r, signing)
	if err != nil {
		return nil, err
	}
	pass, err := l.issuePass(r.deviceKey, r.account, l.now())
	if err != nil {
		return nil, err
	}
	id, err := hex.DecodeString(r.ID)
	if err != nil {
		return nil, fmt.Errorf("stored request id: %w", err)
	}
	return protocol.EncodeJSON(caapi.EnrolAnswer{
		V: caapi.Version, RequestID: id, Response: response, Chain: l.status.Above(), Lineage: r.lineage, Account: r.account, Pass: pass,
		Operation: r.Operation, History: history,
	})
}

// releaseReason is what the log says of a key's release.
func releaseReason(operation string) string {
	if operation == OperationNew {
		return "issue"
	}
	return operation
}
