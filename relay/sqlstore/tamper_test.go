package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
	"github.com/emmansun/gmsm/sm2"
)

// TestTamperedLedger alters each part of a stored ledger; the verification
// names what is wrong with each.
func TestTamperedLedger(t *testing.T) {
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const entries = 4
	open := func(t *testing.T) *Store {
		t.Helper()
		s, err := Open(t.Context(), newLocation(t), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		for n := range byte(entries) {
			r, err := protocol.SignReceipt(key, protocol.TagReject, protocol.Receipt{V: 1, CID: protocol.CID{n}, Kind: protocol.KindLogin, Platform: "p1",
				Device: "0123456789abcdef0123456789abcdef", ClaimSeq: 1, Reason: "other", IAT: 1_800_000_000}, nil)
			if err != nil {
				t.Fatal(err)
			}
			e := relay.End{CID: protocol.CID{n}, Platform: "p1", Kind: protocol.KindLogin, State: protocol.StateRejected, Code: "other", Receipt: *r}
			if _, err := s.End(t.Context(), e, relay.SignPromises(key)); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	// chained gives entry 2 another salt and computes entry and head again, by
	// somebody who lacks the key.
	chained := func(tx *sql.Tx) error {
		var prev, receipt []byte
		if err := tx.QueryRow(`SELECT head FROM relay_ledger WHERE idx = 1`).Scan(&prev); err != nil {
			return err
		}
		if err := tx.QueryRow(`SELECT receipt FROM relay_end WHERE cid = $1`, (&protocol.CID{2})[:]).Scan(&receipt); err != nil {
			return err
		}
		salt := make([]byte, 32)
		entry := protocol.LedgerEntry(receipt, salt)
		_, err := tx.Exec(`UPDATE relay_ledger SET salt = $1, entry = $2, head = $3 WHERE idx = 2`, salt, entry, protocol.LedgerHead(prev, 2, entry))
		return err
	}
	// resigned gives entry 2 a head that does not follow from entry 1, signed by
	// the ledger's own key: what an operator could do.
	resigned := func(tx *sql.Tx) error {
		p := protocol.Promise{Index: 2}
		if err := tx.QueryRow(`SELECT salt, entry FROM relay_ledger WHERE idx = 2`).Scan(&p.Salt, &p.Entry); err != nil {
			return err
		}
		p.Head = protocol.LedgerHead(make([]byte, 32), 2, p.Entry)
		if err := relay.SignPromises(key)(&p); err != nil {
			return err
		}
		if _, err := tx.Exec(`UPDATE relay_ledger SET head = $1, signature = $2 WHERE idx = 2`, []byte(p.Head), []byte(p.Signature)); err != nil {
			return err
		}
		// and what follows is chained to it
		last := protocol.Promise{Index: 3}
		if err := tx.QueryRow(`SELECT salt, entry FROM relay_ledger WHERE idx = 3`).Scan(&last.Salt, &last.Entry); err != nil {
			return err
		}
		last.Head = protocol.LedgerHead(p.Head, 3, last.Entry)
		if err := relay.SignPromises(key)(&last); err != nil {
			return err
		}
		if _, err := tx.Exec(`UPDATE relay_ledger SET head = $1, signature = $2 WHERE idx = 3`, []byte(last.Head), []byte(last.Signature)); err != nil {
			return err
		}
		_, err := tx.Exec(`UPDATE relay_ledger_head SET head = $1`, []byte(last.Head))
		return err
	}
	exec := func(query string, args ...any) func(tx *sql.Tx) error {
		return func(tx *sql.Tx) error {
			_, err := tx.Exec(query, args...)
			return err
		}
	}
	zero := make([]byte, 32)
	for name, tamper := range map[string]func(tx *sql.Tx) error{
		"entry":            exec(`UPDATE relay_ledger SET entry = $1 WHERE idx = 2`, zero),
		"salt":             exec(`UPDATE relay_ledger SET salt = $1 WHERE idx = 2`, zero),
		"head":             exec(`UPDATE relay_ledger SET head = $1 WHERE idx = 2`, zero),
		"last head":        exec(`UPDATE relay_ledger SET head = $1 WHERE idx = 3`, zero),
		"signature":        exec(`UPDATE relay_ledger SET signature = $1 WHERE idx = 2`, zero),
		"chained again":    chained,
		"signed again":     resigned,
		"deleted entry":    exec(`DELETE FROM relay_ledger WHERE idx = 2`),
		"deleted end":      exec(`DELETE FROM relay_end WHERE cid = $1`, (&protocol.CID{2})[:]),
		"receipts swapped": exec(`UPDATE relay_end SET receipt = (SELECT receipt FROM relay_end WHERE cid = $1) WHERE cid = $2`, (&protocol.CID{1})[:], (&protocol.CID{2})[:]),
		"stored head":      exec(`UPDATE relay_ledger_head SET head = $1`, zero),
		"cut off": func(tx *sql.Tx) error {
			if _, err := tx.Exec(`DELETE FROM relay_ledger WHERE idx = 3`); err != nil {
				return err
			}
			_, err := tx.Exec(`UPDATE relay_ledger_head SET size = 3, head = (SELECT head FROM relay_ledger WHERE idx = 2)`)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			if report, err := relay.VerifyLedger(t.Context(), s, key.Public(), nil); err != nil || report.Entries != entries {
				t.Fatalf("before: %+v, %v", report, err)
			}
			if err := s.db.Update(context.Background(), tamper); err != nil {
				t.Fatal(err)
			}
			report, err := relay.VerifyLedger(t.Context(), s, key.Public(), nil)
			if protocol.CodeOf(err) != protocol.CodeLedgerInvalid {
				t.Fatalf("found %+v, %v", report, err)
			}
		})
	}
	s := open(t)
	if _, err := relay.VerifyLedger(t.Context(), s, other.Public(), nil); protocol.CodeOf(err) != protocol.CodeLedgerInvalid {
		t.Fatalf("by another key: %v", err)
	}
	// The newest entry and its end removed together leave a shorter ledger that is
	// sound by itself: a head that was published before shows it.
	kept, err := s.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.db.Update(context.Background(), func(tx *sql.Tx) error {
		for _, query := range []string{`DELETE FROM relay_end WHERE cid = (SELECT cid FROM relay_ledger WHERE idx = 3)`, `DELETE FROM relay_ledger WHERE idx = 3`,
			`UPDATE relay_ledger_head SET size = 3, head = (SELECT head FROM relay_ledger WHERE idx = 2)`} {
			if _, err := tx.Exec(query); err != nil {
				return fmt.Errorf("%s: %w", query, err)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := relay.VerifyLedger(t.Context(), s, key.Public(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := relay.VerifyLedger(t.Context(), s, key.Public(), &kept); protocol.CodeOf(err) != protocol.CodeLedgerInvalid {
		t.Fatalf("against the kept head: %v", err)
	}
}
