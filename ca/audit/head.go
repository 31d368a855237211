package audit

import (
	"context"
	"crypto"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/bidseal/bidseal/protocol"
)

// Head is a signed state of the audit log at a moment. Kept outside, it shows
// later that nothing up to it was taken away or written anew.
type Head struct {
	Seq       int64          `json:"seq"`
	At        int64          `json:"at"` // when it was signed, Unix milliseconds
	Hash      protocol.Bytes `json:"hash"`
	Signature protocol.Bytes `json:"signature"`
}

// message is what is signed: prefix | u64 seq | u64 at | hash.
func (h Head) message() []byte {
	numbers := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64([]byte("bidseal/ca audit head 1\x00"), uint64(h.Seq)), uint64(h.At))
	return append(numbers, h.Hash...)
}

// Verify reports whether the owner of the audit key signed the head.
func (h Head) Verify(public crypto.PublicKey) bool {
	return h.Seq >= 0 && h.At >= 0 && protocol.Verify(public, h.message(), h.Signature)
}

// head signs a state of the log as it is now.
func (l *Log) head(seq int64, hash []byte) (Head, error) {
	h := Head{Seq: seq, At: l.now().UnixMilli(), Hash: hash}
	var err error
	if h.Signature, err = protocol.Sign(l.key, h.message()); err != nil {
		return Head{}, fmt.Errorf("sign head: %w", err)
	}
	return h, nil
}

// Head is the signed head of the log as it is now, to be published.
func (l *Log) Head(ctx context.Context) (Head, error) {
	var seq int64
	var hash []byte
	err := l.db.Reader().QueryRowContext(ctx, `SELECT seq, hash FROM ca_audit ORDER BY seq DESC LIMIT 1`).Scan(&seq, &hash)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return Head{}, fmt.Errorf("read audit log: %w", err)
	}
	return l.head(seq, hash)
}

// Key is the public key under which entries and heads verify.
func (l *Log) Key() crypto.PublicKey { return l.key.Public() }
