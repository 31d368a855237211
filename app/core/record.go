package core

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bidseal/bidseal/protocol"
)

// maxRecords bounds how many of its own usage records a phone keeps.
const maxRecords = 500

// UsageRecord is the phone's own note of an end, with what is needed to show later
// that the relay left it out of its ledger.
type UsageRecord struct {
	V            int               `json:"v"`
	CID          protocol.CID      `json:"cid"`
	Kind         protocol.Kind     `json:"kind"`
	State        protocol.State    `json:"state"`
	Platform     string            `json:"platform"`
	PlatformName string            `json:"platform_name"`
	Shown        []string          `json:"shown"`
	Certificate  string            `json:"certificate,omitzero"`
	At           int64             `json:"at"`      // Unix seconds
	Receipt      protocol.Bytes    `json:"receipt"` // exact bytes
	Promise      *protocol.Promise `json:"promise,omitzero"`
}

// keepRecord stores the note. Its name sorts by time; the same end has the same
// name.
func (c *Core) keepRecord(ctx context.Context, item *outboxItem, out *Outcome) error {
	name := fmt.Sprintf("%s%012d-%s%s", recordPrefix, item.At, item.CID, fileExtension)
	err := writeJSON(ctx, c.opt.Files, name, UsageRecord{V: 1, CID: item.CID, Kind: item.Kind, State: out.State, Platform: item.Platform,
		PlatformName: item.PlatformName, Shown: item.Shown, Certificate: item.Certificate, At: item.At, Receipt: item.Receipt, Promise: out.Promise})
	if err != nil {
		return err
	}
	names, err := c.opt.Files.List(ctx, recordPrefix)
	if err != nil {
		return err
	}
	for _, old := range names[:max(0, len(names)-maxRecords)] {
		if err := c.opt.Files.Remove(ctx, old); err != nil {
			return err
		}
	}
	return nil
}

// UsageRecords lists the phone's own usage records, newest first.
func (c *Core) UsageRecords(ctx context.Context) ([]UsageRecord, error) {
	names, err := c.opt.Files.List(ctx, recordPrefix)
	if err != nil {
		return nil, classify(err)
	}
	slices.Reverse(names)
	out := make([]UsageRecord, 0, len(names))
	for _, name := range names {
		var r struct {
			UsageRecord
			protocol.Kept // of a newer version
		}
		if found, err := readJSON(ctx, c.opt.Files, name, &r); err != nil {
			return nil, classify(err)
		} else if found {
			out = append(out, r.UsageRecord)
		}
	}
	return out, nil
}

// Time is when the record was made.
func (r UsageRecord) Time() time.Time { return time.Unix(r.At, 0).UTC() }

// checkPromise verifies the relay's promise with the key that the relay named
// when its first promise came; a relay that changes its key is not believed.
func (c *Core) checkPromise(ctx context.Context, p *protocol.Promise, receipt []byte) bool {
	if p == nil {
		return false
	}
	key, err := c.ledgerKey(ctx)
	if err == nil {
		pub, parseErr := protocol.ParseKey(key)
		if err = parseErr; err == nil {
			err = protocol.VerifyPromise(pub, p, receipt)
		}
	}
	if err != nil {
		c.opt.Log.Warn("the relay's ledger promise is not verified", "error", err.Error())
	}
	return err == nil
}

// ledgerKey is the pinned key of the relay's ledger.
func (c *Core) ledgerKey(ctx context.Context) ([]byte, error) {
	cfg, _, err := c.enrolled()
	if err != nil {
		return nil, err
	}
	if len(cfg.LedgerKey) > 0 {
		return cfg.LedgerKey, nil
	}
	raw, refused := c.once(ctx, Call{Method: "GET", URL: cfg.Relay + "/v1/info"}, nil)
	if refused != nil {
		return nil, refused
	}
	var info protocol.RelayInfo
	if err := decode(raw, &info); err != nil {
		return nil, err
	}
	if _, err := protocol.ParseKey(info.LedgerKey); err != nil {
		return nil, err
	}
	next := *cfg
	next.LedgerKey = info.LedgerKey
	if err := writeJSON(ctx, c.opt.Files, settingsFile, &next); err != nil {
		return nil, err
	}
	return info.LedgerKey, c.apply(&next)
}
