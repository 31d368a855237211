package caapi

import "github.com/bidseal/bidseal/protocol"

// Paths of operators' calls, all signed by RFC 9421 with the operator's
// certificate; openapi.yaml says which role may make which.
const (
	PathOperators            = "/v1/operator/operators"
	PathOperatorApplications = "/v1/operator/applications"
	PathOperatorPlatforms    = "/v1/operator/platforms"
	PathOperatorCertificates = "/v1/operator/certificates"
	PathOperatorRevocations  = "/v1/operator/revocations"
	PathOperatorRecoveries   = "/v1/operator/recoveries"
	PathOperatorAudit        = "/v1/operator/audit"
	PathOpenAPI              = "/openapi.yaml"
)

// OperatorCertificate is what a new operator gets.
type OperatorCertificate struct {
	V      int              `json:"v"`
	ID     string           `json:"id"`
	Name   string           `json:"name"`
	Role   string           `json:"role"`
	Serial string           `json:"serial"` // keyid of the operator's signatures
	Chain  []protocol.Bytes `json:"chain"`  // certificate, issuing authority, root
}

// OperatorInfo is a line of the list of operators.
type OperatorInfo struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Role      string `json:"role"`
	State     string `json:"state"`
	Serial    string `json:"serial,omitzero"`
	CreatedAt int64  `json:"created_at"` // Unix seconds
}

// OperatorList answers GET PathOperators.
type OperatorList struct {
	V         int            `json:"v"`
	Operators []OperatorInfo `json:"operators"`
}

// Application is what a registration operator registers. The same request id with
// the same bytes may come again.
type Application struct {
	V         int            `json:"v"`
	RequestID protocol.Bytes `json:"request_id"` // RequestIDSize random bytes
	Operation string         `json:"operation"`  // OperationNew, OperationRenew or OperationReissue
	// Subject and Days of a new certificate.
	Subject *Subject `json:"subject,omitzero"`
	Days    int      `json:"days,omitzero"`
	// Serial of the certificate that is renewed (by Years) or reissued.
	Serial string `json:"serial,omitzero"`
	Years  int    `json:"years,omitzero"`
	// Device is the id of the only phone that may use a reissue.
	Device string `json:"device,omitzero"`
}

// States of applications.
const (
	ApplicationPending  = "pending"
	ApplicationApproved = "approved"
	ApplicationRejected = "rejected"
	ApplicationUsed     = "used" // a code was given out
)

// ApplicationInfo is where an application stands.
type ApplicationInfo struct {
	V            int         `json:"v"`
	ID           string      `json:"id"`
	State        string      `json:"state"`
	Reason       string      `json:"reason,omitzero"`
	Digest       string      `json:"digest"` // SM3 of the registered bytes, which the approval names
	RegisteredBy string      `json:"registered_by"`
	DecidedBy    string      `json:"decided_by,omitzero"`
	CreatedAt    int64       `json:"created_at"` // Unix seconds
	Application  Application `json:"application"`
}

// ApplicationList is one page; After is the cursor of the next one, "" at the end.
type ApplicationList struct {
	V            int               `json:"v"`
	Applications []ApplicationInfo `json:"applications"`
	After        string            `json:"after,omitzero"`
}

// Decision approves what has the digest, or rejects it with a reason.
type Decision struct {
	V      int    `json:"v"`
	Digest string `json:"digest,omitzero"`
	Reason string `json:"reason,omitzero"`
}

// PlatformDecision approves or rejects a platform's request.
type PlatformDecision struct {
	V          int    `json:"v"`
	PlatformID string `json:"platform_id,omitzero"`
	Days       int    `json:"days,omitzero"`
	Reason     string `json:"reason,omitzero"`
}

// PlatformInfo is a line of the list of platforms.
type PlatformInfo struct {
	ID           string   `json:"id"`
	PlatformID   string   `json:"platform_id,omitempty"`
	Renews       string   `json:"renews,omitempty"` // platform id whose present key signed the application
	Name         string   `json:"name"`
	Organisation string   `json:"organisation"`
	CreditCode   string   `json:"credit_code,omitempty"`
	Contact      string   `json:"contact"`
	Origins      []string `json:"origins"`
	State        string   `json:"state"`
	Reason       string   `json:"reason,omitempty"`
	RequestKey   string   `json:"request_key"` // SM3 of the SubjectPublicKeyInfo, for comparison by telephone
	APIKey       string   `json:"api_key"`
	CreatedAt    int64    `json:"created_at"` // Unix seconds
}

// PlatformList answers GET PathOperatorPlatforms.
type PlatformList struct {
	V         int            `json:"v"`
	Platforms []PlatformInfo `json:"platforms"`
}

// RevocationOrder revokes a certificate, or all of a lineage.
type RevocationOrder struct {
	V       int    `json:"v"`
	Serial  string `json:"serial,omitzero"`
	Lineage string `json:"lineage,omitzero"`
	Reason  string `json:"reason"`
}

// RevocationDone says what changed.
type RevocationDone struct {
	V       int      `json:"v"`
	Revoked []string `json:"revoked"`
}

// RecoveryRequest asks for an escrowed key. The same request id with the same bytes
// may come again.
type RecoveryRequest struct {
	V         int            `json:"v"`
	RequestID protocol.Bytes `json:"request_id"` // RequestIDSize random bytes
	Serial    string         `json:"serial"`     // of an encryption certificate over the key
	To        protocol.Bytes `json:"to"`         // SubjectPublicKeyInfo (SM2) under which the key is enveloped
	Reason    string         `json:"reason"`     // one line, for the file; not published
}

// States of recoveries.
const (
	RecoveryPending  = "pending"
	RecoveryReleased = "released"
	RecoveryRejected = "rejected"
	RecoveryExpired  = "expired"
)

// RecoveryInfo is where a recovery stands.
type RecoveryInfo struct {
	V           int             `json:"v"`
	ID          string          `json:"id"`
	State       string          `json:"state"`
	Digest      string          `json:"digest"` // SM3 of the request's bytes, which the approval names
	RequestedBy string          `json:"requested_by"`
	DecidedBy   string          `json:"decided_by,omitzero"`
	CreatedAt   int64           `json:"created_at"` // Unix seconds
	Expires     int64           `json:"expires"`
	Request     RecoveryRequest `json:"request"`
	// Enveloped is the SM2EnvelopedKey (GB/T 35276) once it was released.
	Enveloped protocol.Bytes `json:"enveloped,omitzero"`
}

// RecoveryList is one page; After is the cursor of the next one, "" at the end.
type RecoveryList struct {
	V          int            `json:"v"`
	Recoveries []RecoveryInfo `json:"recoveries"`
	After      string         `json:"after,omitzero"`
}

// PathRecoveries answers a phone which of its holder's keys were recovered; GET
// with pass and proof.
const PathRecoveries = "/v1/recoveries"

// KeyRecovery is a recovery as the holder sees it. Its leaf in the public listing
// is found by ID.
type KeyRecovery struct {
	ID      string `json:"id"`
	Lineage string `json:"lineage"`
	Reason  string `json:"reason"` // "reissue" or "recovery"
	To      string `json:"to"`     // SM3 of the receiving key's SubjectPublicKeyInfo
	At      int64  `json:"at"`     // Unix seconds
}

// KeyRecoveries lists them, newest first.
type KeyRecoveries struct {
	V          int           `json:"v"`
	Recoveries []KeyRecovery `json:"recoveries"`
}
