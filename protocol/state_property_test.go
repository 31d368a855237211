package protocol_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/protocol"
	"pgregory.net/rapid"
)

// drawEvent draws an event that is right as often as not: few devices, claims,
// ids and digests, so that they meet each other.
func drawEvent(t *rapid.T, p protocol.Progress, now int64) event {
	one := func(label string, from []byte) []byte {
		return []byte{from[rapid.IntRange(0, len(from)-1).Draw(t, label)]}
	}
	e := event{
		Name:    rapid.SampledFrom([]string{"claim", "open", "ready", "result", "reject", "phone_fail", "platform_fail", "cancel", "ack", "sweep"}).Draw(t, "event"),
		Device:  rapid.SampledFrom([]string{deviceA, deviceA, deviceB}).Draw(t, "device"),
		Seq:     uint32(rapid.IntRange(max(0, int(p.ClaimSeq)-1), int(p.ClaimSeq)+1).Draw(t, "claim_seq")),
		ClaimID: one("claim id", []byte("xyz")), Digest: one("digest", []byte("defg")), Frame: one("frame", []byte("fg")),
		Next: rapid.SampledFrom([]protocol.State{protocol.StateReady, protocol.StateClaimed, protocol.StateFailed}).Draw(t, "next"),
		AtMS: now,
	}
	switch e.Name {
	case "reject":
		e.Code = "not_me"
	case "phone_fail":
		e.Code = protocol.CodeNotBefore
	case "platform_fail":
		e.Code = rapid.SampledFrom([]protocol.Code{protocol.CodeFrameStale, protocol.CodeUnacked, protocol.CodeNotBefore}).Draw(t, "code")
	}
	return e
}

// TestStateMachineProperties lets anything happen in any order.
func TestStateMachineProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		twoPhase := rapid.Bool().Draw(rt, "two phases")
		p, now := protocol.Begin(terms(twoPhase), start), int64(0)
		for range rapid.IntRange(1, 40).Draw(rt, "events") {
			now += rapid.SampledFrom([]int64{0, 1, 1000, 1000, 30_000, 100_000, 86_400_000}).Draw(rt, "ms")
			e := drawEvent(rt, p, now)
			next, err := apply(p, terms(twoPhase), e)
			if strings.HasPrefix(codeOf(err), "not classified") {
				rt.Fatalf("%s: an error without a code: %v", e.Name, err)
			}
			holdInvariants(rt, p, next, e, err, twoPhase)
			if err == nil {
				again, err := apply(next, terms(twoPhase), e)
				if err != nil || !reflect.DeepEqual(again, next) {
					rt.Fatalf("%s again: %v\n %+v\n %+v", e.Name, err, again, next)
				}
			}
			p = next
		}
	})
}

func holdInvariants(t *rapid.T, p, next protocol.Progress, e event, err error, twoPhase bool) {
	switch {
	case p.State.Terminal() && !reflect.DeepEqual(next, p):
		t.Fatalf("%s left the terminal state %s: %+v", e.Name, p.State, next)
	case p.Device != "" && next.Device != p.Device:
		t.Fatalf("%s gave the challenge from %s to %s", e.Name, p.Device, next.Device)
	case next.ClaimSeq < p.ClaimSeq || next.ClaimSeq > p.ClaimSeq+1:
		t.Fatalf("%s moved claim_seq from %d to %d", e.Name, p.ClaimSeq, next.ClaimSeq)
	case p.ResultDigest != nil && !bytes.Equal(p.ResultDigest, next.ResultDigest):
		t.Fatalf("%s exchanged the result", e.Name)
	case p.ClaimedAt != 0 && (next.ClaimedAt != p.ClaimedAt || next.ClaimUntil != p.ClaimUntil || !bytes.Equal(next.Frame, p.Frame)):
		t.Fatalf("%s moved time or frame of claim 1", e.Name)
	case next.PendingUntil != p.PendingUntil, next.SecondScans < p.SecondScans:
		t.Fatalf("%s moved a deadline or the counter", e.Name)
	case next.State == protocol.StateFulfilled && p.State != next.State && (e.Device != p.Device || e.Seq != p.ClaimSeq || start+e.AtMS > p.ClaimUntil):
		t.Fatalf("a result was taken from %s in claim %d at %d", e.Device, e.Seq, e.AtMS)
	case next.State == protocol.StateFulfilled && p.State != next.State && twoPhase != (p.State == protocol.StateReady):
		t.Fatalf("a result was taken in state %s", p.State)
	case next.State == protocol.StateCompleted && next.ResultDigest == nil:
		t.Fatal("completed without a result")
	case next.State.Held() && next.State != p.State && p.Due() != 0 && start+e.AtMS > p.Due():
		t.Fatalf("%s moved %s to %s after its deadline", e.Name, p.State, next.State)
	}
	if err == nil {
		return
	}
	counted := p
	counted.SecondScans = min(p.SecondScans+1, protocol.MaxSecondScans)
	second := codeOf(err) == string(protocol.CodeClaimedByOther) && e.Name == "claim"
	if second && !reflect.DeepEqual(next, counted) || !second && !reflect.DeepEqual(next, p) {
		t.Fatalf("%s was refused (%v) and changed %+v to %+v", e.Name, err, p, next)
	}
}

// TestBytesAndCodesComeBack holds that what is written is read as the same.
func TestBytesAndCodesComeBack(t *testing.T) {
	w := newWorld(t)
	rapid.Check(t, func(rt *rapid.T) {
		b := protocol.Bytes(rapid.SliceOf(rapid.Byte()).Draw(rt, "bytes"))
		var back protocol.Bytes
		if err := back.UnmarshalText([]byte(b.String())); err != nil || !bytes.Equal(back, b) {
			rt.Fatalf("%x came back as %x, %v", []byte(b), []byte(back), err)
		}
		p := protocol.Payload{Secret: rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(rt, "s"), RH16: rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(rt, "rh16")}
		digits := protocol.StaticDigits
		if rapid.Bool().Draw(rt, "animated") {
			f := protocol.NewFrame(w.kFrame, w.keys.CID, uint16(rapid.IntRange(0, 0xffff).Draw(rt, "t")))
			p.Frame, digits = &f, protocol.AnimatedDigits
		}
		text, err := p.Encode(origin)
		if err != nil || len(text) != len(origin)+len("/q#")+digits {
			rt.Fatalf("%q, %v", text, err)
		}
		read, err := protocol.ParsePayload(text, []string{origin})
		if err != nil || !reflect.DeepEqual(*read, p) {
			rt.Fatalf("%+v came back as %+v, %v", p, read, err)
		}
	})
}
