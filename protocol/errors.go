package protocol

import (
	"errors"
	"fmt"
	"sort"
	"strings"
)

// Code is the stable name of an error. Programs branch on it; people read the
// catalogue's words.
type Code string

// Side says who can do something about an error.
type Side string

// The sides.
const (
	SideBidder   Side = "bidder"
	SidePlatform Side = "platform"
	SideOperator Side = "operator"
	SideNetwork  Side = "network"
)

// Entry is what the catalogue knows of a code.
type Entry struct {
	Status    int    // HTTP status where the code is answered by a server
	Retryable bool   // the same call may succeed later without a change
	Side      Side   // who can do something about it
	Title     string // English, for developers
	TitleZH   string // Chinese, for users
	Action    string // what to do now, English
	ActionZH  string // what to do now, Chinese
}

// Error is the one error type of the protocol. Detail is for developers, never
// holds a secret and is not part of the stable contract.
type Error struct {
	Code       Code
	Detail     string
	ServerTime int64           // Unix milliseconds; set for CodeClockSkew
	Winner     *ChallengeState // set where a 409 tells which end won
	RetryAfter int             // seconds; 0 where unknown
}

// Errorf makes an *Error with a formatted detail.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Error renders "code: detail".
func (e *Error) Error() string {
	if e.Detail == "" {
		return string(e.Code)
	}
	return string(e.Code) + ": " + e.Detail
}

// Is matches errors of the same code, so that
// errors.Is(err, &Error{Code: CodeExpired}) works through wrapping.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// CodeOf returns the code of err, CodeInternal if it is not classified, "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var own *Error
	if errors.As(err, &own) {
		return own.Code
	}
	return CodeInternal
}

// Lookup returns the catalogue's entry; an unknown code reads as internal.
func Lookup(code Code) Entry {
	all := catalogue()
	if e, ok := all[code]; ok {
		return e
	}
	return all[CodeInternal]
}

// Codes lists the catalogue in alphabetical order.
func Codes() []Code {
	all := catalogue()
	out := make([]Code, 0, len(all))
	for c := range all {
		out = append(out, c)
	}
	sort.Slice(out, func(i, j int) bool { return out[i] < out[j] })
	return out
}

// Problem is the RFC 9457 document that every refusal is answered with,
// media type application/problem+json.
type Problem struct {
	Type       string          `json:"type"` // "urn:bidseal:error:" + code
	Title      string          `json:"title"`
	TitleZH    string          `json:"title_zh"`
	Status     int             `json:"status"`
	Detail     string          `json:"detail,omitzero"`
	Code       Code            `json:"code"`
	Retryable  bool            `json:"retryable"`
	Side       Side            `json:"side"`
	Action     string          `json:"action"`
	ActionZH   string          `json:"action_zh"`
	ServerTime int64           `json:"server_time,omitzero"` // Unix ms, with clock_skew
	Winner     *ChallengeState `json:"winner,omitzero"`
	RetryAfter int             `json:"retry_after,omitzero"` // seconds
	RequestID  string          `json:"request_id,omitzero"`  // of the refused call, as the operator's log has it
}

// ProblemType is the media type of a Problem.
const ProblemType = "application/problem+json"

// ProblemOf turns any error into the document that may leave the process: what
// is not classified becomes "internal" without detail.
func ProblemOf(err error) Problem {
	var own *Error
	if !errors.As(err, &own) {
		own = &Error{Code: CodeInternal}
	}
	e := Lookup(own.Code)
	p := Problem{
		Type: "urn:bidseal:error:" + string(own.Code), Title: e.Title, TitleZH: e.TitleZH, Status: e.Status,
		Detail: strings.ToValidUTF8(own.Detail, "\uFFFD"), Code: own.Code, Retryable: e.Retryable, Side: e.Side, Action: e.Action, ActionZH: e.ActionZH,
		ServerTime: own.ServerTime, Winner: own.Winner, RetryAfter: own.RetryAfter,
	}
	if own.Code == CodeInternal {
		p.Detail = ""
	}
	return p
}

// Err turns a received document back into an *Error; a code that is not in the
// catalogue reads as internal.
func (p Problem) Err() *Error {
	code := p.Code
	if _, ok := catalogue()[code]; !ok {
		code = CodeInternal
	}
	return &Error{Code: code, Detail: p.Detail, ServerTime: p.ServerTime, Winner: p.Winner, RetryAfter: p.RetryAfter}
}
