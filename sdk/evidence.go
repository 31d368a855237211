package bidseal

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// evidenceType stands in every file, evidenceVersion is the only one there is.
const (
	evidenceType    = "bidseal evidence"
	evidenceVersion = 1
)

// evidence is the file: everything that a stranger needs to judge a result
// years later, and no key. Items are in the request, outcomes and their
// commitments in the statement.
type evidence struct {
	V             int                    `json:"v"`
	Type          string                 `json:"type"`
	Request       protocol.Bytes         `json:"request"`           // exact bytes of R
	RequestSig    protocol.Bytes         `json:"request_signature"` // SR
	PlatformChain []protocol.Bytes       `json:"platform_chain"`    // DER, leaf first
	PlatformOCSP  protocol.Bytes         `json:"platform_ocsp"`
	Claim         evidenceClaim          `json:"claim"`
	Statement     protocol.Bytes         `json:"statement"` // exact bytes
	StatementSig  protocol.Bytes         `json:"statement_signature"`
	SignerChain   []protocol.Bytes       `json:"signer_chain"` // DER, leaf first
	SignerOCSP    protocol.Bytes         `json:"signer_ocsp"`  // with the responder's certificate
	Shown         []string               `json:"shown"`
	Receipt       protocol.SignedReceipt `json:"receipt"` // its chain is the signer's
	Promise       protocol.Promise       `json:"promise"`
	LedgerKey     protocol.Bytes         `json:"ledger_key"` // SubjectPublicKeyInfo
	// Timestamp is an RFC 3161 token over all of the above, see imprint.
	Timestamp protocol.Bytes `json:"timestamp,omitzero"`
}

// read reads a file strictly.
func (e *evidence) read(file []byte) error {
	if err := protocol.DecodeJSON(file, e); err != nil {
		return err
	}
	if e.V != evidenceVersion || e.Type != evidenceType {
		return fmt.Errorf("type %q of version %d is not known", e.Type, e.V)
	}
	if e.Timestamp != nil && len(e.Timestamp) == 0 {
		return errors.New("an empty timestamp")
	}
	return nil
}

// evidenceClaim is the claim in which the result was given, with the bytes that
// the relay stored.
type evidenceClaim struct {
	Seq uint32         `json:"claim_seq"`
	KEM protocol.Bytes `json:"kem"`
	Box protocol.Bytes `json:"box"`
}

func (c evidenceClaim) digest(cid protocol.CID) []byte {
	return protocol.ResultDigest(cid, c.Seq, c.KEM, c.Box)
}

// parseDER reads a chain from the wire.
func parseDER(chain []protocol.Bytes) ([]*smx509.Certificate, error) {
	ders := make([][]byte, len(chain))
	for i, der := range chain {
		ders[i] = der
	}
	return trust.ParseChain(ders)
}

// verifySigner judges the chain of somebody who signed a challenge of a kind at a
// time, and reads whom it names.
// Errors: CodeCertExpired, CodeCertUsage, CodeCertUntrusted.
func verifySigner(anchors *trust.Store, kind protocol.Kind, der []protocol.Bytes, at time.Time) (*trust.Verified, *trust.Identity, error) {
	chain, err := parseDER(der)
	if err != nil {
		return nil, nil, protocol.Errorf(protocol.CodeCertUntrusted, "%v", err)
	}
	v, err := anchors.Verify(chain, trust.VerifyOptions{Time: at, Usage: trust.Signing, Operation: trust.Operation(kind)})
	if err != nil {
		return nil, nil, protocol.Errorf(chainCode(err), "%v", err)
	}
	if extra := len(chain) - len(v.Chain); extra > 0 {
		return nil, nil, protocol.Errorf(protocol.CodeCertUntrusted, "%d certificates beyond the root", extra)
	}
	who, err := trust.ReadIdentity(v)
	if err != nil {
		return nil, nil, protocol.Errorf(protocol.CodeCertUntrusted, "%v", err)
	}
	if who.Kind == trust.Platform {
		return nil, nil, protocol.Errorf(protocol.CodeCertUsage, "a platform's certificate signs no statements")
	}
	if who.Lineage == "" {
		return nil, nil, protocol.Errorf(protocol.CodeCertUntrusted, "certificate without lineage id")
	}
	return v, &who, nil
}

func chainCode(err error) protocol.Code {
	switch {
	case errors.Is(err, trust.ErrExpired):
		return protocol.CodeCertExpired
	case errors.Is(err, trust.ErrKeyUsage):
		return protocol.CodeCertUsage
	}
	return protocol.CodeCertUntrusted
}

// checkOwner compares the signer with the owner that the request expects.
func checkOwner(expect *protocol.Expect, who *trust.Identity) error {
	if expect == nil || expect.Owner == nil {
		return nil
	}
	o := expect.Owner
	switch {
	case hex.EncodeToString(o.Anchor) != who.Anchor:
		return protocol.Errorf(protocol.CodeOwnerMismatch, "certificate is under another anchor than expected")
	case o.CreditCode != "" && o.CreditCode != who.CreditCode:
		return protocol.Errorf(protocol.CodeOwnerMismatch, "certificate is of another organisation than expected")
	case o.Lineage != "" && o.Lineage != who.Lineage:
		return protocol.Errorf(protocol.CodeOwnerMismatch, "certificate is of another lineage than expected")
	}
	return nil
}

// checkReceipt holds the usage record against the statement that it came with.
func checkReceipt(receipt *protocol.SignedReceipt, leaf *smx509.Certificate, r *protocol.Request, s *protocol.Statement, result []byte) error {
	if err := receipt.Verify(leaf.PublicKey, protocol.TagReceipt); err != nil {
		return err
	}
	got, err := receipt.Parse()
	if err != nil {
		return err
	}
	same := got.CID == r.CID && got.Kind == r.Kind && got.Platform == r.Platform && got.Device == s.Device &&
		got.ClaimSeq == s.ClaimSeq && got.NOK == s.NOK && got.NFail == s.NFail &&
		protocol.Equal(got.Cert, s.Cert) && protocol.Equal(got.Result, result)
	if !same {
		return protocol.Errorf(protocol.CodeReceiptInvalid, "receipt and statement differ")
	}
	return nil
}

// holder is the signer as the certificate names it.
func holder(who *trust.Identity, leaf *smx509.Certificate) Holder {
	return Holder{
		Subject: Subject{Anchor: who.Anchor, Lineage: who.Lineage}, Kind: who.Kind, Person: who.CommonName,
		Organisation: who.Organisation, CreditCode: who.CreditCode, Role: who.Role,
		CertificateSerial: trust.SerialHex(leaf.SerialNumber),
	}
}

// login makes the platform's view of a verified result.
func (o *openChallenge) login(anchors *trust.Store) (*Login, error) {
	leaf, err := trust.ParseCertificate(o.Verdict.Certificate)
	if err != nil {
		return nil, fmt.Errorf("stored result: %w", err)
	}
	authority, err := anchors.AuthorityOf(o.Verdict.Anchor)
	if err != nil {
		return nil, fmt.Errorf("stored result: %w", err)
	}
	who, err := trust.ReadSubject(leaf, authority.OIDs)
	if err != nil {
		return nil, fmt.Errorf("stored result: %w", err)
	}
	who.Anchor = o.Verdict.Anchor
	h := holder(&who, leaf)
	return &Login{
		Subject: h.Subject, Kind: h.Kind, Person: h.Person, Organisation: h.Organisation, CreditCode: h.CreditCode, Role: h.Role,
		CertificateSerial: h.CertificateSerial, Certificate: leaf, At: time.Unix(o.Verdict.At, 0).UTC(), CID: o.CID,
		Evidence: o.Verdict.Evidence,
	}, nil
}
