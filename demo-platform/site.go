package demoplatform

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	bidseal "github.com/bidseal/bidseal/sdk"
)

// Options are what a site needs.
type Options struct {
	// Client signs bidders in. Its Run is the caller's. Nil closes the sign-in, and the page says so.
	Client *bidseal.Client
	// Origin is where browsers reach the site: scheme://host[:port]. Requests for other hosts are sent there.
	Origin string
	// Dir keeps usage records and evidence files; empty keeps them in memory.
	Dir string
	// Demo adds what only a demonstration shows; nil leaves it out.
	Demo *DemoOptions
	// Clock is time.Now where it is nil, Logger discards.
	Clock  func() time.Time
	Logger *slog.Logger
}

// DemoOptions are what a demonstration shows beside the product.
type DemoOptions struct {
	// PhoneHints say under the QR code how to scan without a camera.
	PhoneHints []PhoneHint
	// TrustFile is the path of the trust file that the account page names in the command that verifies an
	// evidence file; empty reads "trust.json".
	TrustFile string
}

// PhoneHint is a command-line phone of the demonstration and the command that scans with it. In Command the word LINK
// stands for the code's text; the page fills it in when the command is copied.
type PhoneHint struct {
	Name, Organisation, Role string
	Command                  string
}

// maxBody bounds the body of a request to the site's own pages, in bytes.
const maxBody = 64 << 10

// Site is the bidding site. It is safe for concurrent use.
type Site struct {
	client   *bidseal.Client
	origin   *url.URL
	demo     *DemoOptions
	now      func() time.Time
	logger   *slog.Logger
	tables   map[language]table
	pages    map[language]map[string]*template.Template
	assets   map[string]asset
	tenders  *catalogue
	sessions *sessions
	records  *usageRecords
}

// New reads the embedded data and opens the records. Close releases them.
func New(options Options) (*Site, error) {
	origin, err := url.Parse(options.Origin)
	if err != nil || (origin.Scheme != "http" && origin.Scheme != "https") || origin.Host == "" || strings.Trim(origin.Path, "/") != "" {
		return nil, fmt.Errorf("the origin %q is not scheme://host[:port]", options.Origin)
	}
	s := &Site{
		client: options.Client, demo: options.Demo, now: options.Clock, logger: options.Logger,
		origin: &url.URL{Scheme: origin.Scheme, Host: origin.Host},
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	s.sessions = newSessions(s.now)
	if s.tables, err = loadTables(); err != nil {
		return nil, err
	}
	if s.tenders, err = loadCatalogue(); err != nil {
		return nil, err
	}
	if s.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	if s.pages, err = s.parsePages(); err != nil {
		return nil, err
	}
	if s.records, err = openRecords(options.Dir); err != nil {
		return nil, err
	}
	return s, nil
}

// Close releases the records. Requests must have ended.
func (s *Site) Close() error { return s.records.close() }

// secure reports whether browsers reach the site by https.
func (s *Site) secure() bool { return s.origin.Scheme == "https" }

// Handler serves the site. Timeouts and the size of headers belong to the server's owner.
func (s *Site) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.listTenders)
	mux.HandleFunc("GET /tenders/{number}", s.showTender)
	mux.HandleFunc("GET /tenders/{number}/notice.txt", s.downloadNotice)
	mux.HandleFunc("GET /tenders/{number}/documents.txt", s.forAccount(s.downloadDocuments))
	mux.HandleFunc("GET /signin", s.showSignIn)
	mux.HandleFunc("POST /signout", s.signOut)
	mux.HandleFunc("GET /account", s.forAccount(s.showAccount))
	mux.HandleFunc("GET /account/records.csv", s.forAccount(s.exportRecords))
	mux.HandleFunc("GET /account/evidence/{cid}", s.forAccount(s.downloadEvidence))
	mux.HandleFunc("GET /static/{name}", s.serveAsset)
	mux.HandleFunc("GET /favicon.ico", s.serveIcon)
	mux.HandleFunc("GET /health", s.health)
	mux.HandleFunc("/", s.notFound)
	if s.client != nil {
		s.mountSignIn(mux)
	}
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(s.forbidden))
	return s.recovered(s.headers(s.canonical(s.switchLanguage(guard.Handler(mux)))))
}

func (s *Site) health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	s.write(w, []byte("ok\n"))
}

// headers sets what every answer carries: nothing is loaded from elsewhere, nothing may frame the site, and no address
// with its query goes to other sites.
func (s *Site) headers(next http.Handler) http.Handler {
	const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
		"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("X-Frame-Options", "DENY")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "same-origin")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=()")
		if s.secure() {
			header.Set("Strict-Transport-Security", "max-age=31536000")
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

// canonical sends requests for another host to the origin: cookies, the check of where a sign-in comes from and the
// address that people are told to look at all belong to one host.
func (s *Site) canonical(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.EqualFold(r.Host, s.origin.Host) || r.URL.Path == "/health":
			next.ServeHTTP(w, r)
		case r.Method == http.MethodGet || r.Method == http.MethodHead:
			target := *s.origin
			target.Path, target.RawQuery = r.URL.Path, r.URL.RawQuery
			http.Redirect(w, r, target.String(), http.StatusTemporaryRedirect)
		default:
			s.fail(w, r, http.StatusMisdirectedRequest, nil)
		}
	})
}

// recovered turns a panic into the page for failures.
func (s *Site) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch cause := recover(); cause {
			case nil:
			case http.ErrAbortHandler:
				panic(cause)
			default:
				s.fail(w, r, http.StatusInternalServerError, fmt.Errorf("panic: %v", cause))
			}
		}()
		next.ServeHTTP(w, r)
	})
}

func (s *Site) notFound(w http.ResponseWriter, r *http.Request) {
	s.fail(w, r, http.StatusNotFound, nil)
}

func (s *Site) forbidden(w http.ResponseWriter, r *http.Request) {
	s.fail(w, r, http.StatusForbidden, nil)
}

// failure is what an error page shows.
type failure struct {
	Status int
	// Kind is part of the keys of its texts.
	Kind string
	// Reference finds the line in the log; empty where there is nothing to find.
	Reference string
}

// fail shows the error page. The cause goes into the log alone, under a reference that the page names.
func (s *Site) fail(w http.ResponseWriter, r *http.Request, status int, cause error) {
	shown := failure{Status: status}
	switch status {
	case http.StatusNotFound:
		shown.Kind = "notfound"
	case http.StatusForbidden, http.StatusMisdirectedRequest:
		shown.Kind = "forbidden"
	default:
		shown.Kind = "failed"
	}
	if cause != nil {
		var raw [6]byte
		rand.Read(raw[:])
		shown.Reference = hex.EncodeToString(raw[:])
		s.logger.ErrorContext(r.Context(), "request failed", "reference", shown.Reference, "method", r.Method, "path", r.URL.Path, "error", cause)
	}
	s.render(w, r, status, "error", "error."+shown.Kind+".title", shown)
}

// write sends a body; a browser that went away is not a failure of the site.
func (s *Site) write(w http.ResponseWriter, body []byte) {
	if _, err := w.Write(body); err != nil && !errors.Is(err, http.ErrBodyNotAllowed) {
		s.logger.Debug("answer not taken", "error", err)
	}
}
