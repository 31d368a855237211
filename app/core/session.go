package core

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bidseal/bidseal/protocol"
)

// Session is one claimed challenge whose request was verified. It is safe for
// concurrent use; its methods wait for each other.
type Session struct {
	core        *Core
	ks          *protocol.KeySet
	opened      *protocol.OpenedRequest
	note        *claimNote
	who         *platform
	familiarity Familiarity
	shown       []string
	candidates  []Certificate
	until       time.Time // see deadline

	ready atomic.Bool  // two phases: the platform confirmed this claim
	tries atomic.Int32 // of the digits

	mu    sync.Mutex // held through an operation, also while it waits
	seq   uint32     // of the claim
	rev   int64      // newest seen
	keys  *protocol.ClaimKeys
	ended bool
}

// Review is what a person must see before they decide.
type Review struct {
	CID          protocol.CID
	Kind         protocol.Kind
	Operation    string // Chinese name of the operation
	Platform     string // id, as in the verified certificate
	PlatformName string // verified
	Organisation string // who runs the platform, verified
	// Lines are what is shown and signed, in this order and completely: the
	// verified platform, the operation, the platform's own lines, where the
	// request was started.
	Lines       []string
	Display     []string            // the platform's own lines among them
	Initiator   *protocol.Initiator // nil where the platform could not establish it
	Candidates  []Certificate       // certificates that may sign, newest first
	NeedsDigits bool                // two digits from the platform's page are to be typed
	TriesLeft   int                 // of the digits
	Familiarity Familiarity
	// ClockOffset is by how much the phone's clock is wrong; beyond
	// ClockWarning the person is to be told.
	ClockOffset time.Duration
	Expires     time.Time // the request's end, or the relay's where that is earlier
	Left        time.Duration
}

// Review describes the request. It does not wait for an operation.
func (s *Session) Review() Review {
	r, now := s.opened.Request, s.core.now()
	return Review{
		CID: r.CID, Kind: r.Kind, Operation: protocol.KindLabel(r.Kind),
		Platform: r.Platform, PlatformName: s.who.identity.CommonName, Organisation: s.who.identity.Organisation,
		Lines: s.shown, Display: r.Display, Initiator: r.Initiator, Candidates: s.candidates,
		NeedsDigits: r.Policy.Match == protocol.MatchType && !s.ready.Load(), TriesLeft: int(s.tries.Load()),
		Familiarity: s.familiarity, ClockOffset: s.core.ClockOffset(),
		Expires: s.until, Left: max(0, s.until.Sub(now)),
	}
}

// renewKeys draws the box keys of a claim.
func (s *Session) renewKeys(seq uint32) error {
	claim, err := protocol.NewClaim(s.ks, protocol.Context{CID: s.ks.CID, RH: s.opened.RH, ClaimSeq: seq, E: s.opened.Request.E})
	if err != nil {
		return err
	}
	if s.keys != nil {
		s.keys.Wipe()
	}
	s.seq, s.keys = seq, claim
	s.ready.Store(false)
	return nil
}

// Close overwrites the session's keys. The claim stays: the same code can be
// scanned again.
func (s *Session) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.ks.Wipe()
	if s.keys != nil {
		s.keys.Wipe()
	}
}

// live refuses work on a session that has ended or whose time is over.
func (s *Session) live() error {
	if s.ended {
		return protocol.Errorf(protocol.CodeAlreadyEnded, "this session has ended")
	}
	return checkTime(s.opened.Request, s.core.now())
}

// EnterDigits sends the two digits that the platform's page shows and waits for
// the platform's answer. Errors: match_wrong, after which other digits may be
// entered while Review.TriesLeft is not 0; match_failed after the third wrong
// ones, which ends the challenge; malformed for anything but two digits.
func (s *Session) EnterDigits(ctx context.Context, digits string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(digits) != 2 || digits[0] < '0' || digits[0] > '9' || digits[1] < '0' || digits[1] > '9' {
		return protocol.Errorf(protocol.CodeMalformed, "want two decimal digits")
	}
	if s.opened.Request.Policy.Match != protocol.MatchType {
		return protocol.Errorf(protocol.CodeWrongState, "this request asks for no digits")
	}
	if err := s.live(); err != nil {
		return classify(err)
	}
	if s.ready.Load() {
		return nil
	}
	return result(s.open(ctx, protocol.OpenBox{Digits: digits}))
}

// open makes the first of two phases and waits for the platform.
func (s *Session) open(ctx context.Context, content protocol.OpenBox) error {
	box, err := s.keys.Seal(protocol.BoxOpen, content)
	if err != nil {
		return err
	}
	body, err := protocol.EncodeJSON(protocol.OpenBody{ClaimSeq: s.seq, KEM: s.keys.KEM, Box: box})
	if err != nil {
		return err
	}
	if err := s.core.useClaim(ctx, s.ks.CID, s.note); err != nil {
		return err
	}
	var st protocol.ChallengeState
	if err := s.core.relayCall(ctx, "POST", challengePath(s.ks.CID, "open"), body, &st); err != nil {
		return s.gone(err)
	}
	for {
		done, err := s.answered(&st)
		if done || err != nil {
			return err
		}
		if err := s.poll(ctx, &st); err != nil {
			return err
		}
	}
}

// poll waits for the next change of the challenge.
func (s *Session) poll(ctx context.Context, st *protocol.ChallengeState) error {
	if err := s.live(); err != nil {
		return err
	}
	before := s.rev
	path := challengePath(s.ks.CID, "") + fmt.Sprintf("?after=%d&wait=%d", s.rev, protocol.MaxWait)
	*st = protocol.ChallengeState{}
	if err := s.core.relayCall(ctx, "GET", path, nil, st); err != nil {
		return s.gone(err)
	}
	if st.Rev <= before {
		// The wait was over without a change, or the relay does not wait at all.
		return s.core.opt.Pause(ctx, time.Second)
	}
	return nil
}

// answered looks for the platform's answer to the open of this claim.
func (s *Session) answered(st *protocol.ChallengeState) (done bool, err error) {
	if st.CID != s.ks.CID {
		return true, protocol.Errorf(protocol.CodeMalformed, "the relay answered about another challenge")
	}
	s.rev = max(s.rev, st.Rev)
	if err := stateError(st); err != nil {
		s.ended = true
		return true, err
	}
	if st.Ready == nil || st.Ready.ClaimSeq != s.seq {
		if st.ClaimSeq > s.seq {
			return true, protocol.Errorf(protocol.CodeClaimSeq, "this phone has claimed again elsewhere")
		}
		return false, nil
	}
	var box protocol.ReadyBox
	if err := s.keys.Open(protocol.BoxReady, st.Ready.Box, &box); err != nil {
		return true, err
	}
	switch {
	case box.Code == protocol.ReadyOK && st.Ready.Next == protocol.StateReady:
		s.ready.Store(true)
		return true, nil
	case box.Code == protocol.ReadyMatch && st.Ready.Next == protocol.StateClaimed:
		return true, s.returned(st.ClaimSeq, box.TriesLeft)
	}
	return true, protocol.Errorf(protocol.CodeBoxInvalid, "the platform's answer contradicts the state")
}

// returned goes on after wrong digits: the relay counted one more claim, which
// has keys of its own.
func (s *Session) returned(seq uint32, triesLeft int) error {
	left := min(max(0, triesLeft), protocol.MatchTries)
	s.tries.Store(int32(left))
	if left == 0 {
		s.ended = true
		return protocol.Errorf(protocol.CodeMatchFailed, "no tries left")
	}
	if seq != s.seq+1 {
		return protocol.Errorf(protocol.CodeClaimSeq, "claim %d after claim %d", seq, s.seq)
	}
	if err := s.renewKeys(seq); err != nil {
		return err
	}
	return protocol.Errorf(protocol.CodeMatchWrong, "%d tries left", left)
}

// gone notes that the challenge has ended where an error says so.
func (s *Session) gone(err error) error {
	switch protocol.CodeOf(err) {
	case protocol.CodeNotFound, protocol.CodeExpired, protocol.CodeCanceled, protocol.CodeRejected, protocol.CodeAlreadyEnded,
		protocol.CodeClaimedByOther, protocol.CodeMatchFailed, protocol.CodePlatformTimeout:
		s.ended = true
	}
	return err
}

// stateError is why a challenge that has ended can take nothing more.
func stateError(st *protocol.ChallengeState) error {
	return protocol.Progress{State: st.State, Code: protocol.Code(st.Code)}.EndError()
}
