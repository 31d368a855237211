package sqlstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
)

// ledger appends the entries of one transaction. The head's row is locked with
// the first entry and written after the last one.
type ledger struct {
	held bool
	size int64
	head []byte
}

func (l *ledger) append(tx *txn, e relay.End, sign relay.PromiseSigner) (p protocol.Promise, err error) {
	if !l.held {
		// An update that changes nothing locks the row on every engine.
		if err := tx.QueryRow(`UPDATE relay_ledger_head SET size = size WHERE one = 1 RETURNING size, head`).Scan(&l.size, &l.head); err != nil {
			return p, fmt.Errorf("take the ledger's head: %w", err)
		}
		l.held = true
	}
	salt, err := protocol.Random(protocol.HashSize)
	if err != nil {
		return p, err
	}
	p = protocol.Promise{Index: uint64(l.size), Salt: salt, Entry: protocol.LedgerEntry(e.Receipt.Bytes, salt)}
	p.Head = protocol.LedgerHead(l.head, p.Index, p.Entry)
	if err := sign(&p); err != nil {
		return p, err
	}
	if _, err := tx.Exec(`INSERT INTO relay_ledger (idx, cid, salt, entry, head, signature) VALUES ($1, $2, $3, $4, $5, $6)`,
		l.size, e.CID[:], []byte(p.Salt), []byte(p.Entry), []byte(p.Head), []byte(p.Signature)); err != nil {
		return p, fmt.Errorf("append to the ledger: %w", err)
	}
	l.size, l.head = l.size+1, p.Head
	return p, nil
}

func (l *ledger) save(tx *txn) error {
	if !l.held {
		return nil
	}
	if _, err := tx.Exec(`UPDATE relay_ledger_head SET size = $1, head = $2 WHERE one = 1`, l.size, l.head); err != nil {
		return fmt.Errorf("write the ledger's head: %w", err)
	}
	return nil
}

// Ledger reads entries in order. An entry whose end is gone has no receipt.
func (s *Store) Ledger(ctx context.Context, from uint64, limit int) ([]relay.LedgerEntry, error) {
	rows, err := s.reads.rows(ctx, `SELECT l.idx, l.cid, l.salt, l.entry, l.head, l.signature, e.receipt
		FROM relay_ledger l LEFT JOIN relay_end e ON e.cid = l.cid WHERE l.idx >= $1 ORDER BY l.idx LIMIT $2`, int64(from), limit)
	if err != nil {
		return nil, fmt.Errorf("read ledger: %w", err)
	}
	defer rows.Close()
	var list []relay.LedgerEntry
	for rows.Next() {
		var index int64
		var cid, receipt []byte
		var e relay.LedgerEntry
		p := &e.Promise
		if err := rows.Scan(&index, &cid, &p.Salt, &p.Entry, &p.Head, &p.Signature, &receipt); err != nil {
			return nil, fmt.Errorf("read ledger: %w", err)
		}
		p.Index, e.CID = uint64(index), cidOf(cid)
		var signed protocol.SignedReceipt
		if receipt != nil {
			if err := json.Unmarshal(receipt, &signed); err != nil {
				return nil, fmt.Errorf("decode receipt: %w", err)
			}
		}
		e.Receipt = signed.Bytes
		list = append(list, e)
	}
	return list, rows.Err()
}

// Head reads the newest state of the ledger.
func (s *Store) Head(ctx context.Context) (relay.LedgerHead, error) {
	var h relay.LedgerHead
	var size int64
	var entry, signature []byte // missing where the ledger is empty
	err := s.reads.row(ctx, `SELECT h.size, h.head, l.entry, l.signature FROM relay_ledger_head h
		LEFT JOIN relay_ledger l ON l.idx = h.size - 1 WHERE h.one = 1`).Scan(&size, &h.Head, &entry, &signature)
	if err != nil {
		return h, fmt.Errorf("read the ledger's head: %w", missing(err))
	}
	h.Size, h.Entry, h.Signature = uint64(size), entry, signature
	if size > 0 && h.Entry == nil {
		return h, errors.New("the ledger lacks the entry of its head")
	}
	return h, nil
}

// Unlisted counts ends without a ledger entry.
func (s *Store) Unlisted(ctx context.Context) (int, error) {
	var n int
	err := s.reads.row(ctx, `SELECT count(*) FROM relay_end e WHERE NOT EXISTS (SELECT 1 FROM relay_ledger l WHERE l.cid = e.cid)`).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count unlisted ends: %w", err)
	}
	return n, nil
}
