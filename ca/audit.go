package ca

import (
	"context"
	"crypto"
	"crypto/subtle"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/ca/trust"
	"github.com/bidseal/bidseal/protocol"
)

// ErrLog: the audit log was altered, or the database says what the log does not.
var ErrLog = errors.New("audit log does not verify")

// Events of the audit log.
const (
	eventCeremony         = "ceremony"
	eventCodeMade         = "code.made"
	eventIssuancePending  = "issuance.pending"
	eventIssuanceRefused  = "issuance.refused"
	eventCertificate      = "certificate.issued"
	eventRevoked          = "certificate.revoked"
	eventKeyReleased      = "key.released"
	eventCRL              = "crl.signed"
	eventPass             = "pass.renewed"
	eventPlatformRequest  = "platform.requested"
	eventPlatformApproved = "platform.approved"
	eventPlatformRejected = "platform.rejected"
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
}

// auditHash is SM3(prefix | previous | u64 seq | u64 at | H(actor) | H(event) | H(content)).
func auditHash(previous []byte, seq, at int64, actor, event, content string) []byte {
	numbers := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(seq)), uint64(at))
	return protocol.H([]byte("bidseal/ca audit 1\x00"), previous, numbers,
		protocol.H([]byte(actor)), protocol.H([]byte(event)), protocol.H([]byte(content)))
}

// auditHead is what is signed: prefix | u64 seq | hash.
func auditHead(seq int64, hash []byte) []byte {
	return append(binary.BigEndian.AppendUint64([]byte("bidseal/ca audit head 1\x00"), uint64(seq)), hash...)
}

// append writes one entry in the caller's transaction. content names what was
// done by serial numbers, digests and ids; names of people and secrets do not
// belong there.
func (l *auditLog) append(ctx context.Context, tx kmc.Querier, actor, event string, content any) error {
	raw, err := json.Marshal(content)
	if err != nil {
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
	signature, err := protocol.Sign(l.key, auditHead(seq, hash))
	if err != nil {
		return fmt.Errorf("audit %s: %w", event, err)
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO ca_audit (seq, at, actor, event, content, hash, signature) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		seq, at, actor, event, string(raw), hash, signature); err != nil {
		return fmt.Errorf("audit %s: %w", event, err)
	}
	return nil
}

// Head is a signed state of the audit log. Kept outside, it shows later that
// nothing up to it was taken away.
type Head struct {
	Seq       int64          `json:"seq"`
	At        int64          `json:"at"` // Unix milliseconds
	Hash      protocol.Bytes `json:"hash"`
	Signature protocol.Bytes `json:"signature"`
}

// LogReport says what VerifyLog found good.
type LogReport struct {
	Entries      int64 `json:"entries"`
	Certificates int   `json:"certificates"`
	Revocations  int   `json:"revocations"`
	Head         Head  `json:"head"`
}

// issuedContent and revokedContent are the entries that the database is
// compared with.
type issuedContent struct {
	Serial   string `json:"serial"`
	Profile  string `json:"profile"`
	Digest   string `json:"digest"`
	Lineage  string `json:"lineage,omitempty"`
	Issuance string `json:"issuance,omitempty"`
}

type revokedContent struct {
	Serial string `json:"serial"`
	Reason string `json:"reason"`
	At     int64  `json:"at"` // Unix seconds
}

// VerifyLog walks the whole log: sequence, chain, signatures; that the kept
// heads stand in it; and that the certificates and revocations in the database
// are exactly those of the log. Errors wrap ErrLog and name the entry.
func (a *Authority) VerifyLog(ctx context.Context, kept ...Head) (report *LogReport, err error) {
	err = a.db.View(ctx, func(tx *sql.Tx) error {
		check, err := a.walkLog(ctx, tx, kept)
		if err != nil {
			return err
		}
		report, err = compareLog(ctx, tx, check)
		return err
	})
	return report, err
}

func (a *Authority) walkLog(ctx context.Context, tx *sql.Tx, kept []Head) (*logCheck, error) {
	check := &logCheck{
		public: a.audit.key.Public(), issued: make(map[string]issuedContent), revoked: make(map[string]revokedContent), kept: make(map[int64]Head),
	}
	for _, head := range kept {
		check.kept[head.Seq] = head
	}
	rows, err := tx.QueryContext(ctx, `SELECT seq, at, actor, event, content, hash, signature FROM ca_audit ORDER BY seq`)
	if err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var e auditEntry
		if err := rows.Scan(&e.seq, &e.at, &e.actor, &e.event, &e.content, &e.hash, &e.signature); err != nil {
			return nil, fmt.Errorf("read audit log: %w", err)
		}
		if err := check.entry(e); err != nil {
			return nil, fmt.Errorf("entry %d: %w", e.seq, err)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	for seq := range check.kept {
		return nil, fmt.Errorf("kept head %d is missing: %w", seq, ErrLog)
	}
	return check, nil
}

type auditEntry struct {
	seq, at               int64
	actor, event, content string
	hash, signature       []byte
}

type logCheck struct {
	public  crypto.PublicKey
	head    Head
	issued  map[string]issuedContent  // by serial number
	revoked map[string]revokedContent // by serial number
	kept    map[int64]Head            // not met yet
}

func (c *logCheck) entry(e auditEntry) error {
	switch {
	case e.seq != c.head.Seq+1:
		return fmt.Errorf("follows entry %d: %w", c.head.Seq, ErrLog)
	case subtle.ConstantTimeCompare(auditHash(c.head.Hash, e.seq, e.at, e.actor, e.event, e.content), e.hash) != 1:
		return fmt.Errorf("hash: %w", ErrLog)
	case !protocol.Verify(c.public, auditHead(e.seq, e.hash), e.signature):
		return fmt.Errorf("signature: %w", ErrLog)
	}
	if kept, ok := c.kept[e.seq]; ok {
		if !protocol.Equal(kept.Hash, e.hash) {
			return fmt.Errorf("is not the kept head: %w", ErrLog)
		}
		delete(c.kept, e.seq)
	}
	c.head = Head{Seq: e.seq, At: e.at, Hash: e.hash, Signature: e.signature}
	return c.collect(e)
}

func (c *logCheck) collect(e auditEntry) error {
	switch e.event {
	case eventCertificate:
		var content issuedContent
		if err := json.Unmarshal([]byte(e.content), &content); err != nil {
			return fmt.Errorf("content: %w", ErrLog)
		}
		if _, twice := c.issued[content.Serial]; twice {
			return fmt.Errorf("serial number %s issued twice: %w", content.Serial, ErrLog)
		}
		c.issued[content.Serial] = content
	case eventRevoked:
		var content revokedContent
		if err := json.Unmarshal([]byte(e.content), &content); err != nil {
			return fmt.Errorf("content: %w", ErrLog)
		}
		if _, twice := c.revoked[content.Serial]; twice {
			return fmt.Errorf("serial number %s revoked twice: %w", content.Serial, ErrLog)
		}
		c.revoked[content.Serial] = content
	}
	return nil
}

// compareLog holds the database against the log.
func compareLog(ctx context.Context, tx *sql.Tx, check *logCheck) (*LogReport, error) {
	report := &LogReport{Entries: check.head.Seq, Certificates: len(check.issued), Revocations: len(check.revoked), Head: check.head}
	rows, err := tx.QueryContext(ctx, `SELECT serial, profile, issuer, lineage, issuance, der, state, revoked_at, reason FROM ca_certificates`)
	if err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var found loggedRow
		if err := rows.Scan(&found.Serial, &found.Profile, &found.issuer, &found.Lineage, &found.Issuance, &found.der, &found.state, &found.revokedAt, &found.reason); err != nil {
			return nil, fmt.Errorf("read certificates: %w", err)
		}
		if err := check.compare(found); err != nil {
			return nil, fmt.Errorf("certificate %s: %w", found.Serial, err)
		}
		delete(check.issued, found.Serial)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	for serial := range check.issued {
		return nil, fmt.Errorf("certificate %s of the log is missing: %w", serial, ErrLog)
	}
	return report, nil
}

// loggedRow is what the database says of a certificate that the log says, too.
type loggedRow struct {
	issuedContent
	issuer, state     string
	der               []byte
	revokedAt, reason int64
}

func (c *logCheck) compare(found loggedRow) error {
	found.Digest = hex.EncodeToString(protocol.H(found.der))
	issuer := issuingName
	if found.Profile == string(issuance.Root) || found.Profile == string(issuance.Issuing) {
		issuer = rootName
	}
	if c.issued[found.Serial] != found.issuedContent || found.issuer != issuer {
		return fmt.Errorf("not the one of the log: %w", ErrLog)
	}
	want, revoked := c.revoked[found.Serial]
	if revoked != (found.state == stateRevoked) {
		return fmt.Errorf("it is %s, the log says otherwise: %w", found.state, ErrLog)
	}
	if revoked && want != (revokedContent{found.Serial, trust.Reason(found.reason).String(), found.revokedAt}) {
		return fmt.Errorf("revoked for another reason or at another time than the log says: %w", ErrLog)
	}
	return nil
}
