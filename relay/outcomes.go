package relay

import (
	"context"
	"crypto"
	"fmt"

	"github.com/bidseal/bidseal/protocol"
)

// Outcomes keeps how claimed challenges ended: the result or the reason, the
// receipt and the ledger entry. It is always an SQL database, also where the
// State is not: whatever the State forgets, an end stays exclusive and is never
// lost. A backend has to pass storetest.Run.
//
// As in State every operation may be repeated, and one that failed may have
// happened.
type Outcomes interface {
	// End decides a challenge by one insert that is unique by cid and returns
	// the end that stands: the given one, or the one that was there before, be it
	// the same or another (End.Same tells). The caller has checked state, device
	// and claim. In the same transaction the receipt is entered into the ledger,
	// the ledger's head taken last, and sign completes the promise.
	// The answer is given after the commit, and durable.
	End(ctx context.Context, e End, sign PromiseSigner) (won End, err error)

	// Ended reads the end of a challenge. ErrNotFound.
	Ended(ctx context.Context, cid protocol.CID) (End, error)

	// Unapplied lists up to limit ends that Applied was not called for, oldest
	// first: State has to follow.
	Unapplied(ctx context.Context, limit int) ([]End, error)

	// Applied says that State followed the end.
	Applied(ctx context.Context, cid protocol.CID) error

	// Release drops the ciphertexts of ends whose challenges State purged.
	// Receipts and ledger entries stay.
	Release(ctx context.Context, cids []protocol.CID) error

	// Ledger reads up to limit entries from the given index on, in order.
	Ledger(ctx context.Context, from uint64, limit int) ([]LedgerEntry, error)

	// Unlisted counts ends without a ledger entry: 0, unless somebody altered the
	// database.
	Unlisted(ctx context.Context) (int, error)

	// Head is the newest state of the ledger; Size 0 where it is empty.
	Head(ctx context.Context) (LedgerHead, error)
}

// Joint is implemented by a State that is one database with its Outcomes: end
// and state then move in one transaction.
type Joint interface {
	// EndSwap does Swap and End together, or neither. ErrConflict and ErrNotFound
	// as Swap, ErrEnded with won where another end stands. The stored challenge
	// carries the promise.
	EndSwap(ctx context.Context, rev int64, next Challenge, e End, sign PromiseSigner) (stored Challenge, won End, err error)
}

// PromiseSigner completes a promise, whose other fields are set, by its signature.
type PromiseSigner func(*protocol.Promise) error

// SignPromises makes a PromiseSigner of the ledger's key.
func SignPromises(key crypto.Signer) PromiseSigner {
	return func(p *protocol.Promise) error {
		sig, err := protocol.Sign(key, protocol.PromiseMessage(p))
		if err != nil {
			return fmt.Errorf("sign ledger promise: %w", err)
		}
		p.Signature = sig
		return nil
	}
}

// End is how a claimed challenge ended.
type End struct {
	CID      protocol.CID
	Platform string
	Kind     protocol.Kind
	State    protocol.State // fulfilled, rejected, failed, canceled or expired
	Code     string         // of a rejection or failure
	Device   string         // that held the claim
	Account  string         // of the device's pass; empty where the relay or the platform ended it
	ClaimSeq uint32
	At       int64  // Unix ms
	Digest   []byte // ResultDigest, nil without a result
	KEM      []byte
	Box      []byte // nil after Release
	Receipt  protocol.SignedReceipt
	Promise  protocol.Promise // set by Outcomes
}

// Same reports whether two ends say the same of one challenge, so that a
// repeated call returns what the first returned.
func (e End) Same(other End) bool {
	return e.CID == other.CID && e.Platform == other.Platform && e.State == other.State && e.Code == other.Code &&
		e.Device == other.Device && e.ClaimSeq == other.ClaimSeq && protocol.Equal(e.Digest, other.Digest)
}

// LedgerEntry is one line of the ledger with what is needed to check it.
type LedgerEntry struct {
	CID     protocol.CID
	Promise protocol.Promise
	Receipt []byte // exact bytes of the receipt
}

// LedgerHead is the state of the ledger after its newest entry.
type LedgerHead struct {
	Size      uint64         `json:"size"` // entries
	Head      protocol.Bytes `json:"head"`
	Entry     protocol.Bytes `json:"entry,omitzero"`     // the newest
	Signature protocol.Bytes `json:"signature,omitzero"` // over its promise: index Size-1, Entry, Head
}
