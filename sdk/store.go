package bidseal

import (
	"context"
	"time"
)

// Store keeps what the SDK must not forget between the QR code and the
// platform's commit. All processes of one platform share one Store. It is a
// small versioned table; values are sealed before they reach it.
//
// A write that failed may have happened: every caller repeats or re-reads.
type Store interface {
	// Put adds a record as version 1. A key that exists is ErrConflict.
	Put(ctx context.Context, record StoreRecord) error
	// Get reads a record, ErrNotFound where there is none.
	Get(ctx context.Context, key string) (StoreRecord, error)
	// CompareAndSwap replaces the record of the same key if its version is
	// still record.Version, and raises the version by one. Otherwise, also
	// where the record is gone, it changes nothing and returns ErrConflict.
	CompareAndSwap(ctx context.Context, record StoreRecord) error
	// List reads up to limit records whose Due is set and not after due,
	// earliest first.
	List(ctx context.Context, due time.Time, limit int) ([]StoreRecord, error)
	// Expire deletes the records whose Expires is before now.
	Expire(ctx context.Context, now time.Time) error
}

// StoreRecord is one row of a [Store].
type StoreRecord struct {
	Key     string // 1 to 128 of a-z, 0-9 and '/'
	Version uint64 // from 1
	Value   []byte // opaque, at most 4 MiB
	// Due is when somebody has to look at the record, to the millisecond;
	// zero for never.
	Due time.Time
	// Expires is when the record may be forgotten. Required.
	Expires time.Time
}
