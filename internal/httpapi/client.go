package httpapi

import (
	"io"
	"net/http"

	"github.com/bidseal/bidseal/protocol"
)

// MaxResponse bounds what DecodeResponse reads, in bytes.
const MaxResponse = 2 << 20

// DecodeResponse is the caller's side of JSON and Refuse: it decodes the JSON of a response into v, or returns the
// *protocol.Error that the problem document of a refusal stands for. The caller closes the body.
func DecodeResponse(resp *http.Response, v any) error {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, MaxResponse))
	if err != nil {
		return protocol.Errorf(protocol.CodeNetwork, "read the response: %v", err)
	}
	if resp.StatusCode/100 == 2 {
		return protocol.DecodeJSON(raw, v)
	}
	var p protocol.Problem
	if protocol.DecodeJSON(raw, &p) != nil {
		return protocol.Errorf(protocol.CodeNetwork, "the server responded with %s", resp.Status)
	}
	return p.Err()
}
