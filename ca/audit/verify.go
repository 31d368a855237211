package audit

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

// Report says what a verification found good.
type Report struct {
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

// Error is a log that does not verify, with every difference found, at most
// maxDifferences. It wraps ErrLog.
type Error struct{ Differences []string }

const maxDifferences = 100

// Error lists the differences.
func (e *Error) Error() string { return ErrLog.Error() + ": " + strings.Join(e.Differences, "; ") }

// Unwrap is ErrLog.
func (e *Error) Unwrap() error { return ErrLog }

func (e *Error) add(difference string) {
	if len(e.Differences) < maxDifferences {
		e.Differences = append(e.Differences, difference)
	}
}

// Verify walks the whole log: sequence, chain, signatures; that the kept heads
// are signed and stand in it; and that the rows of the database are those that the
// log last committed to, none more and none less. A failure wraps ErrLog; a
// *Error names each row that differs.
func (l *Log) Verify(ctx context.Context, kept ...Head) (report *Report, err error) {
	err = l.db.View(ctx, func(tx *sql.Tx) error {
		report, err = VerifyRows(ctx, tx, l.Key(), l.checks, kept)
		return err
	})
	if err != nil {
		return nil, err
	}
	report.Head, err = l.head(report.Head.Seq, report.Head.Hash)
	return report, err
}

// VerifyRows is Log.Verify without the private key; the report's head is not
// signed.
func VerifyRows(ctx context.Context, tx Querier, public crypto.PublicKey, checks Checks, kept []Head) (*Report, error) {
	check, err := walkLog(ctx, tx, public, checks, kept)
	if err != nil {
		return nil, err
	}
	return compareLog(ctx, tx, check)
}

func walkLog(ctx context.Context, tx Querier, public crypto.PublicKey, checks Checks, kept []Head) (*logCheck, error) {
	check, err := newLogCheck(public, checks, kept)
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
	tables                    []Table
	listing                   Follower
	kept                      map[int64][]Head // not met yet
}

func newLogCheck(public crypto.PublicKey, checks Checks, kept []Head) (*logCheck, error) {
	check := &logCheck{public: public, tables: checks.Tables, listing: checks.follow(), rows: make(rowDigests), kept: make(map[int64][]Head)}
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

func (c *logCheck) entry(e Entry) error {
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
	case EventCertificate:
		c.certificates++
	case EventRevoked:
		c.revocations++
	}
	if err := c.rows.collect(e.Content); err != nil {
		return fmt.Errorf("entry %d: %w", e.Seq, err)
	}
	return c.listing.Entry(e)
}

// end says whether every kept head was met.
func (c *logCheck) end() error {
	for seq := range c.kept {
		return fmt.Errorf("the log ends at entry %d, before the kept head %d: it was cut or rolled back: %w", c.head.Seq, seq, ErrLog)
	}
	return nil
}

// compareLog holds the database against the log.
func compareLog(ctx context.Context, tx Querier, check *logCheck) (*Report, error) {
	report := &Report{Entries: check.head.Seq, Certificates: check.certificates, Revocations: check.revocations, Head: check.head}
	var found Error
	for _, table := range check.tables {
		report.Rows += len(check.rows[table.name])
		if err := check.rows.compare(ctx, tx, table, found.add); err != nil {
			return nil, err
		}
	}
	var err error
	if report.Leaves, err = check.listing.Compare(ctx, tx, found.add); err != nil {
		return nil, err
	}
	if len(found.Differences) > 0 {
		slices.Sort(found.Differences)
		return nil, &found
	}
	return report, nil
}
