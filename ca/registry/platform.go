package registry

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"database/sql"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// maxPendingPlatforms bounds what strangers can make the authority keep.
const maxPendingPlatforms = 1000

// platformApplication is a platform's application in the database.
type platformApplication struct {
	id, platformID, name, organisation, creditCode, contact string
	origins                                                 []string
	spki, apiKey                                            []byte
	state, reason                                           string
	createdAt                                               int64
	renews                                                  string // platform id
	renewsKey                                               string // SM3 of the key that signed for the renewal
}

const platformColumns = `id, platform_id, name, organisation, credit_code, contact, origins, spki, api_key, state, reason, created_at, renews, renews_key`

func scanPlatformApplication(scan func(...any) error) (*platformApplication, error) {
	var p platformApplication
	var origins string
	if err := scan(&p.id, &p.platformID, &p.name, &p.organisation, &p.creditCode, &p.contact, &origins, &p.spki, &p.apiKey,
		&p.state, &p.reason, &p.createdAt, &p.renews, &p.renewsKey); err != nil {
		return nil, err
	}
	return &p, json.Unmarshal([]byte(origins), &p.origins)
}

// RequestPlatform answers a caapi.PlatformRequest. The same keys with the same
// content get the same id.
func (r *Registry) RequestPlatform(ctx context.Context, c life.SignedCall) (*caapi.PlatformState, error) {
	var request caapi.PlatformRequest
	if err := protocol.DecodeJSON(c.Body, &request); err != nil {
		return nil, err
	}
	if err := checkPlatformRequest(&request); err != nil {
		return nil, err
	}
	if err := r.life.CheckProof(c, request.APIKey); err != nil {
		return nil, err
	}
	spki, err := life.ReadCSR(r.life.Family(), request.CSR)
	if err != nil {
		return nil, err
	}
	var id string
	if err := r.db.Update(ctx, func(tx *sql.Tx) (err error) {
		signedBy, err := r.checkPlatformRenewal(ctx, tx, &request)
		if err != nil {
			return err
		}
		id, err = r.keepPlatformApplication(ctx, tx, &request, spki, signedBy, c.Caller)
		return err
	}); err != nil {
		return nil, err
	}
	return r.PlatformState(ctx, id)
}

func checkPlatformRequest(r *caapi.PlatformRequest) error {
	if r.V != caapi.Version {
		return protocol.Errorf(protocol.CodeMalformed, "version")
	}
	if err := errors.Join(life.CheckShown(r.Name), life.CheckShown(r.Organisation)); err != nil {
		return err
	}
	// the operator reads the contact beside the fingerprints that are compared
	if len(r.Contact) > 256 || strings.ContainsFunc(r.Contact, trust.Deceptive) {
		return protocol.Errorf(protocol.CodeMalformed, "contact: one line of at most 256 bytes that can be shown")
	}
	if r.CreditCode != "" && !trust.IsCreditCode(r.CreditCode) {
		return protocol.Errorf(protocol.CodeMalformed, "credit code: not 18 characters of GB 32100")
	}
	if len(r.Origins) == 0 || len(r.Origins) > 16 {
		return protocol.Errorf(protocol.CodeMalformed, "1 to 16 origins")
	}
	for _, origin := range r.Origins {
		if !validOrigin(origin) {
			return protocol.Errorf(protocol.CodeMalformed, "origin %.64q: https://host, or loopback http", origin)
		}
	}
	public, err := protocol.ParseKey(r.APIKey)
	if err != nil {
		return err
	}
	if key, ok := public.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return protocol.Errorf(protocol.CodeMalformed, "API key is not P-256")
	}
	return nil
}

// validOrigin reports whether text is an origin as browsers write it (RFC 6454
// 6.2): https, or http on the loopback; a host in ASCII without wildcards, and
// the port only where it is not the scheme's.
func validOrigin(text string) bool {
	u, err := url.Parse(text)
	if err != nil || text != u.Scheme+"://"+u.Host || len(text) > 256 {
		return false
	}
	host, port := u.Hostname(), u.Port()
	ip := net.ParseIP(host)
	if host == "" || ip == nil && strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || strings.ToLower(host) != host {
		return false
	}
	if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || strconv.FormatUint(n, 10) != port) || strings.HasSuffix(u.Host, ":") {
		return false
	}
	switch u.Scheme {
	case "https":
		return port != "443"
	case "http":
		return port != "80" && (host == "localhost" || ip != nil && ip.IsLoopback())
	}
	return false
}

func (r *Registry) keepPlatformApplication(ctx context.Context, tx *sql.Tx, request *caapi.PlatformRequest, spki []byte, signedBy, caller string) (string, error) {
	if err := r.removeExpired(ctx, tx); err != nil {
		return "", err
	}
	keys := hex.EncodeToString(protocol.H([]byte("bidseal/ca platform keys 1\x00"), protocol.H(spki), protocol.H(request.APIKey)))
	known, err := scanPlatformApplication(tx.QueryRowContext(ctx, `SELECT `+platformColumns+` FROM ca_platforms WHERE keys_digest = $1`, keys).Scan)
	if err == nil && !known.same(request) {
		return "", protocol.Errorf(protocol.CodeConflict, "these keys have applied with other content")
	}
	if err == nil {
		return known.id, nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("read platform: %w", err)
	}
	if err := roomFor(ctx, tx, caller); err != nil {
		return "", err
	}
	fresh, err := protocol.Random(16)
	if err != nil {
		return "", err
	}
	id := hex.EncodeToString(fresh)
	origins, err := json.Marshal(request.Origins)
	if err != nil {
		return "", fmt.Errorf("origins: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO ca_platforms (`+platformColumns+`, keys_digest, caller) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
		id, "", request.Name, request.Organisation, request.CreditCode, request.Contact, string(origins), spki, []byte(request.APIKey), caapi.PlatformPending, "", r.now().Unix(), request.Renews, signedBy, keys, caller); err != nil {
		return "", fmt.Errorf("store platform: %w", err)
	}
	return id, r.audit.Append(ctx, tx, audit.ActorPlatform, audit.EventPlatformRequested, map[string]string{"application": id, "keys": keys, "renews": request.Renews})
}

func (r *Registry) readPlatformApplication(ctx context.Context, q interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}, id string) (*platformApplication, error) {
	p, err := scanPlatformApplication(q.QueryRowContext(ctx, `SELECT `+platformColumns+` FROM ca_platforms WHERE id = $1`, id).Scan)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("read platform: %w", err)
	}
	if err != nil || r.expired(p) {
		return nil, protocol.Errorf(protocol.CodeNotFound, "no such application")
	}
	return p, nil
}

// PlatformState returns the state of an application.
func (r *Registry) PlatformState(ctx context.Context, id string) (*caapi.PlatformState, error) {
	p, err := r.readPlatformApplication(ctx, r.db.Reader(), id)
	if err != nil {
		return nil, err
	}
	state := &caapi.PlatformState{V: caapi.Version, ID: p.id, State: p.state, Reason: p.reason}
	if p.state != caapi.PlatformIssued {
		return state, nil
	}
	row, err := life.ReadIssuance(ctx, r.db.Reader(), platformIssuance(id))
	if err != nil || row == nil {
		return nil, fmt.Errorf("certificate of platform request %s: %w", id, errors.Join(err, sql.ErrNoRows))
	}
	state.Registration = new(caapi.PlatformRegistration)
	return state, protocol.DecodeJSON(row.Answer, state.Registration)
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

// Platforms lists applications, newest first.
func (r *Registry) Platforms(ctx context.Context) ([]PlatformInfo, error) {
	rows, err := r.db.Reader().QueryContext(ctx, `SELECT `+platformColumns+` FROM ca_platforms ORDER BY created_at DESC, id`)
	if err != nil {
		return nil, fmt.Errorf("list platforms: %w", err)
	}
	defer rows.Close()
	var all []PlatformInfo
	for rows.Next() {
		p, err := scanPlatformApplication(rows.Scan)
		if err != nil {
			return nil, fmt.Errorf("list platforms: %w", err)
		}
		if r.expired(p) {
			continue
		}
		all = append(all, PlatformInfo{
			ID: p.id, PlatformID: p.platformID, Renews: p.renews, Name: p.name, Organisation: p.organisation, CreditCode: p.creditCode, Contact: p.contact,
			Origins: p.origins, State: p.state, Reason: p.reason, CreatedAt: p.createdAt,
			RequestKey: hex.EncodeToString(protocol.H(p.spki)), APIKey: hex.EncodeToString(protocol.H(p.apiKey)),
		})
	}
	return all, rows.Err()
}

// PlatformApproval is an operator's approval of a platform's application.
type PlatformApproval struct {
	ID string
	// PlatformID to be given; drawn at random if empty. a-z, 0-9 and -.
	PlatformID string
	// Validity of the certificate; a year if zero, at most 366 days.
	Validity time.Duration
}

// platformIssuance is the id of the issuance for an application.
func platformIssuance(id string) string { return "platform-" + id }

// platformSubject is what is stored for a platform's certificate.
type platformSubject struct {
	Name         string `json:"name"`
	Organisation string `json:"organisation"`
	CreditCode   string `json:"credit_code,omitempty"`
	PlatformID   string `json:"platform_id"`
}

// issuancePlatform is the name of issuances for platforms.
const issuancePlatform = "platform"

// platformIssuances is the kind of issuances for platforms.
type platformIssuances struct{ a *Registry }

// Request implements life.IssuanceKind.
func (k platformIssuances) Request(stored string) (issuance.Request, error) {
	var s platformSubject
	if err := json.Unmarshal([]byte(stored), &s); err != nil {
		return issuance.Request{}, fmt.Errorf("stored subject: %w", err)
	}
	return issuance.Request{
		Profile: issuance.Platform, CreditCode: s.CreditCode, PlatformID: s.PlatformID,
		Subject: issuance.Subject{Country: k.a.country, Organisation: s.Organisation, CommonName: s.Name},
	}, nil
}

// ApprovePlatform issues the certificate of an application. It is idempotent and
// returns the same registration.
func (r *Registry) ApprovePlatform(ctx context.Context, actor audit.Actor, approval PlatformApproval) (*caapi.PlatformRegistration, error) {
	if approval.Validity == 0 {
		approval.Validity = life.DefaultValidity
	}
	var row *life.Issuance
	if err := r.db.Update(ctx, func(tx *sql.Tx) (err error) {
		row, err = r.beginPlatform(ctx, tx, actor, approval)
		return err
	}); err != nil {
		return nil, err
	}
	raw, err := r.life.Complete(ctx, row)
	if err != nil {
		return nil, err
	}
	var registration caapi.PlatformRegistration
	return &registration, protocol.DecodeJSON(raw, &registration)
}

func (r *Registry) beginPlatform(ctx context.Context, tx *sql.Tx, actor audit.Actor, approval PlatformApproval) (*life.Issuance, error) {
	row, err := life.ReadIssuance(ctx, tx, platformIssuance(approval.ID))
	if err != nil || row != nil {
		return row, err
	}
	p, err := r.readPlatformApplication(ctx, tx, approval.ID)
	if err != nil {
		return nil, err
	}
	if p.state != caapi.PlatformPending {
		return nil, protocol.Errorf(protocol.CodeConflict, "the application is %s", p.state)
	}
	if approval.PlatformID, err = r.platformIDFor(ctx, tx, p, approval.PlatformID); err != nil {
		return nil, err
	}
	serials, err := life.NewSerials(1)
	if err != nil {
		return nil, err
	}
	subject, err := json.Marshal(platformSubject{p.name, p.organisation, p.creditCode, approval.PlatformID})
	if err != nil {
		return nil, fmt.Errorf("subject: %w", err)
	}
	notBefore, notAfter := life.LeafDates(r.now(), approval.Validity)
	if latest := notBefore.Add(platformValidity - time.Second); notAfter.After(latest) {
		notAfter = latest // what stands before the clock counts, too
	}
	operation := life.OperationNew
	if p.renews != "" {
		operation = life.OperationRenew
	}
	row = &life.Issuance{
		ID: platformIssuance(p.id), Kind: issuancePlatform, Operation: operation, RefusalCode: string(protocol.CodeLintFailed), Digest: hex.EncodeToString(protocol.H(subject)), State: life.StatePending, SPKI: p.spki,
		Subject: string(subject), SignSerial: serials[0], NotBefore: notBefore.Unix(), NotAfter: notAfter.Unix(),
	}
	if err := r.life.Lint(ctx, row); err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE ca_platforms SET platform_id = $1 WHERE id = $2`, approval.PlatformID, p.id); err != nil {
		return nil, fmt.Errorf("store platform: %w", err)
	}
	if err := r.audit.Append(ctx, tx, actor, audit.EventPlatformApproved, map[string]string{"application": p.id, "platform": approval.PlatformID}); err != nil {
		return nil, err
	}
	return row, r.life.Insert(ctx, tx, row)
}

// drawPlatformID draws a random id for a new platform.
func drawPlatformID() (string, error) {
	fresh, err := protocol.Random(10)
	if err != nil {
		return "", err
	}
	return "p-" + strings.ToLower(base32.StdEncoding.EncodeToString(fresh)), nil
}

// platformValidity is the longest life of a platform's certificate.
const platformValidity = 366 * 24 * time.Hour

// Answer implements life.IssuanceKind.
func (k platformIssuances) Answer(ctx context.Context, tx *sql.Tx, issuer *status.Issuer, r *life.Issuance, cert *smx509.Certificate) ([]byte, error) {
	p, err := k.a.readPlatformApplication(ctx, tx, strings.TrimPrefix(r.ID, "platform-"))
	if err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE ca_platforms SET state = $1 WHERE id = $2`, caapi.PlatformIssued, p.id); err != nil {
		return nil, fmt.Errorf("store platform: %w", err)
	}
	if err := k.a.audit.Append(ctx, tx, audit.ActorAuthority, audit.EventPlatformIssued, map[string]string{"application": p.id, "platform": p.platformID}); err != nil {
		return nil, err
	}
	return protocol.EncodeJSON(caapi.PlatformRegistration{
		V: caapi.Version, PlatformID: p.platformID, Name: p.name, Chain: append([]protocol.Bytes{cert.Raw}, issuer.Chain(k.a.status.Root())...),
		APIKey: p.apiKey, Origins: p.origins,
	})
}

// RejectPlatform ends an application with a reason that the applicant reads.
func (r *Registry) RejectPlatform(ctx context.Context, actor audit.Actor, id, reason string) error {
	if len(reason) > 256 {
		return protocol.Errorf(protocol.CodeMalformed, "reason of more than 256 bytes")
	}
	return r.db.Update(ctx, func(tx *sql.Tx) error {
		p, err := r.readPlatformApplication(ctx, tx, id)
		if err != nil {
			return err
		}
		if p.state != caapi.PlatformPending || p.platformID != "" {
			return protocol.Errorf(protocol.CodeConflict, "the application is %s or approved", p.state)
		}
		if _, err := tx.ExecContext(ctx, `UPDATE ca_platforms SET state = $1, reason = $2 WHERE id = $3`, caapi.PlatformRejected, reason, id); err != nil {
			return fmt.Errorf("store platform: %w", err)
		}
		return r.audit.Append(ctx, tx, actor, audit.EventPlatformRejected, map[string]string{"application": id})
	})
}
