package core

import (
	"context"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/bidseal/bidseal/protocol"
)

// Call is one HTTP request that a Transport carries.
type Call struct {
	Method string
	URL    string
	Header map[string]string
	Body   []byte
}

// Answer is what came back, whatever the status.
type Answer struct {
	Status int
	Header map[string]string
	Body   []byte
}

// MaxAnswer is the largest body in bytes that a Transport should read; the core
// refuses more.
const MaxAnswer = protocol.MaxDocument

// Transport carries one call. It follows no redirect, reads at most MaxAnswer+1
// bytes of body, and returns an error only if there was no response. A call may wait
// at the server for protocol.MaxWait seconds.
type Transport interface {
	Do(ctx context.Context, call Call) (Answer, error)
}

const contentJSON = "application/json"

// attempts is how often a call without a response is made; every call of a phone
// may be repeated.
const attempts = 3

// maxPause bounds how long a server may ask to wait between two attempts.
const maxPause = 5 * time.Second

// do carries a call and repeats it while that can help. head writes the header,
// anew for each attempt, because a proof is valid for a minute only.
func (c *Core) do(ctx context.Context, call Call, head func(*Call) error) ([]byte, *protocol.Error) {
	for attempt := 1; ; attempt++ {
		body, err := c.once(ctx, call, head)
		if err == nil || attempt == attempts || !worthRepeating(err) {
			return body, err
		}
		c.opt.Log.Info("call is repeated", "method", call.Method, "code", string(err.Code), "attempt", attempt)
		if c.opt.Pause(ctx, pause(attempt, err)) != nil {
			return nil, err
		}
	}
}

func worthRepeating(err *protocol.Error) bool {
	switch err.Code {
	case protocol.CodeNetwork, protocol.CodeOverloaded, protocol.CodeUnavailable:
		return true
	}
	return false
}

func pause(attempt int, err *protocol.Error) time.Duration {
	d := time.Duration(attempt) * 500 * time.Millisecond
	if err.RetryAfter > 0 {
		d = time.Duration(err.RetryAfter) * time.Second
	}
	return min(d, maxPause)
}

// once carries a call one time and turns a refusal into its error.
func (c *Core) once(ctx context.Context, call Call, head func(*Call) error) ([]byte, *protocol.Error) {
	call.Header = map[string]string{}
	if head != nil {
		if err := head(&call); err != nil {
			return nil, classify(err)
		}
	}
	if len(call.Body) > 0 && call.Header["Content-Type"] == "" {
		call.Header["Content-Type"] = contentJSON
	}
	answer, err := c.opt.Transport.Do(ctx, call)
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeNetwork, "%v", err)
	}
	if len(answer.Body) > MaxAnswer {
		return nil, protocol.Errorf(protocol.CodeTooLarge, "the answer is larger than %d bytes", MaxAnswer)
	}
	if answer.Status >= 200 && answer.Status < 300 {
		return answer.Body, nil
	}
	return nil, refusal(answer)
}

// maxDetail bounds what is kept of a server's words, in characters.
const maxDetail = 300

// printable strips what a hostile server could do to a terminal or a log.
func printable(detail string) string {
	clean := []rune(strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return -1
	}, detail))
	return string(clean[:min(len(clean), maxDetail)])
}

// refusal reads the problem document of a refused call.
func refusal(a Answer) *protocol.Error {
	var p protocol.Problem
	if protocol.DecodeJSONOpen(a.Body, &p, nil) == nil && p.Code != "" {
		err := p.Err()
		err.Detail = printable(err.Detail)
		return err
	}
	code := protocol.CodeInternal
	switch {
	case a.Status == 404:
		code = protocol.CodeNotFound
	case a.Status == 413:
		code = protocol.CodeTooLarge
	case a.Status == 429:
		code = protocol.CodeRateLimited
	case a.Status == 502 || a.Status == 503 || a.Status == 504:
		code = protocol.CodeUnavailable
	}
	err := protocol.Errorf(code, "the server answered %d without a reason", a.Status)
	if n, convErr := strconv.Atoi(a.Header["Retry-After"]); convErr == nil && n > 0 {
		err.RetryAfter = n
	}
	return err
}
