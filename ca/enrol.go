package ca

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
	Caller      string // see Caller; empty where nobody is known
}

func (a *Authority) call(c SignedCall) protocol.Call {
	return protocol.Call{Method: http.MethodPost, URL: a.publicURL + c.Path, Body: c.Body}
}

// checkProof verifies a call by a key that has no pass yet.
func (a *Authority) checkProof(c SignedCall, spki []byte) error {
	public, err := protocol.ParseKey(spki)
	if err != nil {
		return err
	}
	return protocol.VerifyProof(&protocol.VerifiedPass{Public: public, Digest: protocol.H(nil)}, c.Proof, a.call(c), a.now())
}

// Enrol answers a caapi.EnrolRequest with the bytes of a caapi.EnrolAnswer. The
// same request gives the same bytes, however often and after whatever crash.
//
// Error codes: malformed, unauthorized, clock_skew, enrolment_code_invalid,
// issuance_conflict, lint_failed, forbidden, cert_revoked, cert_expired,
// renewal_closed.
func (a *Authority) Enrol(ctx context.Context, c SignedCall) ([]byte, error) {
	var request caapi.EnrolRequest
	if err := protocol.DecodeJSON(c.Body, &request); err != nil {
		return nil, err
	}
	if request.V != caapi.Version || len(request.RequestID) != caapi.RequestIDSize || len(request.Code) > 64 {
		return nil, protocol.Errorf(protocol.CodeMalformed, "version, request id or code")
	}
	if err := a.checkProof(c, request.DeviceKey); err != nil {
		return nil, err
	}
	spki, err := readCSR(a.config.Family, request.CSR)
	if err != nil {
		return nil, err
	}
	if protocol.Equal(spki, request.DeviceKey) {
		return nil, protocol.Errorf(protocol.CodeMalformed, "one key for device and certificate")
	}
	var row *issuanceRow
	if err := a.db.Update(ctx, func(tx *sql.Tx) (err error) {
		row, err = a.beginEnrolment(ctx, tx, &request, spki)
		return err
	}); err != nil {
		return nil, err
	}
	return a.complete(ctx, row)
}

// beginEnrolment finds the issuance of a request that came before, or stores a
// new one: code used, serial numbers drawn, encryption key made and kept.
func (a *Authority) beginEnrolment(ctx context.Context, tx *sql.Tx, request *caapi.EnrolRequest, spki []byte) (*issuanceRow, error) {
	id, digest, code := hex.EncodeToString(request.RequestID), request.Digest(), codeDigest(request.Code)
	row, err := readIssuance(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	if row != nil {
		if row.kind != kindDual || !protocol.Equal([]byte(row.codeDigest), []byte(code)) || !protocol.Equal([]byte(row.digest), []byte(digest)) {
			return nil, protocol.Errorf(protocol.CodeIssuanceConflict, "the request id belongs to other content")
		}
		return row, nil
	}
	used, err := a.useCode(ctx, tx, code, digest)
	if err != nil {
		return nil, err
	}
	account, err := a.accountOf(ctx, tx, request.DeviceKey, used.account)
	if err != nil {
		return nil, err
	}
	if used.kind == opNew {
		row, err = a.newDual(used)
	} else {
		row, err = a.successor(ctx, tx, request, used)
	}
	if err != nil {
		return nil, err
	}
	row.id, row.digest, row.codeDigest, row.spki, row.account = id, digest, code, spki, account
	row.deviceKey, row.device = request.DeviceKey, protocol.DeviceID(request.DeviceKey)
	if row.keyRecord == "" {
		row.keyRecord = id
		if _, err := a.kmc.Generate(ctx, tx, row.keyRecord, row.lineage); err != nil {
			return nil, err
		}
	}
	return row, errors.Join(a.insertIssuance(ctx, tx, row), a.stop(stepBegun))
}

// newDual draws what a first dual issuance needs of chance and clock.
func (a *Authority) newDual(code *codeRow) (*issuanceRow, error) {
	lineage, err := protocol.Random(trust.LineageSize)
	if err != nil {
		return nil, err
	}
	notBefore, notAfter := leafDates(a.now(), code.validity)
	return a.dualRow(opNew, hex.EncodeToString(lineage), code.subject, notBefore, notAfter)
}

// dualRow is a pending dual issuance with serial numbers of its own.
func (a *Authority) dualRow(operation, lineage string, s caapi.Subject, notBefore, notAfter time.Time) (*issuanceRow, error) {
	serials, err := newSerials(2)
	if err != nil {
		return nil, err
	}
	subject, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("subject: %w", err)
	}
	return &issuanceRow{
		kind: kindDual, state: statePending, operation: operation, subject: string(subject), lineage: lineage,
		signSerial: serials[0], encryptSerial: serials[1], notBefore: notBefore.Unix(), notAfter: notAfter.Unix(),
		refusalCode: string(protocol.CodeLintFailed),
	}, nil
}

// dualAnswer makes the answer of a dual issuance inside the transaction that
// stores it.
func (a *Authority) dualAnswer(ctx context.Context, tx *sql.Tx, r *issuanceRow, signing, encryption *smx509.Certificate) ([]byte, error) {
	response, err := a.kmc.Respond(ctx, tx, r.keyRecord, releaseReason(r.operation), signing, encryption)
	if err != nil {
		return nil, err
	}
	history, err := a.history(ctx, tx, r, signing)
	if err != nil {
		return nil, err
	}
	pass, err := a.issuePass(r.deviceKey, r.account, a.now())
	if err != nil {
		return nil, err
	}
	id, err := hex.DecodeString(r.id)
	if err != nil {
		return nil, fmt.Errorf("stored request id: %w", err)
	}
	return protocol.EncodeJSON(caapi.EnrolAnswer{
		V: caapi.Version, RequestID: id, Response: response, Chain: a.above(), Lineage: r.lineage, Account: r.account, Pass: pass,
		Operation: r.operation, History: history,
	})
}

// releaseReason is what the log says of a key's release.
func releaseReason(operation string) string {
	if operation == opNew {
		return "issue"
	}
	return operation
}
