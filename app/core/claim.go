package core

import (
	"bytes"
	"context"
	"encoding/hex"
	"time"

	"github.com/bidseal/bidseal/protocol"
)

// claimKept is how long the note of a claim is of use: longer than any challenge.
const claimKept = 30 * time.Minute

// claimNote is stored before a challenge is claimed: the same id gets the same
// answer, so neither a crash nor a lost answer makes a second claim.
type claimNote struct {
	V       int            `json:"v"`
	ClaimID protocol.Bytes `json:"claim_id"`
	Frame   protocol.Bytes `json:"frame,omitzero"` // as it was scanned
	Used    bool           `json:"used,omitzero"`  // its keys went out: a new scan needs a new claim
	At      int64          `json:"at"`             // Unix seconds, uncorrected
	protocol.Kept
}

func claimName(cid protocol.CID) string { return claimPrefix + cid.String() + fileExtension }

// noteClaim reads or makes the note for a challenge.
func (c *Core) noteClaim(ctx context.Context, cid protocol.CID, frame *protocol.Frame) (*claimNote, error) {
	release, err := c.opt.Files.Lock(ctx, claimPrefix+"lock")
	if err != nil {
		return nil, err
	}
	defer release()
	if err := c.dropOldClaims(ctx); err != nil {
		return nil, err
	}
	n := claimNote{V: 1, At: c.opt.Now().Unix()}
	if frame != nil {
		n.Frame = frame.Bytes()
	}
	var kept claimNote
	found, err := readJSON(ctx, c.opt.Files, claimName(cid), &kept)
	if err != nil {
		return nil, err
	}
	// A code that was scanned anew is another claim: under the old id a first
	// attempt that never arrived would be judged by a frame that is long gone.
	if found && !kept.Used && len(kept.ClaimID) == protocol.ClaimIDSize && bytes.Equal(kept.Frame, n.Frame) {
		return &kept, nil
	}
	if n.ClaimID, err = protocol.Random(protocol.ClaimIDSize); err != nil {
		return nil, err
	}
	return &n, writeJSON(ctx, c.opt.Files, claimName(cid), n)
}

// useClaim notes that the keys of this claim are about to go out.
func (c *Core) useClaim(ctx context.Context, cid protocol.CID, n *claimNote) error {
	if n.Used {
		return nil
	}
	n.Used = true
	return writeJSON(ctx, c.opt.Files, claimName(cid), n)
}

func (c *Core) dropOldClaims(ctx context.Context) error {
	names, err := c.opt.Files.List(ctx, claimPrefix)
	if err != nil {
		return err
	}
	for _, name := range names {
		var n claimNote
		if _, err := readJSON(ctx, c.opt.Files, name, &n); err == nil && c.opt.Now().Sub(time.Unix(n.At, 0)).Abs() < claimKept {
			continue
		}
		if err := c.opt.Files.Remove(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// challengePath is the path of a challenge at the relay.
func challengePath(cid protocol.CID, what string) string {
	path := "/v1/challenges/" + hex.EncodeToString(cid[:])
	if what != "" {
		path += "/" + what
	}
	return path
}

// claim takes the challenge for this phone.
func (c *Core) claim(ctx context.Context, ks *protocol.KeySet, n *claimNote) (*protocol.ClaimAnswer, error) {
	body, err := protocol.EncodeJSON(protocol.ClaimBody{KClaim: ks.KClaim, ClaimID: n.ClaimID, Frame: n.Frame})
	if err != nil {
		return nil, err
	}
	var answer protocol.ClaimAnswer
	if err := c.relayCall(ctx, "POST", challengePath(ks.CID, "claim"), body, &answer); err != nil {
		return nil, err
	}
	if answer.ClaimSeq == 0 || answer.Rev < 0 {
		return nil, protocol.Errorf(protocol.CodeMalformed, "the relay's answer to the claim is incomplete")
	}
	return &answer, nil
}
