package protocol_test

import (
	"encoding/json"
	"testing"

	"github.com/bidseal/bidseal/protocol"
)

// start is when the challenges of the state machine's tests are made, in Unix
// milliseconds; their limits are a login's, with two phases where said.
const start = int64(1_800_000_000_000)

func terms(twoPhase bool) protocol.Terms {
	return protocol.Terms{Kind: protocol.KindLogin, TwoPhase: twoPhase, Pending: 120_000, Claim: 120_000, Ready: 60_000, Keep: 86_400_000}
}

// event is one thing that happens to a challenge, in the words of the vectors.
type event struct {
	Name    string // claim, open, ready, result, reject, phone_fail, platform_fail, cancel, ack, sweep
	AtMS    int64  // after start
	Device  string
	Seq     uint32
	ClaimID []byte
	Frame   []byte
	Digest  []byte
	Next    protocol.State
	Code    protocol.Code
}

func (e event) values() values {
	v := values{"event": e.Name, "at_ms": e.AtMS}
	for name, text := range map[string]string{"device": e.Device, "claim_id": hexed(e.ClaimID), "frame": hexed(e.Frame), "digest": hexed(e.Digest), "next": string(e.Next), "code": string(e.Code)} {
		if text != "" {
			v[name] = text
		}
	}
	if e.Seq != 0 {
		v["claim_seq"] = e.Seq
	}
	return v
}

// apply is the state machine's answer to an event: what the store keeps, and
// the refusal. Only a second phone's claim is refused and stored all the same.
func apply(p protocol.Progress, t protocol.Terms, e event) (protocol.Progress, error) {
	now := start + e.AtMS
	switch e.Name {
	case "claim":
		return p.Claim(t, now, e.Device, e.ClaimID, e.Frame)
	case "open":
		return p.Open(t, now, e.Device, e.Seq, e.Digest)
	case "ready":
		return p.Ready(now, e.Seq, e.Next, e.Digest)
	case "result":
		return p.Fulfil(t, now, e.Device, e.Seq, e.Digest)
	case "reject":
		return p.Reject(now, e.Device, e.Seq, protocol.RejectReason(e.Code))
	case "phone_fail":
		return p.FailByPhone(now, e.Device, e.Seq, e.Code)
	case "platform_fail":
		return p.FailByPlatform(now, e.Code)
	case "cancel":
		return p.Cancel(now)
	case "ack":
		return p.Ack(e.Digest)
	}
	next, _ := p.Expire(now)
	return next, nil
}

// stateOf is a Progress in the words of the vectors; what is not yet is left out.
func stateOf(p protocol.Progress) values {
	v := values{"state": string(p.State)}
	for name, text := range map[string]string{"code": string(p.Code), "device": p.Device, "claim_id": hexed(p.ClaimID), "frame": hexed(p.Frame),
		"open_digest": hexed(p.OpenDigest), "ready_digest": hexed(p.ReadyDigest), "result_digest": hexed(p.ResultDigest)} {
		if text != "" {
			v[name] = text
		}
	}
	for name, at := range map[string]int64{"claimed_at": p.ClaimedAt, "pending_until": p.PendingUntil, "claim_until": p.ClaimUntil, "ready_until": p.ReadyUntil, "keep_until": p.KeepUntil, "ended_at": p.EndedAt} {
		if at != 0 {
			v[name+"_ms"] = at - start
		}
	}
	if p.ClaimSeq != 0 {
		v["claim_seq"] = p.ClaimSeq
	}
	if p.SecondScans != 0 {
		v["second_scans"] = p.SecondScans
	}
	return v
}

// runTransition applies a list of events to a new challenge. The last one is
// the vector's: every other one has to be accepted, or marked as refused.
func runTransition(i in) (values, error) {
	t := terms(i.v["two_phase"] == true)
	p := protocol.Begin(t, start)
	list, ok := i.v["events"].([]any)
	if !ok || len(list) == 0 {
		i.t.Fatal("no events")
	}
	for n, item := range list {
		e, ok := item.(map[string]any)
		if !ok {
			i.t.Fatalf("event %d is no object", n+1)
		}
		next, err := apply(p, t, readEvent(in{i.t, e}))
		p = next
		if n == len(list)-1 {
			return values{"after": stateOf(p)}, err
		}
		if refused, _ := e["refused"].(string); codeOf(err) != refused {
			i.t.Fatalf("event %d: %v", n+1, err)
		}
	}
	return nil, nil
}

func readEvent(i in) event {
	text := func(name string) string {
		s, _ := i.v[name].(string)
		return s
	}
	e := event{Name: text("event"), AtMS: i.int("at_ms"), Device: text("device"), Next: protocol.State(text("next")), Code: protocol.Code(text("code"))}
	if _, ok := i.v["claim_seq"].(json.Number); ok {
		e.Seq = i.u32("claim_seq")
	}
	for name, to := range map[string]*[]byte{"claim_id": &e.ClaimID, "frame": &e.Frame, "digest": &e.Digest} {
		if text(name) != "" {
			*to = i.hex(name)
		}
	}
	return e
}

func stateCases(testing.TB) []tried {
	a, b := event{Name: "claim", Device: "phone a", ClaimID: det("claim id 1", 16), Frame: det("frame", 10), AtMS: 10_000}, event{Name: "claim", Device: "phone b", ClaimID: det("claim id of b", 16), AtMS: 11_000}
	open := event{Name: "open", Device: "phone a", Seq: 1, Digest: det("open 1", 32), AtMS: 20_000}
	ready := event{Name: "ready", Seq: 1, Next: protocol.StateReady, Digest: det("ready 1", 32), AtMS: 21_000}
	wrong := event{Name: "ready", Seq: 1, Next: protocol.StateClaimed, Digest: det("wrong digits", 32), AtMS: 21_000}
	result := event{Name: "result", Device: "phone a", Seq: 1, Digest: det("result 1", 32), AtMS: 30_000}
	ack := event{Name: "ack", Digest: det("result 1", 32), AtMS: 31_000}
	at := func(e event, ms int64) event { e.AtMS = ms; return e }
	by := func(e event, device string) event { e.Device = device; return e }
	seq := func(e event, n uint32) event { e.Seq = n; return e }
	again := a
	again.ClaimID, again.Frame, again.AtMS = det("claim id 2", 16), nil, 40_000
	var out []tried
	add := func(name, description string, want protocol.Code, twoPhase bool, events ...event) {
		list := make([]any, len(events))
		for n, e := range events {
			list[n] = e.values()
		}
		out = append(out, tried{"state_" + name, "transition", description, values{"two_phase": twoPhase, "events": list}, want})
	}
	other := protocol.CodeClaimedByOther
	add("claim", "the first phone wins", "", false, a)
	add("claim_last_moment", "in the last millisecond of pending", "", false, at(a, 120_000))
	add("claim_late", "a millisecond later, before the sweeper ran", protocol.CodeExpired, false, at(a, 120_001))
	add("claim_repeated", "the same claim id changes nothing", "", false, a, at(a, 15_000))
	add("claim_again", "a new claim id of the same device: next claim, time and frame of claim 1 stay", "", false, a, again)
	add("claim_second_phone", "another device is refused and counted", other, false, a, b)
	add("claim_no_id", "an empty claim id", protocol.CodeMalformed, false, event{Name: "claim", Device: "phone a", AtMS: 1})
	add("claim_ended", "after the result", protocol.CodeAlreadyEnded, false, a, result, again)
	add("one_phase", "claim, result, ack", "", false, a, result, ack)
	add("one_phase_open", "open where one phase was fixed", protocol.CodeWrongState, false, a, open)
	add("two_phases", "claim, open, ready, result, ack", "", true, a, open, ready, result, ack)
	add("result_before_ready", "a result without ready", protocol.CodeNotReady, true, a, result)
	add("result_of_opened", "a result while the platform has not answered", protocol.CodeNotReady, true, a, open, result)
	add("wrong_digits", "ready back to claimed: claim_seq 2, the claim id stays", "", true, a, open, wrong)
	add("wrong_digits_old_claim", "an open of claim 1 after that", protocol.CodeClaimSeq, true, a, open, wrong, at(open, 22_000))
	add("wrong_digits_next", "an open of claim 2 after that", "", true, a, open, wrong, seq(at(open, 22_000), 2))
	add("wrong_digits_same_id", "claiming with the same id after that gives claim 2, not 3", "", true, a, open, wrong, at(a, 23_000))
	add("ready_repeated", "the same ready after it took the challenge back to claimed", "", true, a, open, wrong, at(wrong, 22_000))
	add("ready_late", "60.001 seconds after opened", protocol.CodePlatformTimeout, true, a, open, at(ready, 80_001))
	add("ready_superseded", "the phone has claimed again meanwhile", protocol.CodeClaimSeq, true, a, open, again, at(ready, 41_000))
	add("opened_swept", "the platform did not answer", "", true, a, open, event{Name: "sweep", AtMS: 80_001})
	add("opened_swept_claim_limit", "opened so late that the phone's own time ended first", "", true, a, at(open, 100_000), event{Name: "sweep", AtMS: 130_001})
	add("opened_swept_late", "the same, swept when the platform's time was over as well", "", true, a, at(open, 100_000), event{Name: "sweep", AtMS: 200_000})
	add("open_other_device", "an open of another device", other, true, a, by(open, "phone b"))
	add("result_other_device", "a result of another device", other, false, a, by(result, "phone b"))
	add("result_other_claim", "a result of claim 1 in claim 2", protocol.CodeClaimSeq, false, a, again, at(result, 41_000))
	add("result_repeated", "the same result again", "", false, a, result, at(result, 35_000))
	second := result
	second.Digest = det("result 2", 32)
	add("result_exchanged", "another result after the first", protocol.CodeAlreadyEnded, false, a, result, second)
	add("result_late", "a millisecond after the limit", protocol.CodeExpired, false, a, at(result, 130_001))
	add("reject", "the user rejects", "", false, a, event{Name: "reject", Device: "phone a", Seq: 1, Code: "not_me", AtMS: 20_000})
	add("reject_reason", "a reason that does not exist", protocol.CodeMalformed, false, a, event{Name: "reject", Device: "phone a", Seq: 1, Code: "bored", AtMS: 20_000})
	add("reject_after_result", "a rejection after the result", protocol.CodeAlreadyEnded, false, a, result, event{Name: "reject", Device: "phone a", Seq: 1, Code: "not_me", AtMS: 31_000})
	add("phone_fail", "the phone cannot go on", "", false, a, event{Name: "phone_fail", Device: "phone a", Seq: 1, Code: protocol.CodeCertRevoked, AtMS: 20_000})
	add("phone_fail_code", "a phone cannot say match_failed", protocol.CodeMalformed, false, a, event{Name: "phone_fail", Device: "phone a", Seq: 1, Code: protocol.CodeMatchFailed, AtMS: 20_000})
	add("platform_fail", "the frame was stale", "", false, a, event{Name: "platform_fail", Code: protocol.CodeFrameStale, AtMS: 12_000})
	add("platform_fail_pending", "nobody has claimed", protocol.CodeWrongState, false, event{Name: "platform_fail", Code: protocol.CodeFrameStale, AtMS: 12_000})
	add("platform_fail_result", "the verdict on a result replaces the ack", "", false, a, result, event{Name: "platform_fail", Code: protocol.CodeCertRevoked, AtMS: 31_000})
	add("platform_fail_late", "the phone's time has passed", protocol.CodeExpired, false, a, event{Name: "platform_fail", Code: protocol.CodeFrameStale, AtMS: 130_001})
	add("cancel", "the platform cancels", "", false, a, event{Name: "cancel", AtMS: 12_000})
	add("cancel_result", "a result stays", protocol.CodeAlreadyEnded, false, a, result, event{Name: "cancel", AtMS: 31_000})
	add("cancel_late", "nothing is left to cancel", protocol.CodeExpired, false, event{Name: "cancel", AtMS: 120_001})
	add("ack_other", "an ack of another result", protocol.CodeConflict, false, a, result, event{Name: "ack", Digest: det("result 2", 32), AtMS: 31_000})
	add("ack_empty", "an ack without digest", protocol.CodeConflict, false, a, result, event{Name: "ack", AtMS: 31_000})
	add("ack_early", "nothing to ack", protocol.CodeWrongState, false, a, ack)
	add("ack_last", "an ack after the result's time, before the sweeper ran", "", false, a, result, at(ack, 30_000+86_400_001))
	add("swept_pending", "nobody came", "", false, event{Name: "sweep", AtMS: 120_001})
	add("swept_in_time", "the sweeper changes nothing that is in time", "", false, event{Name: "sweep", AtMS: 120_000})
	add("swept_result", "the platform never acked", "", false, a, result, event{Name: "sweep", AtMS: 30_000 + 86_400_001})
	return out
}
