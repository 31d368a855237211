package bidseal

import (
	"context"
	"errors"
	"net/http"
)

// errUnfinished is answered by what is not written yet.
var errUnfinished = errors.New("not written yet")

// Client is a platform's connection to the relay. It is safe for concurrent
// use.
type Client struct{ config Config }

// New checks the configuration and makes a client. It opens no connection.
func New(config Config) (*Client, error) { return nil, errUnfinished }

// Run follows the relay's feed, answers phones and verifies results until ctx
// ends; it then returns nil. Several processes may run on one Store.
func (c *Client) Run(ctx context.Context) error { return errUnfinished }

// Login makes a login challenge and registers it at the relay. Run must be
// running for it to come to an end.
func (c *Client) Login(ctx context.Context, options LoginOptions) (*Challenge, error) {
	return nil, errUnfinished
}

// Challenge takes up a challenge that Login made, also in another process.
func (c *Client) Challenge(ctx context.Context, id string) (*Challenge, error) {
	return nil, errUnfinished
}

// SecurePage sets the headers of a page that shows the waiting element: a
// content security policy that forbids framing and allows the relay's watch
// connection, X-Frame-Options, X-Content-Type-Options and Referrer-Policy.
func (c *Client) SecurePage(h http.Header) {}
