package cli

import (
	"io"
	"net/http"
	"time"

	"github.com/bidseal/bidseal/protocol"
)

// Timeouts of the command line's own calls.
const CallTimeout = 30 * time.Second

func NewHTTPClient() *http.Client { return &http.Client{Timeout: CallTimeout} }

// MaxAnswer bounds what is read of any answer.
const MaxAnswer = 2 << 20

// DecodeAnswer reads a JSON answer, or the problem document of a refusal.
func DecodeAnswer(resp *http.Response, v any) error {
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswer))
	if err != nil {
		return protocol.Errorf(protocol.CodeNetwork, "read the answer: %v", err)
	}
	if resp.StatusCode/100 == 2 {
		return protocol.DecodeJSON(raw, v)
	}
	var p protocol.Problem
	if protocol.DecodeJSON(raw, &p) != nil {
		return protocol.Errorf(protocol.CodeNetwork, "the server answered %s", resp.Status)
	}
	return p.Err()
}
