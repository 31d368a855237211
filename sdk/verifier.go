package bidseal

import (
	"errors"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
)

// Verifier judges evidence files offline: nothing is believed but the authorities
// given.
type Verifier struct {
	// Anchors are the authorities that are believed. Required.
	Anchors *trust.Store
}

// Report is what a valid evidence file proves.
type Report struct {
	CID          string    `json:"cid"`
	Kind         string    `json:"kind"`
	Platform     string    `json:"platform"`
	PlatformName string    `json:"platform_name"`
	Requested    time.Time `json:"requested"`
	Signed       time.Time `json:"signed"`
	Holder       Holder    `json:"holder"`
	Shown        []string  `json:"shown"`
	Device       string    `json:"device"`
	LedgerIndex  uint64    `json:"ledger_index"`
	LedgerKey    string    `json:"ledger_key"` // KeyID, lower-case hex: whose promise it is
	Parts        []string  `json:"parts"`      // what was checked, in order
	// Timestamp is nil where the file has none: when it was made then rests on the
	// word of those who made it.
	Timestamp *TimestampReport `json:"timestamp"`
}

// Holder is the signer as the certificate names it.
type Holder struct {
	Subject
	Kind              HolderKind `json:"kind"`
	Person            string     `json:"person"`
	Organisation      string     `json:"organisation,omitempty"`
	CreditCode        string     `json:"credit_code,omitempty"`
	Role              string     `json:"role,omitempty"`
	CertificateSerial string     `json:"certificate_serial"`
}

// EvidenceError names the part of an evidence file that does not hold. It is
// ErrEvidenceInvalid to errors.Is.
type EvidenceError struct {
	Part string // such as "statement signature" or "signer status"
	Err  error
}

// Error renders "evidence_invalid: part: reason".
func (e *EvidenceError) Error() string {
	return string(protocol.CodeEvidenceInvalid) + ": " + e.Part + ": " + e.Err.Error()
}

// Unwrap gives the stable code first, then the reason.
func (e *EvidenceError) Unwrap() []error {
	return []error{protocol.Errorf(protocol.CodeEvidenceInvalid, "%s: %v", e.Part, e.Err), e.Err}
}

// Parts of an evidence file, as EvidenceError names them.
const (
	PartFile               = "file"
	PartRequest            = "request"
	PartPlatformChain      = "platform chain"
	PartRequestSignature   = "request signature"
	PartPlatformStatus     = "platform status"
	PartSignerChain        = "signer chain"
	PartStatementSignature = "statement signature"
	PartStatement          = "statement"
	PartShown              = "shown lines"
	PartOwner              = "expected owner"
	PartSignerStatus       = "signer status"
	PartReceipt            = "receipt"
	PartResult             = "result bytes"
	PartLedger             = "ledger promise"
	PartTimestamp          = "timestamp"
)

// VerifyEvidence verifies a file. Every refusal of the file is an
// *EvidenceError; a verifier without anchors is another error.
func (v Verifier) VerifyEvidence(file []byte) (*Report, error) {
	if v.Anchors == nil {
		return nil, errNoAnchors()
	}
	x := &examination{anchors: v.Anchors}
	for _, step := range []struct {
		part  string
		check func() error
	}{
		{PartFile, func() error { return x.read(file) }},
		{PartRequest, x.readRequest},
		{PartPlatformChain, x.checkPlatform},
		{PartRequestSignature, x.checkRequestSignature},
		{PartPlatformStatus, x.checkPlatformStatus},
		{PartStatementSignature, x.readStatement},
		{PartSignerChain, x.checkSigner},
		{PartStatementSignature, x.checkStatementSignature},
		{PartShown, x.checkShown},
		{PartStatement, x.checkStatement},
		{PartOwner, x.checkOwner},
		{PartSignerStatus, x.checkSignerStatus},
		{PartReceipt, x.checkReceipt},
		{PartResult, x.checkResult},
		{PartLedger, x.checkLedger},
		{PartTimestamp, x.checkTimestamp},
	} {
		if err := step.check(); err != nil {
			return nil, &EvidenceError{Part: step.part, Err: err}
		}
		if n := len(x.parts); (n == 0 || x.parts[n-1] != step.part) && (step.part != PartTimestamp || x.stamp != nil) {
			x.parts = append(x.parts, step.part)
		}
	}
	return x.report(), nil
}

func errNoAnchors() error { return errors.New("verify evidence: no anchors") }

// examination goes through one file; each step leaves what the next ones need.
type examination struct {
	anchors *trust.Store

	file      evidence
	request   *protocol.Request
	platform  *trust.Verified
	name      string // of the platform
	statement protocol.Statement
	signer    *trust.Verified
	who       *trust.Identity
	receipt   *protocol.Receipt
	ledgerID  []byte
	stamp     *TimestampReport
	parts     []string
}

func (x *examination) read(file []byte) error { return x.file.read(file) }

func (x *examination) readRequest() error {
	r, err := protocol.ParseRequest(x.file.Request)
	x.request = r
	return err
}

func (x *examination) checkPlatform() error {
	chain, err := parseDER(x.file.PlatformChain)
	if err != nil {
		return err
	}
	x.platform, err = x.anchors.Verify(chain, trust.VerifyOptions{
		Time: time.Unix(x.request.IAT, 0), Usage: trust.PlatformRequest, Operation: trust.Operation(x.request.Kind)})
	if err != nil {
		return err
	}
	if err := x.platform.Authority.Allow(trust.OperationEvidence, time.Unix(x.request.IAT, 0)); err != nil {
		return err
	}
	if len(x.platform.Chain) < len(chain) {
		return fmt.Errorf("%d certificates beyond the root", len(chain)-len(x.platform.Chain))
	}
	who, err := trust.ReadIdentity(x.platform)
	if err != nil {
		return err
	}
	if who.PlatformID != x.request.Platform {
		return fmt.Errorf("certificate of platform %q, request of %q", who.PlatformID, x.request.Platform)
	}
	x.name = who.CommonName
	return nil
}

func (x *examination) checkRequestSignature() error {
	return protocol.VerifyRequest(x.platform.Leaf().PublicKey, x.file.Request, x.file.RequestSig)
}

// judgeStatus judges an OCSP answer as of the time it was produced at, which
// has to lie between the two times.
func judgeStatus(der []byte, v *trust.Verified, from, to time.Time) error {
	answer, err := trust.ParseOCSPResponse(der)
	if err != nil {
		return err
	}
	if at := answer.ProducedAt; at.Before(from) || at.After(to) {
		return fmt.Errorf("produced at %s, not between %s and %s", at.UTC().Format(time.RFC3339), from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339))
	}
	status, err := answer.Verify(v.Leaf(), v.Issuer(), trust.OCSPOptions{Now: answer.ProducedAt, Skew: statusSkew})
	if err != nil {
		return err
	}
	return status.Err()
}

func (x *examination) checkPlatformStatus() error {
	iat := time.Unix(x.request.IAT, 0)
	return judgeStatus(x.file.PlatformOCSP, x.platform, iat.Add(-maxOwnStatusAge-statusSkew), iat.Add(statusSkew))
}

// readStatement reads the statement before anybody signed it as far as we know:
// the time in it says when the chain has to be valid.
func (x *examination) readStatement() error {
	return protocol.DecodeJSON(x.file.Statement, &x.statement)
}

func (x *examination) checkSigner() error {
	var err error
	at := time.Unix(x.statement.IAT, 0)
	if x.signer, x.who, err = verifySigner(x.anchors, x.request.Kind, x.file.SignerChain, at); err != nil {
		return err
	}
	return x.signer.Authority.Allow(trust.OperationEvidence, at)
}

func (x *examination) checkStatementSignature() error {
	return protocol.VerifyStatement(x.signer.Leaf().PublicKey, x.file.Statement, x.file.StatementSig)
}

func (x *examination) checkShown() error {
	if !protocol.Equal(x.statement.Shown, protocol.ShownDigest(x.file.Shown)) {
		return protocol.Errorf(protocol.CodeShownMismatch, "other lines than were signed")
	}
	return nil
}

func (x *examination) checkStatement() error {
	_, err := protocol.CheckStatement(x.file.Statement, x.file.Shown, protocol.Expected{
		Request: x.request, RH: protocol.Commit(x.file.Request, x.file.PlatformChain[0]), ClaimSeq: x.file.Claim.Seq,
		PlatformName: x.name, Cert: x.file.SignerChain[0]})
	return err
}

func (x *examination) checkOwner() error { return checkOwner(x.request.Expect, x.who) }

// checkSignerStatus takes what the platform may have taken: an answer from
// shortly before the request, through a cache, up to the last moment of
// collecting.
func (x *examination) checkSignerStatus() error {
	from := time.Unix(x.request.IAT, 0).Add(-protocol.StapleAge - signerStatusAge - statusSkew)
	to := time.Unix(x.request.EXP, 0).Add(protocol.UnackedAfter + statusSkew)
	return judgeStatus(x.file.SignerOCSP, x.signer, from, to)
}

func (x *examination) checkReceipt() error {
	if len(x.file.Receipt.Chain) != 0 {
		return fmt.Errorf("a chain of its own")
	}
	got, err := x.file.Receipt.Parse()
	if err != nil {
		return err
	}
	x.receipt = got
	return checkReceipt(&x.file.Receipt, x.signer.Leaf(), x.request, &x.statement, got.Result)
}

func (x *examination) checkResult() error {
	if !protocol.Equal(x.receipt.Result, x.file.Claim.digest(x.request.CID)) {
		return fmt.Errorf("the receipt is for other bytes")
	}
	return nil
}

func (x *examination) checkLedger() error {
	key, err := protocol.ParseKey(x.file.LedgerKey)
	if err != nil {
		return err
	}
	x.ledgerID = protocol.KeyID(x.file.LedgerKey)
	return protocol.VerifyPromise(key, &x.file.Promise, x.file.Receipt.Bytes)
}

func (x *examination) report() *Report {
	return &Report{
		CID: x.request.CID.String(), Kind: string(x.request.Kind), Platform: x.request.Platform, PlatformName: x.name,
		Requested: time.Unix(x.request.IAT, 0).UTC(), Signed: time.Unix(x.statement.IAT, 0).UTC(), Holder: holder(x.who, x.signer.Leaf()),
		Shown: x.file.Shown, Device: x.statement.Device, LedgerIndex: x.file.Promise.Index, LedgerKey: fmt.Sprintf("%x", x.ledgerID),
		Parts: x.parts, Timestamp: x.stamp,
	}
}
