package main

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

// phoneTransport carries the phone core's calls over net/http.
type phoneTransport struct{ client *http.Client }

// newPhoneTransport makes a transport whose calls may wait for a long-poll and
// that follows no redirect: the addresses are the phone's configuration.
func newPhoneTransport() *phoneTransport {
	return &phoneTransport{&http.Client{
		Timeout:       (protocol.MaxWait + 20) * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Do implements core.Transport.
func (t *phoneTransport) Do(ctx context.Context, call core.Call) (core.Answer, error) {
	req, err := http.NewRequestWithContext(ctx, call.Method, call.URL, bytes.NewReader(call.Body))
	if err != nil {
		return core.Answer{}, fmt.Errorf("call: %w", err)
	}
	for name, value := range call.Header {
		req.Header.Set(name, value)
	}
	res, err := t.client.Do(req)
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
