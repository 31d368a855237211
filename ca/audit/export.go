package audit

import (
	"bufio"
	"context"
	"crypto"
	"database/sql"
	"errors"
	"fmt"
	"io"

	"github.com/bidseal/bidseal/protocol"
)

// exportType names the format of an exported log: lines of JSON, first an
// exportHeader, then every entry in order, last an exportEnd.
const exportType = "bidseal/ca audit export 1"

type exportHeader struct {
	Type string `json:"type"`
	// AuditKey is for convenience: a verifier brings the key that it knows.
	AuditKey protocol.Bytes `json:"audit_key"`
}

type exportEnd struct {
	Head Head `json:"head"`
}

// maxExportLine bounds a line of an exported log in bytes.
const maxExportLine = 1 << 20

// Export writes the whole log with a signed head, as it stands at one moment.
// Entries hold ids and digests, no names of persons.
func (l *Log) Export(ctx context.Context, w io.Writer) error {
	key, err := protocol.MarshalKey(l.Key())
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	line := func(v any) error {
		raw, err := protocol.EncodeJSON(v)
		if err != nil {
			return fmt.Errorf("export log: %w", err)
		}
		_, err = out.Write(append(raw, '\n'))
		return err
	}
	if err := line(exportHeader{exportType, key}); err != nil {
		return err
	}
	err = l.db.View(ctx, func(tx *sql.Tx) error {
		var last Entry
		if err := readEntries(ctx, tx, 0, func(e Entry) error {
			last = e
			return line(e)
		}); err != nil {
			return err
		}
		head, err := l.head(last.Seq, last.Hash)
		if err != nil {
			return err
		}
		return line(exportEnd{head})
	})
	if err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("export log: %w", err)
	}
	return nil
}

// VerifyExport verifies an exported log with nothing but the audit key: sequence,
// chain, signatures, kept heads, and the signed head at its end. Errors wrap
// ErrLog.
func VerifyExport(r io.Reader, public crypto.PublicKey, checks Checks, kept []Head) (*Report, error) {
	check, err := newLogCheck(public, checks, kept)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxExportLine)
	var header exportHeader
	if !lines.Scan() || protocol.DecodeJSON(lines.Bytes(), &header) != nil || header.Type != exportType {
		return nil, fmt.Errorf("not an exported log: %w", errors.Join(ErrLog, lines.Err()))
	}
	for lines.Scan() {
		var end exportEnd
		if protocol.DecodeJSON(lines.Bytes(), &end) == nil {
			if lines.Scan() {
				return nil, fmt.Errorf("lines after the head: %w", ErrLog)
			}
			return check.exported(end.Head)
		}
		var e Entry
		if err := protocol.DecodeJSON(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("after entry %d: %w: %w", check.head.Seq, ErrLog, err)
		}
		if err := check.entry(e); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("the log breaks off after entry %d: %w", check.head.Seq, errors.Join(ErrLog, lines.Err()))
}

// exported judges the end of an exported log.
func (c *logCheck) exported(head Head) (*Report, error) {
	if head.Seq != c.head.Seq || !protocol.Equal(head.Hash, c.head.Hash) || !head.Verify(c.public) {
		return nil, fmt.Errorf("the head does not belong to the entries: %w", ErrLog)
	}
	if err := c.end(); err != nil {
		return nil, err
	}
	return &Report{Entries: head.Seq, Certificates: c.certificates, Revocations: c.revocations, Head: head}, nil
}
