package sqlstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
)

// End decides a challenge.
func (s *Store) End(ctx context.Context, e relay.End, sign relay.PromiseSigner) (relay.End, error) {
	receipt, err := json.Marshal(e.Receipt)
	if err != nil {
		return relay.End{}, fmt.Errorf("encode receipt: %w", err)
	}
	var won relay.End
	err = s.write(ctx, func(tx *txn) (late, error) {
		first, err := insertEnd(tx, e, receipt, 0)
		if err != nil {
			return nil, err
		}
		return func(tx *txn, l *ledger) error {
			var err error
			if won = e; first {
				won.Promise, err = l.append(tx, e, sign)
			} else {
				won, err = readEnd(tx, e.CID)
			}
			return err
		}, nil
	})
	if err != nil {
		return relay.End{}, fmt.Errorf("store end: %w", err)
	}
	return won, nil
}

// EndSwap does Swap and End in one transaction.
func (s *Store) EndSwap(ctx context.Context, rev int64, next relay.Challenge, e relay.End, sign relay.PromiseSigner) (relay.Challenge, relay.End, error) {
	receipt, err := json.Marshal(e.Receipt)
	if err != nil {
		return relay.Challenge{}, relay.End{}, fmt.Errorf("encode receipt: %w", err)
	}
	record, err := next.Encode()
	if err != nil {
		return relay.Challenge{}, relay.End{}, err
	}
	var stored relay.Challenge
	var won relay.End
	err = s.write(ctx, func(tx *txn) (late, error) {
		newRev, err := s.swap(tx, rev, next, record)
		if err != nil {
			return nil, err
		}
		first, err := insertEnd(tx, e, receipt, 1)
		if err != nil {
			return nil, err
		}
		if !first {
			return nil, relay.ErrEnded
		}
		return func(tx *txn, l *ledger) error {
			won, stored = e, next
			var err error
			if won.Promise, err = l.append(tx, e, sign); err != nil {
				return err
			}
			stored.Rev, stored.Promise = newRev, &won.Promise
			return setRecord(tx, stored)
		}, nil
	})
	if errors.Is(err, relay.ErrEnded) {
		other, readErr := s.Ended(ctx, e.CID)
		if readErr != nil {
			return relay.Challenge{}, relay.End{}, readErr
		}
		return relay.Challenge{}, other, err
	}
	if err != nil {
		return relay.Challenge{}, relay.End{}, fmt.Errorf("store end: %w", err)
	}
	return stored, won, nil
}

// setRecord adds to a challenge, which was swapped in this transaction, what the ledger gave.
func setRecord(tx *txn, c relay.Challenge) error {
	record, err := c.Encode()
	if err != nil {
		return err
	}
	_, err = tx.Exec(`UPDATE relay_challenge SET record = $1 WHERE cid = $2 AND rev = $3`, record, c.CID[:], c.Rev)
	return err
}

// insertEnd is the one insert that decides; first is false where an end stands.
func insertEnd(tx *txn, e relay.End, receipt []byte, applied int) (first bool, err error) {
	result, err := tx.Exec(`INSERT INTO relay_end (cid, platform, kind, state, code, device, account, claim_seq, ended_at, digest, kem, box, receipt, applied)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT (cid) DO NOTHING`,
		e.CID[:], e.Platform, string(e.Kind), string(e.State), e.Code, e.Device, e.Account, int64(e.ClaimSeq), e.At, e.Digest, e.KEM, e.Box, receipt, applied)
	if err != nil {
		return false, fmt.Errorf("insert end: %w", err)
	}
	n, err := result.RowsAffected()
	return n == 1, err
}

const selectEnd = `SELECT e.cid, e.platform, e.kind, e.state, e.code, e.device, e.account, e.claim_seq, e.ended_at, e.digest, e.kem, e.box, e.receipt,
	l.idx, l.salt, l.entry, l.head, l.signature FROM relay_end e JOIN relay_ledger l ON l.cid = e.cid `

func readEnd(tx *txn, cid protocol.CID) (relay.End, error) {
	return scanEnd(tx.QueryRow(selectEnd+`WHERE e.cid = $1`, cid[:]))
}

// scanEnd reads a row of selectEnd.
func scanEnd(row scanner) (relay.End, error) {
	var e relay.End
	var cid, receipt []byte
	var index int64
	p := &e.Promise
	if err := row.Scan(&cid, &e.Platform, &e.Kind, &e.State, &e.Code, &e.Device, &e.Account, &e.ClaimSeq, &e.At, &e.Digest, &e.KEM, &e.Box, &receipt,
		&index, &p.Salt, &p.Entry, &p.Head, &p.Signature); err != nil {
		return relay.End{}, missing(err)
	}
	e.CID, p.Index = cidOf(cid), uint64(index)
	if err := json.Unmarshal(receipt, &e.Receipt); err != nil {
		return relay.End{}, fmt.Errorf("decode receipt: %w", err)
	}
	return e, nil
}

// Ended reads an end.
func (s *Store) Ended(ctx context.Context, cid protocol.CID) (relay.End, error) {
	e, err := scanEnd(s.reads.row(ctx, selectEnd+`WHERE e.cid = $1`, cid[:]))
	if err != nil {
		return relay.End{}, fmt.Errorf("read end: %w", err)
	}
	return e, nil
}

// Unapplied lists ends whose state did not follow yet.
func (s *Store) Unapplied(ctx context.Context, limit int) ([]relay.End, error) {
	rows, err := s.reads.rows(ctx, selectEnd+`WHERE e.applied = 0 ORDER BY e.ended_at LIMIT $1`, limit)
	if err != nil {
		return nil, fmt.Errorf("list unapplied ends: %w", err)
	}
	defer rows.Close()
	var list []relay.End
	for rows.Next() {
		e, err := scanEnd(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, rows.Err()
}

// Applied says that the state followed.
func (s *Store) Applied(ctx context.Context, cid protocol.CID) error {
	if _, err := s.exec(ctx, `UPDATE relay_end SET applied = 1 WHERE cid = $1`, cid[:]); err != nil {
		return fmt.Errorf("mark end: %w", err)
	}
	return nil
}

// Release drops ciphertexts.
func (s *Store) Release(ctx context.Context, list []protocol.CID) error {
	err := s.write(ctx, func(tx *txn) (late, error) {
		for _, cid := range list {
			if _, err := tx.Exec(`UPDATE relay_end SET box = NULL, kem = NULL WHERE cid = $1`, cid[:]); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
	if err != nil {
		return fmt.Errorf("release ciphertexts: %w", err)
	}
	return nil
}
