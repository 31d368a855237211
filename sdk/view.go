package bidseal

import (
	"strings"
	"time"

	"github.com/bidseal/bidseal/protocol"
)

// pageView is what the waiting element gets to know. The element's types stand
// in widget/src/view.ts.
type pageView struct {
	ID          string      `json:"id"`
	State       State       `json:"state"`
	Static      bool        `json:"static"`
	Renewals    int         `json:"renewals"`
	SecondScans int         `json:"second_scans"`
	RemainMS    int64       `json:"remain_ms"` // until this state's end
	TotalMS     int64       `json:"total_ms"`
	Digits      string      `json:"digits,omitzero"`
	TriesLeft   int         `json:"tries_left,omitzero"`
	Confirm     bool        `json:"confirm,omitzero"` // ask "is this you?"
	Name        string      `json:"name,omitzero"`    // masked
	Holder      string      `json:"holder,omitzero"`  // organisation, masked
	Reason      string      `json:"reason,omitzero"`  // of a rejection
	Problem     *Problem    `json:"problem,omitzero"` // why it ended
	Watch       *pageWatch  `json:"watch,omitzero"`
	Frames      []pageFrame `json:"frames,omitzero"`
}

// pageWatch is how the page follows its challenge at the relay: status only.
type pageWatch struct {
	Relay string         `json:"relay"` // origin
	CID   protocol.CID   `json:"cid"`
	Watch protocol.Bytes `json:"watch"`
}

// pageFrame is one picture of the code.
type pageFrame struct {
	InMS int64          `json:"in_ms"` // from the answer; negative where it is shown already
	Size int            `json:"size"`  // modules
	Bits protocol.Bytes `json:"bits"`
	Link string         `json:"link,omitzero"`
}

// framesAhead is how many pictures a page gets at once: ten seconds and the
// current one.
const framesAhead = 6

// view makes the page's answer.
func (h *loginHandler) view(s *session, o *openChallenge) (*pageView, error) {
	c := h.client
	now := c.config.Clock()
	e := o.event()
	v := &pageView{ID: s.ID, State: e.State, Static: s.Options.Static, Renewals: s.Renewals, SecondScans: e.SecondScans,
		Digits: e.Digits, TriesLeft: e.TriesLeft}
	v.countdown(o, now)
	switch {
	case o.End != nil:
		v.Reason = o.End.Reason
		problem := ProblemOf(&Error{Code: o.End.Code})
		v.Problem = &problem
	case o.Verdict != nil:
		login, err := o.login(c.config.Anchors)
		if err != nil {
			return nil, err
		}
		v.Confirm = s.Options.Expect == nil
		v.Name, v.Holder = maskName(login.Person), maskOrganisation(login.Organisation)
	default:
		v.Watch = &pageWatch{Relay: c.config.Relay, CID: o.CID, Watch: o.Watch}
	}
	if e.State != StateWaiting {
		return v, nil
	}
	frames, err := o.frames(c.config.App, now, framesAhead)
	if err != nil {
		return nil, err
	}
	for _, f := range frames {
		frame := pageFrame{InMS: f.At.Sub(now).Milliseconds(), Size: f.Size, Bits: f.Bits}
		if h.options.Links {
			frame.Link = f.Payload
		}
		v.Frames = append(v.Frames, frame)
	}
	return v, nil
}

// countdown sets how long the state lasts.
func (v *pageView) countdown(o *openChallenge, now time.Time) {
	total, end := protocol.PendingLimit, time.UnixMilli(o.Created).Add(protocol.PendingLimit)
	switch {
	case v.State == StateDone:
		total, end = protocol.UnackedAfter, o.unackedAt()
	case v.State != StateWaiting:
		total, end = protocol.ClaimLimit(protocol.KindLogin), time.UnixMilli(o.Relay.Until)
	}
	v.TotalMS = total.Milliseconds()
	v.RemainMS = min(max(end.Sub(now).Milliseconds(), 0), v.TotalMS)
}

// maskName keeps the first character.
func maskName(name string) string {
	runes := []rune(name)
	if len(runes) == 0 {
		return ""
	}
	return string(runes[:1]) + strings.Repeat("*", min(max(len(runes)-1, 1), 3))
}

// maskOrganisation keeps two characters on each side, of short names one.
func maskOrganisation(name string) string {
	runes := []rune(name)
	switch n := len(runes); {
	case n == 0:
		return ""
	case n <= 5:
		return string(runes[:1]) + "**"
	default:
		return string(runes[:2]) + "****" + string(runes[n-2:])
	}
}
