package protocol

import "slices"

// State is where a challenge stands.
type State string

// The states. The last four are terminal without a result; completed is
// terminal with one.
const (
	StatePending   State = "pending"
	StateClaimed   State = "claimed"   // a phone has scanned it
	StateOpened    State = "opened"    // two phases: the phone sent digits or its choice
	StateReady     State = "ready"     // two phases: the platform confirmed
	StateFulfilled State = "fulfilled" // a result is stored and waits for the platform
	StateCompleted State = "completed" // the platform acknowledged the result
	StateRejected  State = "rejected"
	StateCanceled  State = "canceled"
	StateExpired   State = "expired"
	StateFailed    State = "failed"
)

// Terminal reports whether no transition leaves s.
func (s State) Terminal() bool {
	switch s {
	case StateCompleted, StateRejected, StateCanceled, StateExpired, StateFailed:
		return true
	}
	return false
}

// Held reports whether a phone holds the challenge: claimed, opened or ready.
func (s State) Held() bool { return s == StateClaimed || s == StateOpened || s == StateReady }

// MaxSecondScans bounds the counter of foreign scans, MaxClaims the claims of
// the device that holds a challenge: each is an event for the platform.
const (
	MaxSecondScans = 99
	MaxClaims      = 100
)

// Terms are what the platform fixed at creation. Durations are milliseconds.
type Terms struct {
	Kind     Kind
	TwoPhase bool
	Pending  int64 // until the claim
	Claim    int64 // from the claim to the end
	Ready    int64 // from opened to ready
	Keep     int64 // from the result to the ack
}

// CheckTerms refuses limits beyond those of the kind (SPEC.md, section 6).
func CheckTerms(t Terms) error {
	switch {
	case !t.Kind.Known():
		return Errorf(CodeKindUnsupported, "kind %q", clip(string(t.Kind)))
	case t.Pending <= 0 || t.Pending > PendingLimit.Milliseconds(),
		t.Claim <= 0 || t.Claim > ClaimLimit(t.Kind).Milliseconds(),
		t.Ready <= 0 || t.Ready > ReadyLimitOf(t.Kind).Milliseconds(),
		t.Keep <= 0 || t.Keep > MaxKeepLimit.Milliseconds():
		return Errorf(CodeMalformed, "a deadline is outside the limits of a %s", t.Kind)
	case t.Kind == KindSeal && !t.TwoPhase:
		return Errorf(CodeMalformed, "a seal has two phases")
	}
	return nil
}

// Progress is the moving part of a challenge. It is a value: every transition
// takes one and gives the next, the store swaps them by compare-and-swap.
// Times are Unix milliseconds on the relay's clock; zero means not yet.
type Progress struct {
	State        State
	Code         Code   // why it failed, or the RejectReason
	Device       string // holds the claim
	ClaimSeq     uint32
	ClaimID      []byte // 16, the phone's idempotency key of the newest claim
	Frame        []byte // of claim 1
	SecondScans  int
	OpenDigest   []byte // of the newest open, for idempotency
	ReadyDigest  []byte // of the newest ready
	ResultDigest []byte
	ClaimedAt    int64 // of claim 1
	PendingUntil int64
	ClaimUntil   int64
	ReadyUntil   int64
	KeepUntil    int64
	EndedAt      int64
}

// Begin is the first state.
func Begin(t Terms, now int64) Progress {
	return Progress{State: StatePending, PendingUntil: now + t.Pending}
}

// EndError is why nothing more can be done with an ended challenge.
func (p Progress) EndError() error {
	switch p.State {
	case StateExpired:
		return Errorf(CodeExpired, "the challenge has expired")
	case StateCanceled:
		return Errorf(CodeCanceled, "the platform canceled")
	case StateRejected:
		return Errorf(CodeRejected, "the user rejected")
	case StateFailed:
		if _, known := catalogue()[p.Code]; !known { // out of a store or a relay that means something else
			return Errorf(CodeInternal, "the challenge has failed for an unknown reason")
		}
		return Errorf(p.Code, "the challenge has failed")
	case StateFulfilled, StateCompleted:
		return Errorf(CodeAlreadyEnded, "a result is stored")
	}
	return nil
}

// late reports whether the current state's deadline has passed; a late
// transition is refused even before the sweeper ran.
func (p Progress) late(now int64) bool {
	due := p.Due()
	return due != 0 && now > due
}

// Due is when the sweeper has to act, 0 for never.
func (p Progress) Due() int64 {
	switch p.State {
	case StatePending:
		return p.PendingUntil
	case StateClaimed, StateReady:
		return p.ClaimUntil
	case StateOpened:
		return min(p.ReadyUntil, p.ClaimUntil)
	case StateFulfilled:
		return p.KeepUntil
	}
	return 0
}

// Expire is the sweeper's transition; changed is false where it is not due.
func (p Progress) Expire(now int64) (next Progress, changed bool) {
	if !p.late(now) {
		return p, false
	}
	next = p
	next.EndedAt = now
	switch p.State {
	case StateOpened:
		next.State = StateExpired
		if p.platformLate(now) {
			next.State, next.Code = StateFailed, CodePlatformTimeout
		}
	case StateFulfilled:
		next.State, next.Code = StateFailed, CodeUnacked
	default:
		next.State = StateExpired
	}
	return next, true
}

// platformLate tells, of an opened challenge that is late, that it waited for
// the platform for as long as the platform has, and not only until the end of
// the phone's own time.
func (p Progress) platformLate(now int64) bool {
	return now > p.ReadyUntil && p.ReadyUntil <= p.ClaimUntil
}

// lateError is why a transition is refused after the state's deadline: what
// the sweeper will write.
func (p Progress) lateError(now int64) error {
	end, _ := p.Expire(now)
	return end.EndError()
}

// same reports that given repeats what is stored. Nothing stored is repeated
// by nothing, so that an empty value never passes for a repetition.
func same(stored, given []byte) bool { return len(stored) != 0 && Equal(stored, given) }

// Claim gives the challenge to a device. The first device wins; another one
// gets CodeClaimedByOther, and next then carries the raised SecondScans
// counter, to be stored all the same. The same claim id is answered again
// without a change; a new one of the same device starts the next claim.
func (p Progress) Claim(t Terms, now int64, device string, claimID, frame []byte) (next Progress, err error) {
	next = p
	switch {
	case device == "" || len(claimID) == 0:
		return p, Errorf(CodeMalformed, "a claim needs a device and a claim id")
	case !p.State.Held() && p.State != StatePending:
		return p, p.EndError()
	case p.late(now):
		return p, p.lateError(now)
	case p.State == StatePending:
		next.State, next.Device, next.ClaimSeq = StateClaimed, device, 1
		next.ClaimID, next.Frame = claimID, frame
		next.ClaimedAt, next.ClaimUntil = now, now+t.Claim
		return next, nil
	case p.Device != device:
		next.SecondScans = min(p.SecondScans+1, MaxSecondScans)
		return next, Errorf(CodeClaimedByOther, "another device holds the claim")
	case same(p.ClaimID, claimID):
		return p, nil
	case p.ClaimSeq >= MaxClaims:
		return p, Errorf(CodeRateLimited, "claimed %d times", p.ClaimSeq)
	}
	return p.again(claimID), nil
}

// again starts the next claim of the device that holds the challenge. Claim 1's
// time and frame stay: they were judged, and later claims inherit the verdict.
func (p Progress) again(claimID []byte) Progress {
	p.State = StateClaimed
	p.ClaimSeq++
	p.ClaimID = claimID
	p.OpenDigest, p.ReadyDigest, p.ReadyUntil = nil, nil, 0
	return p
}

// held checks that device holds claim seq and is in time.
func (p Progress) held(now int64, device string, seq uint32) error {
	switch {
	case p.State == StatePending:
		return Errorf(CodeWrongState, "not claimed yet")
	case p.Device != device:
		return Errorf(CodeClaimedByOther, "another device holds the claim")
	case !p.State.Held():
		return p.EndError()
	case p.late(now):
		return p.lateError(now)
	case p.ClaimSeq != seq:
		return Errorf(CodeClaimSeq, "claim %d, the newest is %d", seq, p.ClaimSeq)
	}
	return nil
}

// Open is the phone's first phase. The same digest again changes nothing.
func (p Progress) Open(t Terms, now int64, device string, seq uint32, digest []byte) (Progress, error) {
	if err := p.held(now, device, seq); err != nil {
		return p, err
	}
	switch {
	case !t.TwoPhase:
		return p, Errorf(CodeWrongState, "this challenge has one phase")
	case len(digest) == 0:
		return p, Errorf(CodeMalformed, "an open needs a digest")
	case same(p.OpenDigest, digest):
		return p, nil
	case p.State != StateClaimed:
		return p, Errorf(CodeWrongState, "open in state %s", p.State)
	}
	p.State, p.OpenDigest, p.ReadyUntil = StateOpened, digest, now+t.Ready
	return p, nil
}

// Ready is the platform's answer to the open of claim seq: on to StateReady, or
// back to StateClaimed, which starts the next claim of the same device under
// the claim id that it has. The same digest for the same claim changes nothing.
func (p Progress) Ready(now int64, seq uint32, to State, digest []byte) (Progress, error) {
	switch {
	case to != StateReady && to != StateClaimed:
		return p, Errorf(CodeMalformed, "next state %q", clip(string(to)))
	case len(digest) == 0 || seq == 0:
		return p, Errorf(CodeMalformed, "a ready needs a digest and a claim")
	case same(p.ReadyDigest, digest) && (p.ClaimSeq == seq || p.ClaimSeq == seq+1):
		return p, nil
	case !p.State.Held() && p.State != StatePending:
		return p, p.EndError()
	case p.State == StatePending:
		return p, Errorf(CodeWrongState, "not claimed yet")
	case p.late(now):
		return p, p.lateError(now)
	case p.ClaimSeq != seq:
		return p, Errorf(CodeClaimSeq, "claim %d, the newest is %d", seq, p.ClaimSeq)
	case p.State != StateOpened:
		return p, Errorf(CodeWrongState, "ready in state %s", p.State)
	}
	if to == StateClaimed {
		p = p.again(p.ClaimID)
	}
	p.State, p.ReadyDigest = to, digest
	return p, nil
}

// Fulfil stores a result. The same digest again changes nothing.
func (p Progress) Fulfil(t Terms, now int64, device string, seq uint32, digest []byte) (Progress, error) {
	if p.Device == device && same(p.ResultDigest, digest) {
		return p, nil
	}
	if len(digest) == 0 {
		return p, Errorf(CodeMalformed, "a result needs a digest")
	}
	if err := p.held(now, device, seq); err != nil {
		return p, err
	}
	if t.TwoPhase && p.State != StateReady {
		return p, Errorf(CodeNotReady, "the platform has not confirmed this claim")
	}
	if !t.TwoPhase && p.State != StateClaimed {
		return p, Errorf(CodeWrongState, "result in state %s", p.State)
	}
	p.State, p.ResultDigest, p.EndedAt, p.KeepUntil = StateFulfilled, digest, now, now+t.Keep
	return p, nil
}

// Reject ends the challenge by the user's decision.
func (p Progress) Reject(now int64, device string, seq uint32, reason RejectReason) (Progress, error) {
	if p.State == StateRejected && p.Device == device && p.ClaimSeq == seq {
		return p, nil
	}
	if !reason.Known() {
		return p, Errorf(CodeMalformed, "reason %q", clip(string(reason)))
	}
	if err := p.held(now, device, seq); err != nil {
		return p, err
	}
	p.State, p.Code, p.EndedAt = StateRejected, Code(reason), now
	return p, nil
}

// phoneFailures and platformFailures are the codes that each side may end a challenge with.
func phoneFailures() []Code {
	return []Code{CodeCertRevoked, CodeSealVoid, CodeContextMismatch, CodeNotBefore, CodeUnwrapFailed, CodePasswordLocked,
		CodeRequestSignature, CodeRequestSwapped, CodePlatformUntrusted, CodePlatformRevoked, CodeStatusStale, CodeRequestInvalid,
		CodeKindUnsupported, CodeCritUnknown, CodeNoCertificate, CodeCertExpired, CodeBoxInvalid, CodeRevocationUnknown}
}

func platformFailures() []Code {
	return []Code{CodeFrameStale, CodeFrameInvalid, CodeMatchFailed, CodePlatformTimeout, CodeRevocationUnknown, CodeUnacked,
		CodeCertRevoked, CodeCertExpired, CodeCertUntrusted, CodeCertUsage, CodeSealVoid, CodeContextMismatch, CodeUnwrapFailed,
		CodeStatementInvalid, CodeStatementSignature, CodeStatementAudience, CodeStatementReplayed, CodeStatementTime,
		CodeShownMismatch, CodeOwnerMismatch, CodeBoxInvalid}
}

// FailByPhone ends the challenge with a failure that the phone found.
func (p Progress) FailByPhone(now int64, device string, seq uint32, code Code) (Progress, error) {
	if p.State == StateFailed && p.Device == device && p.ClaimSeq == seq && p.Code == code {
		return p, nil
	}
	if !slices.Contains(phoneFailures(), code) {
		return p, Errorf(CodeMalformed, "a phone cannot fail with %q", clip(string(code)))
	}
	if err := p.held(now, device, seq); err != nil {
		return p, err
	}
	p.State, p.Code, p.EndedAt = StateFailed, code, now
	return p, nil
}

// FailByPlatform ends the challenge with a failure that the platform found,
// also after the result: its verdict then replaces the acknowledgement.
func (p Progress) FailByPlatform(now int64, code Code) (Progress, error) {
	if p.State == StateFailed && p.Code == code {
		return p, nil
	}
	if !slices.Contains(platformFailures(), code) {
		return p, Errorf(CodeMalformed, "a platform cannot fail with %q", clip(string(code)))
	}
	switch {
	case p.State.Terminal():
		return p, p.EndError()
	case p.State == StatePending:
		return p, Errorf(CodeWrongState, "not claimed yet: cancel it")
	case p.late(now):
		return p, p.lateError(now)
	}
	p.State, p.Code, p.EndedAt = StateFailed, code, now
	return p, nil
}

// Cancel ends the challenge by the platform's decision.
func (p Progress) Cancel(now int64) (Progress, error) {
	switch {
	case p.State == StateCanceled:
		return p, nil
	case p.State != StatePending && !p.State.Held():
		return p, p.EndError()
	case p.late(now):
		return p, p.lateError(now)
	}
	p.State, p.EndedAt = StateCanceled, now
	return p, nil
}

// Ack frees the result: the platform has committed it. It is the one transition
// that a passed deadline does not stop, as long as nothing else was written:
// refusing it would record as unacked what the platform has committed.
func (p Progress) Ack(digest []byte) (Progress, error) {
	switch {
	case p.State != StateFulfilled && p.State != StateCompleted:
		if err := p.EndError(); err != nil {
			return p, err
		}
		return p, Errorf(CodeWrongState, "ack in state %s", p.State)
	case !same(p.ResultDigest, digest):
		return p, Errorf(CodeConflict, "ack names another result")
	}
	p.State = StateCompleted
	return p, nil
}
