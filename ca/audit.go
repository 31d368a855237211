package ca

import (
	"context"
	"crypto"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
)

// ErrLog: the audit log was altered, or the database says what the log does not.
var ErrLog = errors.New("audit log does not verify")

// Events of the audit log.
const (
	eventCeremony         = "ceremony"
	eventCodeMade         = "code.made"
	eventCodeVoid         = "code.void"
	eventIssuancePending  = "issuance.pending"
	eventIssuanceRefused  = "issuance.refused"
	eventCertificate      = "certificate.issued"
	eventRevoked          = "certificate.revoked"
	eventHeld             = "certificate.held"
	eventResumed          = "certificate.resumed"
	eventKeyReleased      = "key.released"
	eventCRL              = "crl.signed"
	eventRotated          = "issuing.rotated"
	eventRestored         = "authority.restored"
	eventPass             = "pass.renewed"
	eventTimestamps       = "timestamp.serials"
	eventDeviceBlocked    = "device.blocked"
	eventDeviceUnblocked  = "device.unblocked"
	eventAssistDestroyed  = "assist.destroyed"
	eventPlatformRequest  = "platform.requested"
	eventPlatformApproved = "platform.approved"
	eventPlatformIssued   = "platform.issued"
	eventPlatformRejected = "platform.rejected"
	eventPlatformExpired  = "platform.expired"
	eventIssued           = "issuance.issued"
	eventDevice           = "device.added"

	eventOperatorAdded       = "operator.added"
	eventOperatorCertified   = "operator.certified"
	eventOperatorBlocked     = "operator.blocked"
	eventOperatorRefused     = "operator.refused"
	eventApplication         = "application.registered"
	eventApplicationApproved = "application.approved"
	eventApplicationRejected = "application.rejected"
	eventApplicationCode     = "application.code"
	eventRecoveryRequested   = "recovery.requested"
	eventRecoveryApproved    = "recovery.approved"
	eventRecoveryReleased    = "recovery.released"
	eventRecoveryRejected    = "recovery.rejected"
	eventRecoveryExpired     = "recovery.expired"
)

// Actors that are no operators.
const (
	actorAuthority = "authority"
	actorPhone     = "phone"
	actorPlatform  = "platform"
)

// auditLog appends entries. Each is chained to the one before by SM3 and signed,
// so that every entry is a signed head of the log up to it.
type auditLog struct {
	key crypto.Signer
	now func() time.Time
	// oids by which the listing reads certificates.
	oids trust.OIDs
}

// auditHash is SM3(prefix | previous | u64 seq | u64 at | H(actor) | H(event) | H(content)).
func auditHash(previous []byte, seq, at int64, actor, event, content string) []byte {
	numbers := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(seq)), uint64(at))
	return protocol.H([]byte("bidseal/ca audit 1\x00"), previous, numbers,
		protocol.H([]byte(actor)), protocol.H([]byte(event)), protocol.H([]byte(content)))
}

// entryMessage is what is signed of each entry: prefix | u64 seq | hash.
func entryMessage(seq int64, hash []byte) []byte {
	return append(binary.BigEndian.AppendUint64([]byte("bidseal/ca audit entry 1\x00"), uint64(seq)), hash...)
}

// append writes one entry in the caller's transaction, after the rows that it
// speaks of were written. content names what was done by serial numbers, digests
// and ids; names of people and secrets do not belong there. Rows that it names are
// committed to, see auditedTable.
func (l *auditLog) append(ctx context.Context, tx kmc.Querier, actor, event string, content any) error {
	actor = actorOf(ctx, actor)
	raw, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("audit %s: %w", event, err)
	}
	if raw, err = commitRows(ctx, tx, raw); err != nil {
		return fmt.Errorf("audit %s: %w", event, err)
	}
	var seq int64
	var previous []byte
	err = tx.QueryRowContext(ctx, `SELECT seq, hash FROM ca_audit ORDER BY seq DESC LIMIT 1`).Scan(&seq, &previous)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("audit %s: %w", event, err)
	}
	seq++
	at := l.now().UnixMilli()
	hash := auditHash(previous, seq, at, actor, event, string(raw))
	signature, err := protocol.Sign(l.key, entryMessage(seq, hash))
	if err != nil {
		return fmt.Errorf("audit %s: %w", event, err)
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO ca_audit (seq, at, actor, event, content, hash, signature) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		seq, at, actor, event, string(raw), hash, signature); err != nil {
		return fmt.Errorf("audit %s: %w", event, err)
	}
	return nil
}

// issuedContent and revokedContent are the entries that a report counts.
type issuedContent struct {
	Serial   string       `json:"serial"`
	Profile  string       `json:"profile"`
	Digest   string       `json:"digest"`
	Lineage  string       `json:"lineage,omitempty"`
	Issuance string       `json:"issuance,omitempty"`
	Leaf     *leafContent `json:"leaf,omitempty"`
}

type revokedContent struct {
	Serial string `json:"serial"`
	Reason string `json:"reason"`
	At     int64  `json:"at"` // Unix seconds
}

// auditEntry is an entry as it is stored and exported.
type auditEntry = caapi.AuditEntry

// readEntries hands over the log in order, from the entry after the given one.
func readEntries(ctx context.Context, tx rowQuerier, after int64, do func(auditEntry) error) error {
	rows, err := tx.QueryContext(ctx, `SELECT seq, at, actor, event, content, hash, signature FROM ca_audit WHERE seq > $1 ORDER BY seq`, after)
	if err != nil {
		return fmt.Errorf("read audit log: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var e auditEntry
		if err := rows.Scan(&e.Seq, &e.At, &e.Actor, &e.Event, &e.Content, &e.Hash, &e.Signature); err != nil {
			return fmt.Errorf("read audit log: %w", err)
		}
		if err := do(e); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read audit log: %w", err)
	}
	return nil
}

// errPageFull ends the reading of a page.
var errPageFull = errors.New("page is full")

// AuditPage answers at most limit entries after the given one.
func (a *Authority) AuditPage(ctx context.Context, after int64, limit int) (*caapi.AuditPage, error) {
	page := &caapi.AuditPage{V: caapi.Version, Entries: []caapi.AuditEntry{}}
	err := readEntries(ctx, a.db.Reader(), after, func(e auditEntry) error {
		if len(page.Entries) == limit {
			page.After = page.Entries[limit-1].Seq
			return errPageFull
		}
		page.Entries = append(page.Entries, e)
		return nil
	})
	if errors.Is(err, errPageFull) {
		err = nil
	}
	return page, err
}
