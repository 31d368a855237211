package core

import (
	"context"

	"github.com/bidseal/bidseal/protocol"
)

// Reject ends the challenge by the person's decision. No password is needed:
// the device signs it, which is advisory.
func (s *Session) Reject(ctx context.Context, reason protocol.RejectReason) (*Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !reason.Known() {
		return nil, protocol.Errorf(protocol.CodeMalformed, "reason %.20q", string(reason))
	}
	if err := s.live(); err != nil {
		return nil, classify(err)
	}
	receipt, err := s.deviceReceipt(string(reason))
	if err != nil {
		return nil, classify(err)
	}
	body, err := protocol.EncodeJSON(protocol.RejectBody{ClaimSeq: s.seq, Reason: reason, Receipt: *receipt})
	if err != nil {
		return nil, classify(err)
	}
	item := s.item("reject", body, receipt.Bytes)
	if err := s.core.post(ctx, item); err != nil {
		return nil, classify(err)
	}
	s.ended = true
	out, err := s.core.deliver(ctx, item)
	return out, result(err)
}

// deviceReceipt is the usage record of an end without a result, signed by the
// device key under a tag of its own.
func (s *Session) deviceReceipt(reason string) (*protocol.SignedReceipt, error) {
	receipt := s.receipt()
	receipt.Reason = reason
	return protocol.SignReceipt(s.core.device.key, protocol.TagReject, receipt, nil)
}

// failed tells the relay why the phone refuses the request, where that is the
// request's end.
func (s *Session) failed(ctx context.Context, err error) {
	if code := phoneFailure(protocol.CodeOf(err)); code != "" {
		s.fail(ctx, code)
	}
}

// fail ends the challenge with a code. It helps the platform's page to say why;
// if it does not arrive, the challenge simply expires.
func (s *Session) fail(ctx context.Context, code protocol.Code) {
	s.ended = true
	receipt, err := s.deviceReceipt(string(code))
	if err == nil {
		var body []byte
		body, err = protocol.EncodeJSON(protocol.FailBody{Code: code, ClaimSeq: s.seq, Receipt: receipt})
		if err == nil {
			err = s.core.relayCall(ctx, "POST", challengePath(s.ks.CID, "fail"), body, &protocol.ResultAnswer{})
		}
	}
	if err != nil {
		s.core.opt.Log.Warn("the relay did not take the failure", "code", string(code), "error", err.Error())
	}
}
