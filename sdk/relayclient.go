package bidseal

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/bidseal/bidseal/internal/callsig"
	"github.com/bidseal/bidseal/protocol"
)

// relayClient speaks the platform's part of the relay's HTTP API.
type relayClient struct {
	origin string
	key    crypto.Signer
	keyID  string
	http   *http.Client
}

const (
	// maxAnswer bounds an answer of the relay, feedPage the events of one page so that it stays below.
	maxAnswer = protocol.MaxDocument
	feedPage  = 50
	// shortCall bounds a call that does not wait, longCall one that may.
	shortCall = 10 * time.Second
	longCall  = (protocol.MaxWait + 10) * time.Second
)

// request makes a signed request.
func (c *relayClient) request(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.origin+path, reader)
	if err != nil {
		return nil, fmt.Errorf("call to the relay: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if err := callsig.Sign(req, c.key, c.keyID); err != nil {
		return nil, err
	}
	return req, nil
}

// call sends a body, or none where it is nil, and decodes the answer into out.
// A refusal is the relay's own *Error, a broken connection CodeNetwork.
func (c *relayClient) call(ctx context.Context, limit time.Duration, method, path string, body []byte, out any) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := c.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return networkError(ctx, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return networkError(ctx, err)
	}
	if len(raw) > maxAnswer {
		return protocol.Errorf(protocol.CodeTooLarge, "the relay's answer exceeds %d bytes", maxAnswer)
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusCreated {
		return refusal(resp, raw)
	}
	return protocol.DecodeJSON(raw, out)
}

// networkError keeps a caller's own cancellation apart from a network that failed.
func networkError(ctx context.Context, err error) error {
	if cause := ctx.Err(); errors.Is(cause, context.Canceled) {
		return fmt.Errorf("call to the relay: %w", cause)
	}
	return protocol.Errorf(protocol.CodeNetwork, "call to the relay: %v", err)
}

func refusal(resp *http.Response, raw []byte) error {
	var p protocol.Problem
	if mediaType, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";"); mediaType != protocol.ProblemType || protocol.DecodeJSON(raw, &p) != nil {
		return protocol.Errorf(protocol.CodeUnavailable, "the relay answered %s without a problem document", resp.Status)
	}
	err := p.Err()
	if n, convErr := strconv.Atoi(resp.Header.Get("Retry-After")); convErr == nil && err.RetryAfter == 0 && n > 0 {
		err.RetryAfter = n
	}
	return err
}

func challengePath(cid protocol.CID, action string) string {
	if action == "" {
		return "/v1/challenges/" + cid.String()
	}
	return "/v1/challenges/" + cid.String() + "/" + action
}

// state calls one of the endpoints that answer a ChallengeState of the cid.
func (c *relayClient) state(ctx context.Context, method string, cid protocol.CID, action string, body []byte) (*protocol.ChallengeState, error) {
	var st protocol.ChallengeState
	if err := c.call(ctx, shortCall, method, challengePath(cid, action), body, &st); err != nil {
		return nil, err
	}
	if st.CID != cid {
		return nil, protocol.Errorf(protocol.CodeMalformed, "the relay answered about another challenge")
	}
	return &st, nil
}

// create registers a challenge; repeating it is harmless.
func (c *relayClient) create(ctx context.Context, cid protocol.CID, body []byte) (*protocol.ChallengeState, error) {
	return c.state(ctx, http.MethodPut, cid, "", body)
}

// read asks for the newest state, boxes of every size included.
func (c *relayClient) read(ctx context.Context, cid protocol.CID) (*protocol.ChallengeState, error) {
	return c.state(ctx, http.MethodGet, cid, "", nil)
}

// ready answers an open with the exact bytes of a ReadyBody.
func (c *relayClient) ready(ctx context.Context, cid protocol.CID, body []byte) (*protocol.ChallengeState, error) {
	return c.state(ctx, http.MethodPut, cid, "ready", body)
}

func (c *relayClient) fail(ctx context.Context, cid protocol.CID, code protocol.Code) (*protocol.ChallengeState, error) {
	body, err := protocol.EncodeJSON(protocol.FailBody{Code: code})
	if err != nil {
		return nil, err
	}
	return c.state(ctx, http.MethodPost, cid, "fail", body)
}

func (c *relayClient) cancel(ctx context.Context, cid protocol.CID) (*protocol.ChallengeState, error) {
	return c.state(ctx, http.MethodPost, cid, "cancel", nil)
}

func (c *relayClient) ack(ctx context.Context, cid protocol.CID, digest []byte) (*protocol.ChallengeState, error) {
	body, err := protocol.EncodeJSON(protocol.AckBody{Result: digest})
	if err != nil {
		return nil, err
	}
	return c.state(ctx, http.MethodPost, cid, "ack", body)
}

// feed reads one page, waiting up to wait seconds for an event.
func (c *relayClient) feed(ctx context.Context, store string, after int64, wait int) (*protocol.FeedPage, error) {
	path := fmt.Sprintf("/v1/feed?after=%d&limit=%d&store=%s&wait=%d", after, feedPage, store, wait)
	var page protocol.FeedPage
	return &page, c.call(ctx, longCall, http.MethodGet, path, nil, &page)
}
