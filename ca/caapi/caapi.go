// Package caapi holds the bodies of the authority's HTTP API, for phones and
// platforms that call it. It imports the protocol leaf alone, so that the phone
// core can use it in a browser.
//
//	POST /v1/enrol                    EnrolRequest    -> EnrolAnswer
//	POST /v1/pass                     PassRequest     -> PassAnswer
//	POST /v1/platform-requests        PlatformRequest -> PlatformState
//	GET  /v1/platform-requests/{id}                   -> PlatformState
//	GET  /v1/recoveries                               -> KeyRecoveries (pass and proof over GET)
//	GET  /v1/info                                     -> Info
//	GET  /v1/audit/head  GET /v1/transparency/...     the audit log's head, the public listing
//	     /v1/operator/...                             operators' signed calls
//	GET  /openapi.yaml                                all of it in OpenAPI 3.1
//	GET  /crl/{name}.crl  GET /certs/{name}.cer  GET|POST /ocsp
//
// Bodies are strict JSON (protocol.DecodeJSON); refusals are
// application/problem+json (protocol.Problem).
//
// Calls that change something carry protocol.HeaderProof. For /v1/enrol the
// proof is made by the new device key and for /v1/platform-requests by the
// platform's API key, both over the empty pass: protocol.NewProof(key, "",
// call, now). For /v1/pass the pass to be renewed stands in
// protocol.HeaderPass, expired or not. The URL in the proof is the authority's
// base URL followed by the path.
package caapi

import (
	"encoding/hex"

	"github.com/bidseal/bidseal/protocol"
)

// Paths of the API.
const (
	PathEnrol            = "/v1/enrol"
	PathPass             = "/v1/pass"
	PathPlatformRequests = "/v1/platform-requests" // + "/" + id
	PathInfo             = "/v1/info"
	PathOCSP             = "/ocsp"
	PathTimestamp        = "/tsa" // RFC 3161 requests are posted there
)

// Version of the bodies.
const Version = 1

// RequestIDSize is the length of a request id in bytes, drawn at random by the
// caller and kept until the answer is stored.
const RequestIDSize = 16

// EnrolmentFile is what an operator hands to the holder of a certificate to be:
// the file that `phone enrol --code FILE` reads.
type EnrolmentFile struct {
	V       int     `json:"v"`
	CA      string  `json:"ca"` // base URL of the authority
	Code    string  `json:"code"`
	Expires int64   `json:"expires"` // Unix seconds
	Subject Subject `json:"subject"` // for display; the authority decides
	// Operation that the code authorises, OperationNew if empty. The others
	// continue the certificate of Lineage whose signing half has the serial
	// number Serial; renewal and change need the phone that holds it.
	Operation string `json:"operation,omitempty"`
	Lineage   string `json:"lineage,omitempty"`
	Serial    string `json:"serial,omitempty"`
	// Roots are the SM3 digests of the authority's roots, lower-case
	// hexadecimal, to be compared with the phone's own anchors.
	Roots []string `json:"roots"`
	// Trust is the authority's trust file, as trust.ParseFile reads it: what the
	// phone believes from then on. Absent in files of authorities from before
	// there were trust files.
	Trust protocol.Bytes `json:"trust,omitzero"`
	// Relay is the origin of the relay and AppOrigins are the origins of the
	// codes that the phone shall accept, for phones that are not configured
	// otherwise.
	Relay      string   `json:"relay,omitempty"`
	AppOrigins []string `json:"app_origins,omitempty"`
}

// Operations of a code.
const (
	OperationNew     = "new"
	OperationRenew   = "renew"
	OperationChange  = "change"
	OperationReissue = "reissue"
)

// Subject names a certificate's holder.
type Subject struct {
	Kind         string `json:"kind"` // "organisation" or "person"
	Name         string `json:"name"` // the person's name
	Organisation string `json:"organisation,omitempty"`
	CreditCode   string `json:"credit_code,omitempty"` // 18 characters, GB 32100
	Role         string `json:"role,omitempty"`        // "admin" or "user", organisations only
	// Identity is the person's identity number as certificates show it: 64
	// hexadecimal digits where it is hashed, masked or clear otherwise. The
	// authority writes it from the number; see CodeRequest.
	Identity string `json:"identity,omitempty"`
}

// EnrolRequest asks for a dual certificate and a device pass. The same request
// id with the same content may be sent any number of times and gives the same
// bytes; with other content it is refused (issuance_conflict).
type EnrolRequest struct {
	V         int            `json:"v"`
	RequestID protocol.Bytes `json:"request_id"` // RequestIDSize random bytes
	Code      string         `json:"code"`
	CSR       protocol.Bytes `json:"csr"`        // PKCS#10 of the SM2 signing key; its subject is not looked at
	DeviceKey protocol.Bytes `json:"device_key"` // SubjectPublicKeyInfo, SM2 or P-256
	// Predecessor is the serial number of the signing certificate that is
	// renewed or changed, and Succession the signature of its key over
	// SuccessionMessage: DER SEQUENCE{r, s}. Absent for every other operation.
	Predecessor string         `json:"predecessor,omitempty"`
	Succession  protocol.Bytes `json:"succession,omitzero"`
}

// SuccessionMessage is what the old signing key signs, so that a code and a
// device alone renew nothing:
// "bidseal/ca succession 1" | 0 | H(request id) | H(code) | H(csr) | H(device key) | H(predecessor).
func (r *EnrolRequest) SuccessionMessage() []byte {
	var all []byte
	all = append(all, "bidseal/ca succession 1\x00"...)
	for _, part := range [][]byte{r.RequestID, []byte(r.Code), r.CSR, r.DeviceKey, []byte(r.Predecessor)} {
		all = append(all, protocol.H(part)...)
	}
	return all
}

// Digest is what the request id and the code are bound to.
func (r *EnrolRequest) Digest() string {
	return hex.EncodeToString(protocol.H([]byte("bidseal/ca enrol 1\x00"),
		protocol.H(r.RequestID), protocol.H(r.CSR), protocol.H(r.DeviceKey)))
}

// EnrolAnswer brings certificates, encryption key and pass.
type EnrolAnswer struct {
	V         int            `json:"v"`
	RequestID protocol.Bytes `json:"request_id"`
	// Response is the CSRResponse of GM/T 0092: signing certificate, EnvelopedKey
	// (GB/T 35276) under the signing key, encryption certificate.
	// smx509.ParseCSRResponse reads it.
	Response protocol.Bytes `json:"response"`
	// Chain above both certificates: the issuing authority, then the root. The
	// phone believes its own anchors, not this root.
	Chain   []protocol.Bytes `json:"chain"`
	Lineage string           `json:"lineage"` // lower-case hexadecimal
	Account string           `json:"account"` // opaque
	Pass    string           `json:"pass"`    // as of issuance; renew it when it has expired
	// Operation is what was done; History are the earlier encryption keys of the
	// lineage and the earlier certificates over the present one, newest first,
	// with a reissue only: every other phone has them.
	Operation string          `json:"operation,omitempty"`
	History   []EncryptionKey `json:"history,omitempty"`
}

// EncryptionKey is an encryption key of a lineage with its earlier certificates.
type EncryptionKey struct {
	// Chains of the earlier certificates over the key, newest first, each leaf
	// first up to the root.
	Chains [][]protocol.Bytes `json:"chains"`
	// Enveloped is the SM2EnvelopedKey (GB/T 35276) under the new signing key;
	// absent for the key that Response brings.
	Enveloped protocol.Bytes `json:"enveloped,omitzero"`
}

// PassRequest asks for a new pass for the device of the old one. A pass that was
// renewed a short while ago comes again with the same dates.
type PassRequest struct {
	V int `json:"v"`
}

// PassAnswer is the new pass.
type PassAnswer struct {
	V    int    `json:"v"`
	Pass string `json:"pass"`
}

// PlatformRequest asks for a platform certificate. The same keys may ask again
// and get the same id.
type PlatformRequest struct {
	V            int            `json:"v"`
	Name         string         `json:"name"`         // shown to bidders on every request
	Organisation string         `json:"organisation"` // who runs the platform
	CreditCode   string         `json:"credit_code,omitempty"`
	Contact      string         `json:"contact"` // one line of at most 256 bytes
	Origins      []string       `json:"origins"` // web origins of the platform's pages, as browsers write them
	CSR          protocol.Bytes `json:"csr"`     // PKCS#10 of the SM2 request key; its subject is not looked at
	APIKey       protocol.Bytes `json:"api_key"` // SubjectPublicKeyInfo, P-256
	// Renews is the id of the platform whose certificate is renewed: with a new
	// request key, the same name, organisation and credit code. Succession is the
	// signature of the present certificate's key over SuccessionMessage.
	Renews     string         `json:"renews,omitempty"`
	Succession protocol.Bytes `json:"succession,omitzero"`
}

// SuccessionMessage is what a platform's present request key signs:
// "bidseal/ca platform succession 1" | 0 | H(platform id) | H(csr) | H(api key).
func (r *PlatformRequest) SuccessionMessage() []byte {
	var all []byte
	all = append(all, "bidseal/ca platform succession 1\x00"...)
	for _, part := range [][]byte{[]byte(r.Renews), r.CSR, r.APIKey} {
		all = append(all, protocol.H(part)...)
	}
	return all
}

// States of a platform request.
const (
	PlatformPending  = "pending"
	PlatformIssued   = "issued"
	PlatformRejected = "rejected"
)

// PlatformState is where a platform request stands. The id is unguessable and
// known to the requester and the operator alone.
type PlatformState struct {
	V            int                   `json:"v"`
	ID           string                `json:"id"`
	State        string                `json:"state"`
	Reason       string                `json:"reason,omitempty"` // of a rejection
	Registration *PlatformRegistration `json:"registration,omitempty"`
}

// PlatformRegistration is what a relay needs to know of a platform: the file
// that `relay platform add --file` reads, relay.PlatformRegistration there. The
// relay verifies the chain against its own anchors; the API key and the origins are
// believed as the operator's word.
type PlatformRegistration struct {
	V          int              `json:"v"`
	PlatformID string           `json:"platform_id"`
	Name       string           `json:"name"`
	Chain      []protocol.Bytes `json:"chain"`   // platform certificate, issuing authority, root
	APIKey     protocol.Bytes   `json:"api_key"` // SubjectPublicKeyInfo, P-256
	Origins    []string         `json:"origins"`
}

// Info is what anyone may know of an authority.
type Info struct {
	V          int              `json:"v"`
	Name       string           `json:"name"`
	Roots      []Anchor         `json:"roots"`
	Issuing    []protocol.Bytes `json:"issuing"` // certificates of issuing authorities
	PassIssuer string           `json:"pass_issuer"`
	PassAlg    protocol.Alg     `json:"pass_alg"`
	PassKey    protocol.Bytes   `json:"pass_key"` // SubjectPublicKeyInfo
	AuditKey   protocol.Bytes   `json:"audit_key"`
	// Assist is the URL of the password-assist server; empty where there is none.
	Assist     string `json:"assist,omitzero"`
	ServerTime int64  `json:"server_time"` // Unix milliseconds
}

// Anchor is a root with its fingerprint.
type Anchor struct {
	SM3         string         `json:"sm3"` // lower-case hexadecimal
	SHA256      string         `json:"sha256"`
	Certificate protocol.Bytes `json:"certificate"`
}
