package relay

import (
	"context"
	"crypto"
	"fmt"

	"github.com/bidseal/bidseal/protocol"
)

// LedgerReport is what VerifyLedger found.
type LedgerReport struct {
	Entries uint64     `json:"entries"`
	Head    LedgerHead `json:"head"`
}

// VerifyLedger computes the whole chain again: every entry from its receipt and
// salt, every head from the one before, every signature by the ledger's key; it
// compares with the stored head, with a head published earlier (kept, nil where
// there is none), and looks for ends that are not listed. The error is of
// CodeLedgerInvalid and names the entry.
func VerifyLedger(ctx context.Context, o Outcomes, key crypto.PublicKey, kept *LedgerHead) (LedgerReport, error) {
	var report LedgerReport
	stored, err := o.Head(ctx)
	if err != nil {
		return report, fmt.Errorf("verify ledger: %w", err)
	}
	head := make([]byte, protocol.HashSize)
	if kept != nil && kept.Size == 0 && !protocol.Equal(kept.Head, head) {
		return report, invalidLedger(0, "the kept head of an empty ledger is wrong")
	}
	for report.Entries < stored.Size { // what is appended while we read is left out
		list, err := o.Ledger(ctx, report.Entries, batch)
		if err != nil {
			return report, fmt.Errorf("verify ledger: %w", err)
		}
		if len(list) == 0 {
			return report, invalidLedger(report.Entries, "is missing")
		}
		for _, e := range list {
			if report.Entries == stored.Size {
				break
			}
			if err := checkEntry(e, report.Entries, head, key); err != nil {
				return report, err
			}
			head = e.Promise.Head
			report.Entries++
			if kept != nil && kept.Size == report.Entries && !protocol.Equal(kept.Head, head) {
				return report, invalidLedger(report.Entries-1, "is not the one of the kept head")
			}
		}
	}
	switch {
	case !protocol.Equal(stored.Head, head):
		return report, invalidLedger(report.Entries, "does not lead to the stored head")
	case kept != nil && kept.Size > report.Entries:
		return report, invalidLedger(report.Entries, "was there when the kept head was taken")
	}
	if n, err := o.Unlisted(ctx); err != nil {
		return report, fmt.Errorf("verify ledger: %w", err)
	} else if n > 0 {
		return report, protocol.Errorf(protocol.CodeLedgerInvalid, "%d ends are not in the ledger", n)
	}
	report.Head = stored
	return report, nil
}

func checkEntry(e LedgerEntry, index uint64, prev []byte, key crypto.PublicKey) error {
	p := e.Promise
	if p.Index != index {
		return invalidLedger(index, "is missing")
	}
	signed := protocol.SignedReceipt{Bytes: e.Receipt}
	receipt, err := signed.Parse()
	if err != nil || receipt.CID != e.CID {
		return invalidLedger(index, "has no receipt of its challenge")
	}
	if !protocol.Equal(p.Head, protocol.LedgerHead(prev, index, p.Entry)) {
		return invalidLedger(index, "breaks the chain")
	}
	if err := protocol.VerifyPromise(key, &p, e.Receipt); err != nil {
		return invalidLedger(index, err.Error())
	}
	return nil
}

func invalidLedger(index uint64, what string) error {
	return protocol.Errorf(protocol.CodeLedgerInvalid, "entry %d %s", index, what)
}
