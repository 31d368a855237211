package phonecmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/bidseal/bidseal/app/core"
	"github.com/bidseal/bidseal/protocol"
)

// Transport carries the phone core's calls over net/http.
type Transport struct{ Client *http.Client }

// NewTransport makes a transport whose calls may wait for a long-poll and
// that follows no redirect: the addresses are the phone's configuration.
func NewTransport() *Transport {
	return &Transport{&http.Client{
		Timeout:       (protocol.MaxWait + 20) * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Do implements core.Transport.
func (t *Transport) Do(ctx context.Context, call core.Call) (core.Answer, error) {
	req, err := http.NewRequestWithContext(ctx, call.Method, call.URL, bytes.NewReader(call.Body))
	if err != nil {
		return core.Answer{}, fmt.Errorf("call: %w", err)
	}
	for name, value := range call.Header {
		req.Header.Set(name, value)
	}
	res, err := t.Client.Do(req)
	if err != nil {
		return core.Answer{}, fmt.Errorf("call: %w", unwrapURL(err))
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, core.MaxAnswer+1))
	if err != nil {
		return core.Answer{}, fmt.Errorf("read answer: %w", err)
	}
	header := make(map[string]string, len(res.Header))
	for name := range res.Header {
		header[name] = res.Header.Get(name)
	}
	return core.Answer{Status: res.StatusCode, Header: header, Body: body}, nil
}

// unwrapURL strips net/http's repetition of method and address.
func unwrapURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}
