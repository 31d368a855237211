package demoplatform

import (
	"encoding/base64"
	"net/http"
	"net/url"
)

// accountWelcome is where a sign-in leads that was not on the way to another page.
const accountWelcome = "/account?notice=welcome"

// returnSeconds is how long the way back is kept.
const returnSeconds = 30 * 60

// A return path goes into its cookie as base64url: cookie values cannot hold every character of a path.
func encodeReturn(path string) string { return base64.RawURLEncoding.EncodeToString([]byte(path)) }

func decodeReturn(value string) string {
	path, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		return ""
	}
	return string(path)
}

// signInPage is what the sign-in page shows.
type signInPage struct {
	Open     bool // whether there is a client to sign people in
	Base     string
	Variant  string
	Variants []signInVariant // offered for choice; empty outside the demo
	Hints    []PhoneHint
	Return   string // the way back, for links that keep it; empty for none
	Why      string // key of why the visitor was sent here; empty for none
}

func (s *Site) showSignIn(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	back := returnPath(query.Get("return"), "")
	if _, ok := s.sessions.find(s.sessionID(r)); ok {
		http.Redirect(w, r, returnPath(back, "/account"), http.StatusSeeOther)
		return
	}
	shown := signInPage{Open: s.client != nil, Variant: s.offered()[0].Name, Base: s.offered()[0].base(), Return: back}
	switch query.Get("why") {
	case "needed":
		shown.Why = "signin.why.needed"
	case "expired":
		shown.Why = "signin.why.expired"
	}
	if s.demo != nil {
		shown.Variants, shown.Hints = s.offered(), s.demo.PhoneHints
	}
	for _, variant := range s.offered() {
		if variant.Name == query.Get("code") {
			shown.Variant, shown.Base = variant.Name, variant.base()
		}
	}
	if back != "" {
		http.SetCookie(w, s.cookie(returnCookie, encodeReturn(back), returnSeconds))
	} else {
		http.SetCookie(w, s.cookie(returnCookie, "", -1))
	}
	if s.client != nil {
		s.client.SecurePage(w.Header())
	}
	s.render(w, r, http.StatusOK, "signin", "signin.title", shown)
}

// forAccount lets a request through for a signed-in visitor and sends others to the sign-in, with the way back.
func (s *Site) forAccount(next func(http.ResponseWriter, *http.Request, session)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := s.sessionID(r)
		if current, ok := s.sessions.find(id); ok {
			next(w, r, current)
			return
		}
		query := url.Values{"return": {samePath(r.URL.Path, r.URL.Query())}, "why": {"needed"}}
		if id != "" {
			query.Set("why", "expired")
			http.SetCookie(w, s.cookie(s.sessionCookie(), "", -1))
		}
		http.Redirect(w, r, "/signin?"+query.Encode(), http.StatusSeeOther)
	}
}

// signOut ends the session. Only the site's own form can post it (see Handler).
func (s *Site) signOut(w http.ResponseWriter, r *http.Request) {
	id := s.sessionID(r)
	if current, ok := s.sessions.find(id); ok {
		s.sessions.end(id)
		_, err := s.records.add(usageRecord{
			ID: "signout-" + current.Tag, Action: actionSignOut, Result: resultDone, At: s.now(), Account: current.Account, Device: current.Device,
		}, nil)
		if err != nil {
			// The visitor is signed out in any case; that matters more than the line about it.
			s.logger.ErrorContext(r.Context(), "sign-out not recorded", "error", err)
		}
	}
	http.SetCookie(w, s.cookie(s.sessionCookie(), "", -1))
	http.Redirect(w, r, "/?notice=signedout", http.StatusSeeOther)
}
