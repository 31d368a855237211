package demoplatform

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"
)

//go:embed templates/*.html
var templateData embed.FS

// page is what every template gets.
type page struct {
	Lang    language
	Title   string   // key of the page's title
	Account *account // nil for visitors
	Demo    bool
	Origin  string
	Now     time.Time
	Notice  string // key of a one-line notice; empty for none
	Self    string // the page's own path, for the language switch
	Here    string // which entry of the navigation this is
	Data    any
}

// pageNames are the templates beside the layout.
func pageNames() []string { return []string{"list", "tender", "signin", "account", "error"} }

// parsePages prepares every page in every language.
func (s *Site) parsePages() (map[language]map[string]*template.Template, error) {
	pages := map[language]map[string]*template.Template{}
	for lang, texts := range s.tables {
		pages[lang] = map[string]*template.Template{}
		for _, name := range pageNames() {
			parsed, err := template.New("layout.html").Funcs(s.functions(lang, texts)).
				ParseFS(templateData, "templates/layout.html", "templates/parts.html", "templates/"+name+".html")
			if err != nil {
				return nil, fmt.Errorf("parse the page %s: %w", name, err)
			}
			pages[lang][name] = parsed
		}
	}
	return pages, nil
}

// functions are what templates may call; each one that writes words does so in the page's language.
func (s *Site) functions(lang language, texts table) template.FuncMap {
	return template.FuncMap{
		"t":     texts.text,
		"in":    func(b bilingual) string { return b.in(lang) },
		"left":  texts.left,
		"yuan":  func(f fen) string { return texts.text("money.yuan", "amount", f.yuan()) },
		"wan":   func(f fen) string { return texts.money(lang, f) },
		"when":  texts.when,
		"day":   func(t time.Time) string { return t.In(beijing()).Format("2006-01-02") },
		"clock": func(t time.Time) string { return t.In(beijing()).Format("15:04") },
		"iso":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"mask":  maskName,
		"fours": inFours,
		"words": strings.Fields, // a command breaks between its words, never within --flags
		"speak": speak,
		"asset": s.assetPath,
	}
}

// when writes a time with its zone.
func (t table) when(at time.Time) string {
	return t.text("time.zoned", "time", at.In(beijing()).Format("2006-01-02 15:04"))
}

// money writes a budget the way it is read: in units of ten thousand in Chinese, in full in English.
func (t table) money(lang language, f fen) string {
	if lang == english {
		return t.text("money.yuan", "amount", f.yuan())
	}
	return t.text("money.wan", "amount", f.wan())
}

// render writes a page. It is executed in memory first: a page that fails half-way is not sent.
func (s *Site) render(w http.ResponseWriter, r *http.Request, status int, name, title string, data any) {
	lang := chosen(r)
	shown := page{
		Lang: lang, Title: title, Demo: s.demo != nil, Origin: s.origin.String(), Now: s.now(),
		Notice: notice(r), Self: samePath(r.URL.Path, r.URL.Query()), Here: name, Data: data,
	}
	if current, ok := s.sessions.find(s.sessionID(r)); ok {
		shown.Account = &current.Account
	}
	var body bytes.Buffer
	if err := s.pages[lang][name].Execute(&body, shown); err != nil {
		s.logger.ErrorContext(r.Context(), "page failed", "page", name, "error", err)
		http.Error(w, "500", http.StatusInternalServerError)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Cache-Control", "no-store") // a page may show who is signed in
	w.WriteHeader(status)
	s.write(w, body.Bytes())
}

// notice turns ?notice= into the key of a text; unknown ones say nothing.
func notice(r *http.Request) string {
	switch r.URL.Query().Get("notice") {
	case "signedout":
		return "notice.signedout"
	case "welcome":
		return "notice.welcome"
	default:
		return ""
	}
}
