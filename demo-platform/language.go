package demoplatform

import (
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

//go:embed locale/*.json
var localeData embed.FS

// language is one of the site's languages, named as in <html lang>.
type language string

// The languages, the default first.
const (
	chinese language = "zh-CN"
	english language = "en"
)

// languages maps what stands in ?lang= and in the cookie.
func languages() map[string]language {
	return map[string]language{"zh": chinese, "en": english}
}

// table holds every text of the site in one language.
type table map[string]string

// loadTables reads the texts of all languages.
func loadTables() (map[language]table, error) {
	tables := map[language]table{}
	for short, lang := range languages() {
		raw, err := localeData.ReadFile("locale/" + short + ".json")
		if err != nil {
			return nil, fmt.Errorf("read the texts: %w", err)
		}
		texts := table{}
		if err := json.Unmarshal(raw, &texts); err != nil {
			return nil, fmt.Errorf("read the texts of %q: %w", lang, err)
		}
		tables[lang] = texts
	}
	return tables, nil
}

// text returns the text under the key with its {placeholders} filled from pairs of name and value. A key that is not
// there comes back in brackets, so that it is seen.
func (t table) text(key string, pairs ...any) string {
	text, ok := t[key]
	if !ok {
		return "[" + key + "]"
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		text = strings.ReplaceAll(text, fmt.Sprintf("{%v}", pairs[i]), fmt.Sprint(pairs[i+1]))
	}
	return text
}

// left says how much time remains, in two units.
func (t table) left(now, then time.Time) string {
	r := until(now, then)
	switch {
	case r.Days > 0:
		return t.text("left.days", "days", r.Days, "hours", r.Hours)
	case r.Hours > 0:
		return t.text("left.hours", "hours", r.Hours, "minutes", r.Minutes)
	case r.Minutes > 0:
		return t.text("left.minutes", "minutes", r.Minutes)
	default:
		return t.text("left.none")
	}
}

// languageCookie keeps the choice for a year. It is neither a secret nor a login.
const languageCookie = "lang"

// chosen returns the visitor's language; Chinese unless English was asked for.
func chosen(r *http.Request) language {
	if cookie, err := r.Cookie(languageCookie); err == nil {
		if lang, ok := languages()[cookie.Value]; ok {
			return lang
		}
	}
	return chinese
}

// switchLanguage takes ?lang= out of any page's address, keeps the choice and comes back to the page.
func (s *Site) switchLanguage(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		short := query.Get("lang")
		_, known := languages()[short]
		if !known || (r.Method != http.MethodGet && r.Method != http.MethodHead) {
			next.ServeHTTP(w, r)
			return
		}
		http.SetCookie(w, &http.Cookie{
			Name: languageCookie, Value: short, Path: "/", MaxAge: 365 * 24 * 60 * 60,
			HttpOnly: true, Secure: s.secure(), SameSite: http.SameSiteLaxMode,
		})
		query.Del("lang")
		http.Redirect(w, r, samePath(r.URL.Path, query), http.StatusSeeOther)
	})
}

// samePath is the path with the query, written so that it cannot leave the site.
func samePath(path string, query url.Values) string {
	target := (&url.URL{Path: path, RawQuery: query.Encode()}).String()
	return returnPath(target, "/")
}

// speak is the address of a page of this site in another language, by its short name.
func speak(path, short string) string {
	parsed, err := url.Parse(path)
	if err != nil {
		return "/?lang=" + short
	}
	query := parsed.Query()
	query.Set("lang", short)
	return samePath(parsed.Path, query)
}
