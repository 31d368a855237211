package core

import (
	"context"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/protocol"
)

// outboxItem is a result or rejection that is on its way. It is on disk before
// it is sent and until the relay has made it durable.
type outboxItem struct {
	V            int            `json:"v"`
	CID          protocol.CID   `json:"cid"`
	Kind         protocol.Kind  `json:"kind"`
	Action       string         `json:"action"` // "result" or "reject", the end of the path
	Body         protocol.Bytes `json:"body"`   // exact bytes
	Receipt      protocol.Bytes `json:"receipt"`
	Digest       protocol.Bytes `json:"digest,omitzero"` // of the result
	Platform     string         `json:"platform"`
	PlatformName string         `json:"platform_name"`
	Shown        []string       `json:"shown"`
	Certificate  string         `json:"certificate,omitzero"`
	Stapled      bool           `json:"stapled,omitzero"`
	At           int64          `json:"at"` // Unix seconds
	protocol.Kept
}

func (s *Session) item(action string, body, receipt []byte) *outboxItem {
	r := s.opened.Request
	return &outboxItem{V: 1, CID: r.CID, Kind: r.Kind, Action: action, Body: body, Receipt: receipt, Platform: r.Platform,
		PlatformName: s.who.identity.CommonName, Shown: s.shown, At: s.core.now().Unix()}
}

func outboxName(cid protocol.CID) string { return outboxPrefix + cid.String() + fileExtension }

// post puts an item on disk.
func (c *Core) post(ctx context.Context, item *outboxItem) error {
	return writeJSON(ctx, c.opt.Files, outboxName(item.CID), item)
}

// deliver sends an item. It leaves the disk when its fate is known: taken, or
// refused for good. Without a response it stays for Resume.
func (c *Core) deliver(ctx context.Context, item *outboxItem) (*Outcome, error) {
	var answer protocol.ResultAnswer
	err := c.relayCall(ctx, "POST", challengePath(item.CID, item.Action), item.Body, &answer)
	if err != nil {
		refused := classify(err)
		if won := winner(refused, item); won != nil {
			answer, err = *won, nil
		} else if final(refused) || c.now().Sub(time.Unix(item.At, 0)) > protocol.MaxKeepLimit {
			if err := c.opt.Files.Remove(ctx, outboxName(item.CID)); err != nil {
				return nil, err
			}
			return nil, refused
		}
	}
	if err != nil {
		return nil, err
	}
	out := &Outcome{CID: item.CID, Kind: item.Kind, State: protocol.StateFulfilled, Platform: item.Platform, PlatformName: item.PlatformName,
		Shown: item.Shown, Certificate: item.Certificate, Promise: answer.Promise, Stapled: item.Stapled}
	if item.Action == "reject" {
		out.State = protocol.StateRejected
	}
	out.PromiseVerified = c.checkPromise(ctx, answer.Promise, item.Receipt)
	if err := c.keepRecord(ctx, item, out); err != nil {
		return nil, err
	}
	return out, c.opt.Files.Remove(ctx, outboxName(item.CID))
}

// winner is the answer in a refusal that says that this very result had won:
// an earlier attempt had arrived.
func winner(e *protocol.Error, item *outboxItem) *protocol.ResultAnswer {
	w := e.Winner
	if w == nil || w.CID != item.CID || w.Result == nil || len(item.Digest) == 0 || !protocol.Equal(w.Result.Digest, item.Digest) {
		return nil
	}
	return &protocol.ResultAnswer{State: w.State, Rev: w.Rev, Promise: w.Promise}
}

// final reports whether a refusal will never turn into an acceptance: all but
// those that say nothing about the challenge.
func final(e *protocol.Error) bool {
	switch e.Code {
	case protocol.CodeNetwork, protocol.CodeClockSkew, protocol.CodeClockWrong, protocol.CodeUnauthorized, protocol.CodeInternal,
		protocol.CodeRateLimited, protocol.CodeOverloaded, protocol.CodeUnavailable:
		return false
	}
	return true
}

// Delivery is one item that Resume worked on.
type Delivery struct {
	CID     protocol.CID
	Outcome *Outcome // nil where it was not delivered
	Err     error    // why not; what is retryable stays for the next Resume
}

// Resume delivers what an earlier run had signed but got no response for, byte for
// byte. Call it at start and whenever the network comes back.
func (c *Core) Resume(ctx context.Context) ([]Delivery, error) {
	names, err := c.opt.Files.List(ctx, outboxPrefix)
	if err != nil {
		return nil, classify(err)
	}
	var done []Delivery
	for _, name := range names {
		var item outboxItem
		found, err := readJSON(ctx, c.opt.Files, name, &item)
		if err != nil || name != outboxName(item.CID) {
			c.opt.Log.Error("an undelivered result cannot be read", "file", name, "error", fmt.Sprint(err))
			continue
		}
		if !found {
			continue
		}
		out, err := c.deliver(ctx, &item)
		done = append(done, Delivery{CID: item.CID, Outcome: out, Err: result(err)})
	}
	return done, nil
}
