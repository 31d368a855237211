package ca

import (
	"context"
	"crypto"
	"crypto/subtle"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/bidseal/bidseal/protocol"
)

// LogReport says what a verification found good.
type LogReport struct {
	Entries      int64 `json:"entries"`
	Certificates int   `json:"certificates"`
	Revocations  int   `json:"revocations"`
	// Rows of the database that were held against the log; 0 for an exported log.
	Rows int `json:"rows"`
	// Leaves of the public listing that were held against the log, likewise.
	Leaves int `json:"leaves"`
	// Head is signed where the verifier has the key, and otherwise the one that
	// stood in the export.
	Head Head `json:"head"`
}

// LogError is a log that does not verify, with every difference found, at most
// maxDifferences. It wraps ErrLog.
type LogError struct{ Differences []string }

const maxDifferences = 100

// Error lists the differences.
func (e *LogError) Error() string { return ErrLog.Error() + ": " + strings.Join(e.Differences, "; ") }

// Unwrap is ErrLog.
func (e *LogError) Unwrap() error { return ErrLog }

func (e *LogError) add(difference string) {
	if len(e.Differences) < maxDifferences {
		e.Differences = append(e.Differences, difference)
	}
}

// VerifyLog walks the whole log: sequence, chain, signatures; that the kept heads
// are signed and stand in it; and that the rows of the database are those that the
// log last committed to, none more and none less. A failure wraps ErrLog; a
// *LogError names each row that differs.
func (a *Authority) VerifyLog(ctx context.Context, kept ...Head) (report *LogReport, err error) {
	err = a.db.View(ctx, func(tx *sql.Tx) error {
		report, err = verifyDatabase(ctx, tx, a.AuditKey(), kept)
		return err
	})
	if err != nil {
		return nil, err
	}
	report.Head, err = a.audit.head(report.Head.Seq, report.Head.Hash)
	return report, err
}

// verifyDatabase is VerifyLog without the private key; the report's head is not
// signed.
func verifyDatabase(ctx context.Context, tx *sql.Tx, public crypto.PublicKey, kept []Head) (*LogReport, error) {
	check, err := walkLog(ctx, tx, public, kept)
	if err != nil {
		return nil, err
	}
	return compareLog(ctx, tx, check)
}

func walkLog(ctx context.Context, tx *sql.Tx, public crypto.PublicKey, kept []Head) (*logCheck, error) {
	check, err := newLogCheck(public, kept)
	if err != nil {
		return nil, err
	}
	if err := readEntries(ctx, tx, 0, check.entry); err != nil {
		return nil, err
	}
	return check, check.end()
}

// logCheck is a verification on its way through the log.
type logCheck struct {
	public                    crypto.PublicKey
	head                      Head // of the entries so far, not signed
	certificates, revocations int
	rows                      rowDigests
	leaves                    [][]byte         // hashes, in the listing's order
	kept                      map[int64][]Head // not met yet
}

func newLogCheck(public crypto.PublicKey, kept []Head) (*logCheck, error) {
	check := &logCheck{public: public, rows: make(rowDigests), kept: make(map[int64][]Head)}
	for _, head := range kept {
		if !head.Verify(public) {
			return nil, fmt.Errorf("kept head %d is not signed by this log's key: %w", head.Seq, ErrLog)
		}
		if head.Seq > 0 {
			check.kept[head.Seq] = append(check.kept[head.Seq], head)
		}
	}
	return check, nil
}

func (c *logCheck) entry(e auditEntry) error {
	switch {
	case e.Seq != c.head.Seq+1:
		return fmt.Errorf("entry %d follows entry %d: %w", e.Seq, c.head.Seq, ErrLog)
	case subtle.ConstantTimeCompare(auditHash(c.head.Hash, e.Seq, e.At, e.Actor, e.Event, e.Content), e.Hash) != 1:
		return fmt.Errorf("entry %d: hash: %w", e.Seq, ErrLog)
	case !protocol.Verify(c.public, entryMessage(e.Seq, e.Hash), e.Signature):
		return fmt.Errorf("entry %d: signature: %w", e.Seq, ErrLog)
	}
	for _, kept := range c.kept[e.Seq] {
		if !protocol.Equal(kept.Hash, e.Hash) {
			return fmt.Errorf("entry %d is not the one of the kept head: the log was written anew: %w", e.Seq, ErrLog)
		}
	}
	delete(c.kept, e.Seq)
	c.head = Head{Seq: e.Seq, At: e.At, Hash: e.Hash}
	switch e.Event {
	case eventCertificate:
		c.certificates++
	case eventRevoked:
		c.revocations++
	}
	if err := c.rows.collect(e.Content); err != nil {
		return fmt.Errorf("entry %d: %w", e.Seq, err)
	}
	return c.collectLeaf(e)
}

// end says whether every kept head was met.
func (c *logCheck) end() error {
	for seq := range c.kept {
		return fmt.Errorf("the log ends at entry %d, before the kept head %d: it was cut or rolled back: %w", c.head.Seq, seq, ErrLog)
	}
	return nil
}

// compareLog holds the database against the log.
func compareLog(ctx context.Context, tx *sql.Tx, check *logCheck) (*LogReport, error) {
	report := &LogReport{Entries: check.head.Seq, Certificates: check.certificates, Revocations: check.revocations, Head: check.head}
	var found LogError
	for _, table := range auditedTables() {
		report.Rows += len(check.rows[table.name])
		if err := check.rows.compare(ctx, tx, table, found.add); err != nil {
			return nil, err
		}
	}
	report.Leaves = len(check.leaves)
	if err := compareListing(ctx, tx, check.leaves, found.add); err != nil {
		return nil, err
	}
	if len(found.Differences) > 0 {
		slices.Sort(found.Differences)
		return nil, &found
	}
	return report, nil
}
