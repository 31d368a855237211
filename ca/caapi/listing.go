package caapi

import "github.com/bidseal/bidseal/protocol"

// Paths of the audit log's head and of the public listing. GET without
// authentication; package ca/transparency holds heads and proofs and verifies them.
const (
	PathAuditHead       = "/v1/audit/head"
	PathTreeHead        = "/v1/transparency/head"
	PathTreeEntries     = "/v1/transparency/entries"     // ?start=&limit=
	PathTreeProof       = "/v1/transparency/proof"       // ?certificate= | serial= | release=, &size=
	PathTreeConsistency = "/v1/transparency/consistency" // ?first=&second=
)

// MaxTreeEntries is the longest page of leaves.
const MaxTreeEntries = 256

// TreeEntries is a page of leaves.
type TreeEntries struct {
	V      int              `json:"v"`
	Start  uint64           `json:"start"`
	Leaves []protocol.Bytes `json:"leaves"` // the bytes that are hashed; transparency.ReadLeaf reads them
	Size   uint64           `json:"size"`   // of the tree now
}

// AuditEntry is an entry of the audit log.
type AuditEntry struct {
	Seq       int64          `json:"seq"`
	At        int64          `json:"at"` // Unix milliseconds
	Actor     string         `json:"actor"`
	Event     string         `json:"event"`
	Content   string         `json:"content"` // JSON
	Hash      protocol.Bytes `json:"hash"`
	Signature protocol.Bytes `json:"signature"`
}

// AuditPage is a page of the audit log, for operators who audit; After is the
// cursor of the next one, 0 at the end.
type AuditPage struct {
	V       int          `json:"v"`
	Entries []AuditEntry `json:"entries"`
	After   int64        `json:"after,omitzero"`
}

// OperatorCertificateInfo is a line of the list of certificates.
type OperatorCertificateInfo struct {
	Serial    string `json:"serial"`
	Profile   string `json:"profile"`
	Lineage   string `json:"lineage,omitzero"`
	Name      string `json:"name"`
	NotBefore int64  `json:"not_before"` // Unix seconds
	NotAfter  int64  `json:"not_after"`
	State     string `json:"state"`
	RevokedAt int64  `json:"revoked_at,omitzero"`
	Reason    string `json:"reason,omitzero"`
}

// CertificateList answers GET PathOperatorCertificates.
type CertificateList struct {
	V            int                       `json:"v"`
	Certificates []OperatorCertificateInfo `json:"certificates"`
}
