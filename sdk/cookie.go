package bidseal

import (
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/bidseal/bidseal/protocol"
)

const (
	// cookieName begins the name of a cookie that holds b. The prefix makes
	// browsers take it only from https, for this host and every path; on
	// loopback http, which only a demo uses, it cannot be had. The rest of the
	// name follows from b: of two tabs that start at the same moment neither
	// overwrites what the other was given.
	cookieName      = "__Host-bidseal-"
	cookieNamePlain = "bidseal-"
	cookieTail      = 4  // bytes of H(b) in the name
	cookieSize      = 32 // bytes of b
	cookieLife      = time.Hour
	maxCookies      = 8 // of one browser that are looked at
)

func (p *pageRequest) secure() bool { return strings.HasPrefix(p.origin, "https://") }

func (p *pageRequest) cookiePrefix() string {
	if p.secure() {
		return cookieName
	}
	return cookieNamePlain
}

// readCookies returns what the browser holds of the form of b.
func (p *pageRequest) readCookies() [][]byte {
	var held [][]byte
	for _, cookie := range p.Cookies() {
		var b protocol.Bytes
		if strings.HasPrefix(cookie.Name, p.cookiePrefix()) && b.UnmarshalText([]byte(cookie.Value)) == nil && len(b) == cookieSize && len(held) < maxCookies {
			held = append(held, b)
		}
	}
	return held
}

func (p *pageRequest) cookie(b []byte) *http.Cookie {
	return &http.Cookie{Name: p.cookiePrefix() + hex.EncodeToString(protocol.H(b)[:cookieTail]), Value: protocol.Bytes(b).String(), Path: "/",
		MaxAge: int(cookieLife / time.Second), HttpOnly: true, Secure: p.secure(), SameSite: http.SameSiteLaxMode}
}

// setCookie gives b to the browser, or begins its life anew.
func (p *pageRequest) setCookie(b []byte) { http.SetCookie(p.w, p.cookie(b)) }

// dropCookie takes b away from the browser.
func (p *pageRequest) dropCookie(b []byte) {
	cookie := p.cookie(b)
	cookie.Value, cookie.MaxAge = "", -1
	http.SetCookie(p.w, cookie)
}

// binding is the b of a session's browser, nil where the caller does not hold it.
func (p *pageRequest) binding(digest []byte) []byte {
	for _, b := range p.held {
		if protocol.Equal(protocol.H(b), digest) {
			return b
		}
	}
	return nil
}

// browser is what the Store remembers that a browser holds some b, so that a
// second tab goes on with the same one. Stored under "b/" + H(b).
type browser struct {
	form
	Created int64 `json:"created"` // Unix ms
}

func browserKey(b []byte) string { return "b/" + hex.EncodeToString(protocol.H(b)) }

// bind returns H(b) of a cookie that the browser holds and sets one where it has
// none that we gave out: a value that somebody planted is never taken.
func (h *loginHandler) bind(p *pageRequest) ([]byte, error) {
	for _, b := range p.held {
		_, err := get[browser](p.Context(), h.client.vault, browserKey(b))
		if err == nil {
			p.setCookie(b)
			return protocol.H(b), nil
		}
		if !errors.Is(err, ErrNotFound) {
			return nil, err
		}
	}
	b, err := protocol.Random(cookieSize)
	if err != nil {
		return nil, err
	}
	now := h.client.config.Clock()
	if _, err := put(p.Context(), h.client.vault, browserKey(b), browser{Created: now.UnixMilli()}, time.Time{}, now.Add(cookieLife+shortRetention)); err != nil {
		return nil, err
	}
	p.setCookie(b)
	return protocol.H(b), nil
}
