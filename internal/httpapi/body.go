package httpapi

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/bidseal/bidseal/protocol"
)

// maxReserved bounds the memory that a body gets for its announced length before
// any of it has come, in bytes.
const maxReserved = 64 << 10

// Body reads the body of a call, nil where there is none: at most limit bytes,
// within the given time; 0 leaves the time to the server's own. Errors:
// CodeTooLarge, and CodeMalformed for a body that is encoded or ends early.
func Body(w http.ResponseWriter, r *http.Request, limit int64, within time.Duration) ([]byte, error) {
	switch {
	case r.Header.Get("Content-Encoding") != "":
		return nil, protocol.Errorf(protocol.CodeMalformed, "bodies are not encoded")
	case r.ContentLength == 0:
		return nil, nil
	case r.ContentLength > limit:
		return nil, protocol.Errorf(protocol.CodeTooLarge, "body of %d bytes, at most %d", r.ContentLength, limit)
	}
	if within > 0 {
		if err := readUntil(w, time.Now().Add(within)); err != nil {
			return nil, err
		}
	}
	// bytes.MinRead beyond what was announced, so that the end is found without growing
	body := bytes.NewBuffer(make([]byte, 0, min(max(r.ContentLength, 0), maxReserved)+bytes.MinRead))
	if _, err := body.ReadFrom(io.LimitReader(r.Body, limit+1)); err != nil {
		return nil, protocol.Errorf(protocol.CodeMalformed, "body broke off")
	}
	raw := body.Bytes()
	if int64(len(raw)) > limit {
		return nil, protocol.Errorf(protocol.CodeTooLarge, "body of more than %d bytes", limit)
	}
	if within > 0 {
		if err := readUntil(w, time.Time{}); err != nil {
			return nil, err
		}
	}
	return raw, nil
}

// readUntil sets the deadline of the connection's reads, where there is one.
func readUntil(w http.ResponseWriter, t time.Time) error {
	if err := http.NewResponseController(w).SetReadDeadline(t); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
