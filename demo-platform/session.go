package demoplatform

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"sync"
	"time"
)

// Bounds of sessions.
const (
	sessionIdle  = 30 * time.Minute // without a request
	sessionLife  = 8 * time.Hour    // in all
	maxSessions  = 10_000           // kept at once; the least used goes first
	sessionBytes = 32               // random bytes of an id
)

// account is who signed in, as the certificate said it at that moment. (Anchor, Lineage) names the holder for good;
// everything else may change with the next certificate.
type account struct {
	Anchor       string    `json:"anchor"`  // SM3 of the root certificate, lower-case hex
	Lineage      string    `json:"lineage"` // lower-case hex
	Kind         string    `json:"kind"`    // organisation or person
	Person       string    `json:"person"`
	Organisation string    `json:"organisation,omitempty"`
	CreditCode   string    `json:"credit_code,omitempty"`
	Role         string    `json:"role,omitempty"` // admin, user or empty
	Serial       string    `json:"serial"`         // upper-case hex
	CID          string    `json:"cid"`            // of the sign-in
	At           time.Time `json:"at"`             // when the phone signed, UTC
}

// owns reports whether two sign-ins are of the same holder.
func (a account) owns(b account) bool { return a.Anchor == b.Anchor && a.Lineage == b.Lineage }

// session is one browser that is signed in.
type session struct {
	Account account
	Device  string
	Started time.Time
	seen    time.Time
	// Tag names the session in records. It opens nothing: the id stays in the browser, and only its digest is kept.
	Tag string
}

// ends is when an idle session ends.
func (s *session) ends() time.Time {
	idle, life := s.seen.Add(sessionIdle), s.Started.Add(sessionLife)
	if idle.Before(life) {
		return idle
	}
	return life
}

// sessions keeps who is signed in, by the digest of the id that the browser holds.
type sessions struct {
	now func() time.Time

	mu   sync.Mutex
	byID map[[sha256.Size]byte]*session
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, byID: map[[sha256.Size]byte]*session{}}
}

// begin makes a session under a new random id and ends the one of the old id, so that an id from before the sign-in
// opens nothing after it (session fixation).
func (s *sessions) begin(old string, who account, device string) (id string) {
	var raw [sessionBytes]byte
	rand.Read(raw[:]) // never fails: it ends the process instead
	id = base64.RawURLEncoding.EncodeToString(raw[:])
	key := sha256.Sum256([]byte(id))
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, sha256.Sum256([]byte(old)))
	s.sweep(now)
	s.byID[key] = &session{Account: who, Device: device, Started: now, seen: now, Tag: hex.EncodeToString(key[:8])}
	return id
}

// sweep drops what has ended and makes room for one more.
func (s *sessions) sweep(now time.Time) {
	if len(s.byID) < maxSessions {
		return
	}
	var oldest [sha256.Size]byte
	var oldestSeen time.Time
	for key, kept := range s.byID {
		if !now.Before(kept.ends()) {
			delete(s.byID, key)
		} else if oldestSeen.IsZero() || kept.seen.Before(oldestSeen) {
			oldest, oldestSeen = key, kept.seen
		}
	}
	if len(s.byID) >= maxSessions {
		delete(s.byID, oldest)
	}
}

// find returns a copy of the session of the id and counts the request as a sign of life.
func (s *sessions) find(id string) (session, bool) {
	key := sha256.Sum256([]byte(id))
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	kept, ok := s.byID[key]
	if !ok {
		return session{}, false
	}
	if !now.Before(kept.ends()) {
		delete(s.byID, key)
		return session{}, false
	}
	kept.seen = now
	return *kept, true
}

// end forgets the session of the id.
func (s *sessions) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, sha256.Sum256([]byte(id)))
}

// sessionCookie is the name of the cookie that holds the id. The prefix makes browsers insist on https, this host and
// no narrower path; loopback http cannot have it.
func (s *Site) sessionCookie() string {
	if s.secure() {
		return "__Host-bidding"
	}
	return "bidding"
}

// beginSession signs the browser in.
func (s *Site) beginSession(w http.ResponseWriter, r *http.Request, who account) {
	id := s.sessions.begin(s.sessionID(r), who, device(r.UserAgent()))
	http.SetCookie(w, s.cookie(s.sessionCookie(), id, 0))
}

// sessionID returns what the browser's cookie says, "" without one.
func (s *Site) sessionID(r *http.Request) string {
	cookie, err := r.Cookie(s.sessionCookie())
	if err != nil {
		return ""
	}
	return cookie.Value
}

// cookie makes a cookie that scripts cannot read and other sites cannot send along, except by a link. maxAge is in
// seconds; 0 ends with the browser, -1 removes.
func (s *Site) cookie(name, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, Secure: s.secure(), SameSite: http.SameSiteLaxMode,
	}
}
