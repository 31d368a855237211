// Package web serves the app's origin. A QR code is a link to /q on that
// origin with everything secret behind the #, which browsers never send; the
// page answered there is static, runs no script and loads nothing, so a code
// scanned with some other camera does nothing but say where to scan it.
package web

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
)

//go:embed q.html
var scanPage string

// Handler serves GET and HEAD of /q with the static page, everything else with 404.
func Handler() http.Handler {
	mux := http.NewServeMux()
	csp := "default-src 'none'; style-src " + styleHash(scanPage) + "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	mux.HandleFunc("GET /q", func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Length", strconv.Itoa(len(scanPage)))
		h.Set("Content-Security-Policy", csp)
		h.Set("X-Frame-Options", "DENY")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "public, max-age=300")
		_, _ = w.Write([]byte(scanPage))
	})
	return mux
}

// styleHash is the CSP source of the page's one style element (CSP 3, section 8.4).
func styleHash(page string) string {
	_, rest, _ := strings.Cut(page, "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(style))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
