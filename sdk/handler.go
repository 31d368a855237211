package bidseal

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bidseal/bidseal/internal/httpapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/sdk/widget"
)

// HandlerOptions are the platform's part in a browser's sign-in.
type HandlerOptions struct {
	// Login gives the options of a sign-in that a page starts; nil takes the
	// zero LoginOptions. Initiator is filled in by the handler where it is nil.
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

const (
	maxPageBody = 4 << 10
	pageCall    = 15 * time.Second
)

// LoginHandler serves the waiting page's endpoints and its element below the
// path where it is mounted (with http.StripPrefix): POST start, state, renew,
// finish, cancel, all JSON, and GET widget.js. Refusals are RFC 9457 documents
// with words in Chinese and English.
func (c *Client) LoginHandler(options HandlerOptions) http.Handler {
	if len(c.config.Origins) == 0 {
		c.config.Logger.Warn("no origin is configured: every call of a waiting page will be refused")
	}
	h := &loginHandler{client: c, options: options, api: httpapi.New(c.config.Logger)}
	h.api.Show = shown
	mux := http.NewServeMux()
	mux.Handle("GET /widget.js", widget.Handler())
	mux.HandleFunc("POST /start", h.endpoint(h.start))
	mux.HandleFunc("POST /state", h.endpoint(h.owned(h.state)))
	mux.HandleFunc("POST /renew", h.endpoint(h.owned(h.renew)))
	mux.HandleFunc("POST /finish", h.endpoint(h.owned(h.finish)))
	mux.HandleFunc("POST /cancel", h.endpoint(h.owned(h.cancel)))
	return h.api.Handler(mux)
}

type loginHandler struct {
	client  *Client
	options HandlerOptions
	api     *httpapi.API
}

// pageCallBody is what the element sends.
type pageCallBody struct {
	ID  string `json:"id,omitzero"`
	Rev int64  `json:"rev,omitzero"` // the newest that the relay told the page
}

// pageRequest is a call that passed the checks on where it came from.
type pageRequest struct {
	*http.Request
	w      http.ResponseWriter
	origin string
	body   pageCallBody
	held   [][]byte // values of the browser's cookies that may be b
}

// endpoint refuses what does not come from the platform's own page, and writes
// the answer.
func (h *loginHandler) endpoint(do func(*pageRequest) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), pageCall)
		defer cancel()
		p, err := h.check(w, r.WithContext(ctx))
		var answer any
		if err == nil {
			answer, err = do(p)
		}
		if err != nil {
			h.api.Refuse(w, r, err)
			return
		}
		h.api.JSON(w, r, answer)
	}
}

// shown is what the page of a bidder is told: details are for developers.
func shown(p protocol.Problem) protocol.Problem {
	if p.Side != protocol.SidePlatform {
		p.Detail = ""
	}
	return p
}

// check holds the rules of where a call may come from: a script of the
// platform's own page. Browsers set Origin on every POST and Sec-Fetch-*
// where they know it; neither can be set by a page.
func (h *loginHandler) check(w http.ResponseWriter, r *http.Request) (*pageRequest, error) {
	p := &pageRequest{Request: r, w: w, origin: r.Header.Get("Origin")}
	site, dest := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Sec-Fetch-Dest")
	switch {
	case !slices.Contains(h.client.config.Origins, p.origin):
		return nil, protocol.Errorf(protocol.CodeOriginRefused, "origin %.100q is not the platform's", p.origin)
	case site != "" && site != "same-origin", dest != "" && dest != "empty":
		return nil, protocol.Errorf(protocol.CodeOriginRefused, "not called by the page's own script")
	}
	if media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); media != "application/json" {
		return nil, protocol.Errorf(protocol.CodeMalformed, "want application/json")
	}
	raw, err := httpapi.Body(w, r, maxPageBody, 0) // the platform's server bounds the time
	if err != nil {
		return nil, err
	}
	if err := protocol.DecodeJSON(raw, &p.body); err != nil {
		return nil, err
	}
	p.held = p.readCookies()
	return p, nil
}

func (h *loginHandler) start(p *pageRequest) (any, error) {
	var options LoginOptions
	if h.options.Login != nil {
		var err error
		if options, err = h.options.Login(p.Request); err != nil {
			return nil, err
		}
	}
	if options.Initiator == nil {
		options.Initiator = h.initiator(p)
	}
	bound, err := h.bind(p)
	if err != nil {
		return nil, err
	}
	s, o, err := h.client.start(p.Context(), options.terms(), bound)
	if err != nil {
		return nil, err
	}
	return h.view(&s.v, &o.v)
}

// owned hands a session on to the browser that it was made for.
func (h *loginHandler) owned(do func(*pageRequest, *stored[session]) (any, error)) func(*pageRequest) (any, error) {
	return func(p *pageRequest) (any, error) {
		if !hexID(p.body.ID) {
			return nil, protocol.Errorf(protocol.CodeNotFound, "no such session")
		}
		s, err := get[session](p.Context(), h.client.vault, sessionKey(p.body.ID))
		if errors.Is(err, ErrNotFound) {
			return nil, protocol.Errorf(protocol.CodeNotFound, "no such session")
		}
		if err != nil {
			return nil, err
		}
		if p.binding(s.v.Browser) == nil {
			return nil, protocol.Errorf(protocol.CodeCookieMismatch, "the session belongs to another browser")
		}
		return do(p, s)
	}
}

// state tells the page where its challenge stands. While a phone holds it the
// relay is asked first, so that digits are shown for a claim that stands.
func (h *loginHandler) state(p *pageRequest, s *stored[session]) (any, error) {
	ctx, c := p.Context(), h.client
	o, err := get[openChallenge](ctx, c.vault, challengeKey(s.v.CID))
	if err != nil {
		return nil, err
	}
	held := o.v.Relay.State.Held() || o.v.Relay.State == protocol.StateFulfilled && o.v.Verdict == nil
	if o.v.End == nil && !o.v.Consumed && (held || p.body.Rev > o.v.Relay.Rev) {
		if err := h.reread(ctx, o); err != nil {
			return nil, err
		}
	}
	s, o, err = c.load(ctx, s.v.ID)
	if err != nil {
		return nil, err
	}
	return h.view(&s.v, &o.v)
}

func (h *loginHandler) reread(ctx context.Context, o *stored[openChallenge]) error {
	seen, err := h.client.ask(ctx, o.v.CID)
	if isGone(err) {
		return h.client.lost(ctx, o)
	}
	if err != nil {
		return err
	}
	return h.client.apply(ctx, seen)
}

// renew is the button of the page: a new code in the place of one that ended,
// however it ended.
func (h *loginHandler) renew(p *pageRequest, s *stored[session]) (any, error) {
	ctx, c := p.Context(), h.client
	o, err := get[openChallenge](ctx, c.vault, challengeKey(s.v.CID))
	if err != nil {
		return nil, err
	}
	if o.v.Consumed {
		return nil, protocol.Errorf(protocol.CodeResultConsumed, "this browser is signed in")
	}
	if o.v.End != nil {
		if _, err := c.renew(ctx, s, false); err != nil {
			return nil, err
		}
	}
	s, o, err = c.load(ctx, s.v.ID)
	if err != nil {
		return nil, err
	}
	return h.view(&s.v, &o.v)
}

// finished tells the page where to go.
type finished struct {
	Next string `json:"next"`
}

// finish consumes the result for the browser that started it.
func (h *loginHandler) finish(p *pageRequest, s *stored[session]) (any, error) {
	login, err := h.client.collect(p.Context(), s.v.CID, func(login *Login) error {
		return h.options.OnLogin(p.w, p.Request, login)
	})
	if err != nil {
		return nil, err
	}
	p.dropCookie(p.binding(s.v.Browser))
	next := "/"
	if h.options.Next != nil {
		next = h.options.Next(p.Request, login)
	}
	return finished{Next: localPath(next)}, nil
}

func (h *loginHandler) cancel(p *pageRequest, s *stored[session]) (any, error) {
	o, err := h.client.cancel(p.Context(), s.v.CID)
	if err != nil {
		return nil, err
	}
	return h.view(&s.v, &o.v)
}

// initiator is where the page's user is, as far as a trusted proxy says so.
func (h *loginHandler) initiator(p *pageRequest) *Initiator {
	from, ok := h.clientAddress(p.Request)
	if !ok {
		return nil
	}
	return &Initiator{IP: from, UserAgent: printable(p.UserAgent()), Origin: p.origin}
}

// clientAddress is the right-most address of X-Forwarded-For that no trusted
// proxy has, and the peer's own where there is none.
func (h *loginHandler) clientAddress(r *http.Request) (string, bool) {
	trusted := func(addr netip.Addr) bool {
		return slices.ContainsFunc(h.client.config.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(addr.Unmap()) })
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !trusted(peer.Addr()) {
		return "", false
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		addr, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		if !trusted(addr) {
			return addr.Unmap().String(), true
		}
	}
	return peer.Addr().Unmap().String(), true
}

// maxUserAgent bounds what is shown of a browser's name, in bytes.
const maxUserAgent = 200

// printable cuts a header down to what a request may show.
func printable(text string) string {
	var out strings.Builder
	for _, r := range text {
		if out.Len() >= maxUserAgent {
			break
		}
		if protocol.CheckDisplay(string(r)) == nil {
			out.WriteRune(r)
		}
	}
	return out.String()
}

// localPath keeps Next on the platform's own origin.
func localPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.HasPrefix(next, "/\\") {
		return "/"
	}
	return next
}
