package relay

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	lru "github.com/hashicorp/golang-lru/v2"
)

// maxReceiptSkew is how far a receipt's time may be from the relay's.
const maxReceiptSkew = 10 * time.Minute

// checkResult verifies the receipt of a result before anything is stored:
// signature, chain to the relay's anchors, and that it is about these bytes.
func (r *Relay) checkResult(ctx context.Context, ph *phone, c Challenge, b protocol.ResultBody, digest []byte) error {
	if c.Open != nil && c.Open.ClaimSeq == b.ClaimSeq && !protocol.Equal(c.Open.KEM, b.KEM) {
		return protocol.Errorf(protocol.CodeMalformed, "kem is not the one of the open")
	}
	if len(b.Receipt.Chain) == 0 || receiptSize(b.Receipt) > protocol.MaxReceipt {
		return protocol.Errorf(protocol.CodeReceiptInvalid, "receipt of %d bytes with %d certificates", receiptSize(b.Receipt), len(b.Receipt.Chain))
	}
	rec, err := b.Receipt.Parse()
	if err != nil {
		return err
	}
	if err := r.matches(rec, ph, c, b.ClaimSeq); err != nil {
		return err
	}
	if !protocol.Equal(rec.Result, digest) || !protocol.Equal(rec.Cert, protocol.H(b.Receipt.Chain[0])) || rec.Reason != "" {
		return protocol.Errorf(protocol.CodeReceiptInvalid, "receipt is about another result or certificate")
	}
	if rec.NOK < 0 || rec.NFail < 0 || rec.NOK+rec.NFail > protocol.MaxItems {
		return protocol.Errorf(protocol.CodeReceiptInvalid, "receipt counts %d and %d", rec.NOK, rec.NFail)
	}
	return r.gate.do(ctx, func() error {
		key, err := r.certs.key(b.Receipt.Chain, rec.Kind, r.cfg.Clock())
		if err != nil {
			return err
		}
		return b.Receipt.Verify(key, protocol.TagReceipt)
	})
}

// checkDeviceReceipt verifies the receipt of a rejection or a phone's failure.
func (r *Relay) checkDeviceReceipt(ctx context.Context, ph *phone, c Challenge, seq uint32, reason string, s *protocol.SignedReceipt) error {
	if len(s.Chain) != 0 || receiptSize(*s) > protocol.MaxReceipt {
		return protocol.Errorf(protocol.CodeReceiptInvalid, "receipt of a device of %d bytes with %d certificates", receiptSize(*s), len(s.Chain))
	}
	rec, err := s.Parse()
	if err != nil {
		return err
	}
	if err := r.matches(rec, ph, c, seq); err != nil {
		return err
	}
	if len(rec.Result) != 0 || len(rec.Cert) != 0 || rec.Reason != reason {
		return protocol.Errorf(protocol.CodeReceiptInvalid, "receipt is about something else")
	}
	return r.gate.do(ctx, func() error { return s.Verify(ph.pass.Public, protocol.TagReject) })
}

// matches compares what every receipt says with the challenge.
func (r *Relay) matches(rec *protocol.Receipt, ph *phone, c Challenge, seq uint32) error {
	if rec.CID != c.CID || rec.Kind != c.Terms.Kind || rec.Platform != c.Platform || rec.Device != ph.device || rec.ClaimSeq != seq {
		return protocol.Errorf(protocol.CodeReceiptInvalid, "receipt is about another challenge, claim or device")
	}
	if d := r.cfg.Clock().Sub(time.Unix(rec.IAT, 0)); d > maxReceiptSkew || d < -maxReceiptSkew {
		return protocol.Errorf(protocol.CodeReceiptInvalid, "receipt's time is %s off", d.Truncate(time.Second))
	}
	return nil
}

// relayEnds makes a step of a transition that no phone signs: the platform's
// failure or cancellation, and expiry. Where it ends a claim, the relay signs
// the receipt itself, by its ledger key under TagReject.
func (r *Relay) relayEnds(next func(protocol.Progress, int64) (protocol.Progress, error)) step {
	return func(c Challenge, now int64) (Challenge, outcome, error) {
		before := c.Progress
		after, err := next(before, now)
		if err != nil {
			return c, outcome{}, err
		}
		c.Progress = after
		if before.State == after.State {
			return c, outcome{same: true}, nil
		}
		if !before.State.Held() {
			return c, outcome{}, nil
		}
		reason := string(after.Code)
		if reason == "" {
			reason = string(after.State)
		}
		receipt, err := protocol.SignReceipt(r.cfg.LedgerKey, protocol.TagReject, protocol.Receipt{V: protocol.Version, CID: c.CID,
			Kind: c.Terms.Kind, Platform: c.Platform, Device: before.Device, ClaimSeq: before.ClaimSeq, Reason: reason, IAT: now / 1000}, nil)
		if err != nil {
			return c, outcome{}, fmt.Errorf("sign the relay's receipt: %w", err)
		}
		c.Receipt = receipt
		end := End{CID: c.CID, Platform: c.Platform, Kind: c.Terms.Kind, State: after.State, Code: string(after.Code),
			Device: before.Device, ClaimSeq: before.ClaimSeq, At: now, Receipt: *receipt}
		return c, outcome{end: &end}, nil
	}
}

// certCache remembers which chains were found good. The key is a digest of the
// chain and the version of the trust store; dates are checked every time, and
// verdicts on receipts are never kept.
type certCache struct {
	anchors *trust.Store
	cache   *lru.Cache[[32]byte, verifiedCert]
}

type verifiedCert struct {
	key                 crypto.PublicKey
	authority           *trust.Authority
	notBefore, notAfter time.Time // of the whole chain
}

func newCertCache(anchors *trust.Store, size int) *certCache {
	return &certCache{anchors: anchors, cache: newLRU[[32]byte, verifiedCert](size)}
}

// key verifies the chain, leaf first, of somebody who signed for a challenge of a
// kind, and returns the leaf's key.
func (cc *certCache) key(chain []protocol.Bytes, kind protocol.Kind, now time.Time) (crypto.PublicKey, error) {
	v, err := cc.verify(chain, now)
	if err != nil {
		return nil, err
	}
	if err := v.authority.Allow(trust.Operation(kind), now); err != nil {
		return nil, protocol.Errorf(protocol.CodeReceiptInvalid, "chain of the receipt: %v", err)
	}
	return v.key, nil
}

func (cc *certCache) verify(chain []protocol.Bytes, now time.Time) (*verifiedCert, error) {
	ders := make([][]byte, len(chain))
	for i, der := range chain {
		ders[i] = der
	}
	id := chainID(cc.anchors.Version(), ders)
	if v, ok := cc.cache.Get(id); ok && !now.Before(v.notBefore) && !now.After(v.notAfter) {
		return &v, nil
	}
	certs, err := trust.ParseChain(ders)
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeReceiptInvalid, "chain of the receipt: %v", err)
	}
	verified, err := cc.anchors.Verify(certs, trust.VerifyOptions{Time: now, Usage: trust.Signing})
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeReceiptInvalid, "chain of the receipt: %v", err)
	}
	v := verifiedCert{key: verified.Leaf().PublicKey, authority: verified.Authority, notBefore: verified.Leaf().NotBefore, notAfter: verified.Leaf().NotAfter}
	for _, c := range verified.Chain {
		if c.NotBefore.After(v.notBefore) {
			v.notBefore = c.NotBefore
		}
		if c.NotAfter.Before(v.notAfter) {
			v.notAfter = c.NotAfter
		}
	}
	cc.cache.Add(id, v)
	return &v, nil
}

// chainID is unambiguous: every part stands behind its length. It never leaves
// this process, so it is the digest that processors compute fastest.
func chainID(version string, ders [][]byte) (id [sha256.Size]byte) {
	h := sha256.New()
	part := func(b []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	part([]byte(version))
	for _, der := range ders {
		part(der)
	}
	h.Sum(id[:0])
	return id
}
