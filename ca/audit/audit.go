// Package audit is the authority's first room: its log. Every entry is chained to
// the one before by SM3, signed, and commits to the rows that it names, so that a
// database that differs is detected. ca/AUDIT.md is normative.
//
// An entry is appended in the transaction of what it speaks of ([Log.Append]), and
// attributed to an [Actor] that the caller names. What a log is held against, the
// tables and the public listing, is passed in by the package that composes the authority
// ([Checks]).
package audit

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
	"github.com/bidseal/bidseal/internal/sqldb"
	"github.com/bidseal/bidseal/protocol"
)

// ErrLog: the audit log was altered, or the database differs from it.
var ErrLog = errors.New("audit log does not verify")

// Events of the audit log.
const (
	EventCeremony          = "ceremony"
	EventCodeMade          = "code.made"
	EventCodeVoid          = "code.void"
	EventIssuancePending   = "issuance.pending"
	EventIssuanceRefused   = "issuance.refused"
	EventCertificate       = "certificate.issued"
	EventRevoked           = "certificate.revoked"
	EventHeld              = "certificate.held"
	EventResumed           = "certificate.resumed"
	EventKeyReleased       = "key.released"
	EventCRL               = "crl.signed"
	EventRotated           = "issuing.rotated"
	EventRestored          = "authority.restored"
	EventPass              = "pass.renewed"
	EventTimestamps        = "timestamp.serials"
	EventDeviceBlocked     = "device.blocked"
	EventDeviceUnblocked   = "device.unblocked"
	EventAssistDestroyed   = "assist.destroyed"
	EventPlatformRequested = "platform.requested"
	EventPlatformApproved  = "platform.approved"
	EventPlatformIssued    = "platform.issued"
	EventPlatformRejected  = "platform.rejected"
	EventPlatformExpired   = "platform.expired"
	EventIssued            = "issuance.issued"
	EventDevice            = "device.added"

	EventOperatorAdded         = "operator.added"
	EventOperatorCertified     = "operator.certified"
	EventOperatorBlocked       = "operator.blocked"
	EventOperatorRefused       = "operator.refused"
	EventApplicationRegistered = "application.registered"
	EventApplicationApproved   = "application.approved"
	EventApplicationRejected   = "application.rejected"
	EventApplicationCode       = "application.code"
	EventRecoveryRequested     = "recovery.requested"
	EventRecoveryApproved      = "recovery.approved"
	EventRecoveryReleased      = "recovery.released"
	EventRecoveryRejected      = "recovery.rejected"
	EventRecoveryExpired       = "recovery.expired"
)

// Actor is the person or system to which an entry is attributed.
type Actor string

// Actors other than operators.
const (
	ActorAuthority Actor = "authority"
	ActorPhone     Actor = "phone"
	ActorPlatform  Actor = "platform"
)

// Local is the actor of commands on the authority's machine, which need its
// passphrase; name may be empty.
func Local(name string) Actor {
	if name == "" {
		return "local"
	}
	return Actor("local:" + name)
}

// ByOperator attributes audit entries to an operator with a certificate.
func ByOperator(id string) Actor { return Actor("operator:" + id) }

// Log appends entries. Each is chained to the one before by SM3 and signed,
// so that every entry is a signed head of the log up to it.
type Log struct {
	key    crypto.Signer
	now    func() time.Time
	db     *sqldb.DB
	checks Checks
}

// New is the log in a database, written under a key. checks are what the rooms
// above hold against it: an entry commits to the rows of their tables.
func New(key crypto.Signer, now func() time.Time, db *sqldb.DB, checks Checks) *Log {
	return &Log{key: key, now: now, db: db, checks: checks}
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
// committed to, see Table.
func (l *Log) Append(ctx context.Context, tx kmc.Querier, actor Actor, event string, content any) error {
	raw, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("audit %s: %w", event, err)
	}
	if raw, err = commitRows(ctx, tx, l.checks.Tables, raw); err != nil {
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
	hash := auditHash(previous, seq, at, string(actor), event, string(raw))
	signature, err := protocol.Sign(l.key, entryMessage(seq, hash))
	if err != nil {
		return fmt.Errorf("audit %s: %w", event, err)
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO ca_audit (seq, at, actor, event, content, hash, signature) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		seq, at, string(actor), event, string(raw), hash, signature); err != nil {
		return fmt.Errorf("audit %s: %w", event, err)
	}
	return nil
}

// Entry is an entry as it is stored and exported.
type Entry = caapi.AuditEntry

// readEntries hands over the log in order, from the entry after the given one.
func readEntries(ctx context.Context, tx Querier, after int64, do func(Entry) error) error {
	rows, err := tx.QueryContext(ctx, `SELECT seq, at, actor, event, content, hash, signature FROM ca_audit WHERE seq > $1 ORDER BY seq`, after)
	if err != nil {
		return fmt.Errorf("read audit log: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var e Entry
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

// Page returns at most limit entries after the given one.
func (l *Log) Page(ctx context.Context, after int64, limit int) (*caapi.AuditPage, error) {
	page := &caapi.AuditPage{V: caapi.Version, Entries: []caapi.AuditEntry{}}
	err := readEntries(ctx, l.db.Reader(), after, func(e Entry) error {
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
