package bidseal

import "net/http"

// HandlerOptions are the platform's part in a browser's sign-in.
type HandlerOptions struct {
	// Login gives the options of a sign-in that a page starts; nil takes the
	// zero LoginOptions. Initiator is filled in by the handler.
	Login func(r *http.Request) (LoginOptions, error)
	// OnLogin is the platform's commit: it begins the platform's own session
	// (with a new session id) by setting headers on w; the body belongs to the
	// handler. It may be called again for the same login.CID after a crash,
	// and must then do the same. An error leaves the result to be collected
	// again. Required.
	OnLogin func(w http.ResponseWriter, r *http.Request, login *Login) error
	// Next is where the page goes afterwards; nil means "/".
	Next func(r *http.Request, login *Login) string
	// Links gives the page the text of each code beside its picture, for
	// platforms that show how to scan without a camera.
	Links bool
}

// LoginHandler serves the waiting page's endpoints and its element below the
// path where it is mounted (with http.StripPrefix): POST start, state, renew,
// finish, cancel, all JSON, and GET widget.js.
func (c *Client) LoginHandler(options HandlerOptions) http.Handler {
	return http.NotFoundHandler()
}
