package demoplatform

import (
	"net/http"

	bidseal "github.com/bidseal/bidseal/sdk"
)

// This file is all that a platform needs to sign people in by their phone certificate; the rest of the site knows
// nothing of it.

// signInPath is where the waiting page's endpoints and its script live.
const signInPath = "/bidseal"

// signInVariant is a way in which the code can be shown. A platform has one; the demo lets people look at the others.
type signInVariant struct {
	Name   string // part of the path, and of the keys of its texts
	Static bool
	Match  bidseal.MatchPolicy
}

// signInVariants are the ways the demo offers, the usual one first.
func signInVariants() []signInVariant {
	return []signInVariant{
		{Name: "animated", Match: bidseal.MatchNone},
		{Name: "digits", Match: bidseal.MatchType},
		{Name: "static", Static: true, Match: bidseal.MatchType},
	}
}

// base is where the endpoints of the variant are mounted.
func (v signInVariant) base() string { return signInPath + "/" + v.Name }

// mountSignIn serves the waiting page's endpoints.
func (s *Site) mountSignIn(mux *http.ServeMux) {
	for _, variant := range s.offered() {
		mux.Handle(variant.base()+"/", http.StripPrefix(variant.base(), s.client.LoginHandler(bidseal.HandlerOptions{
			Login: func(r *http.Request) (bidseal.LoginOptions, error) {
				return bidseal.LoginOptions{
					Display: []string{s.tables[chosen(r)].text("signin.display", "site", s.origin.Host)},
					Static:  variant.Static,
					Match:   &variant.Match,
				}, nil
			},
			OnLogin: s.onLogin,
			Next:    s.afterLogin,
			Links:   s.demo != nil,
		})))
	}
}

// offered are the variants that this site serves.
func (s *Site) offered() []signInVariant {
	if s.demo == nil {
		return signInVariants()[:1]
	}
	return signInVariants()
}

// onLogin is the platform's commit of a verified sign-in: the record with its evidence first, then the session under a
// new id. It may run again for the same challenge after a crash; the record is then there already.
func (s *Site) onLogin(w http.ResponseWriter, r *http.Request, login *bidseal.Login) error {
	who := account{
		Anchor: login.Subject.Anchor, Lineage: login.Subject.Lineage, Kind: string(login.Kind),
		Person: login.Person, Organisation: login.Organisation, CreditCode: login.CreditCode, Role: login.Role,
		Serial: login.CertificateSerial, CID: login.CID.String(), At: login.At,
	}
	_, err := s.records.add(usageRecord{
		ID: who.CID, Action: actionSignIn, Result: resultDone, At: s.now(), Account: who, Device: device(r.UserAgent()),
	}, login.Evidence)
	if err != nil {
		return err
	}
	s.beginSession(w, r, who)
	http.SetCookie(w, s.cookie(returnCookie, "", -1))
	return nil
}

// returnCookie keeps where a visitor wanted to go while signing in.
const returnCookie = "return"

// afterLogin is where the page goes after the sign-in: back to where the visitor came from, or to the account.
func (s *Site) afterLogin(r *http.Request, _ *bidseal.Login) string {
	if cookie, err := r.Cookie(returnCookie); err == nil {
		return returnPath(decodeReturn(cookie.Value), accountWelcome)
	}
	return accountWelcome
}
