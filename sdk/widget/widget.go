// Package widget holds the browser element <bidseal-qr> of the waiting page:
// the code, its live states, renewal and the question "is this you?". Its source
// is TypeScript without dependencies under src; dist is what the browser gets.
package widget

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"time"
)

//go:generate go tool -modfile=../../tools/go.mod esbuild src/element.ts --bundle --format=esm --target=es2020 --minify --charset=utf8 --legal-comments=none --outfile=dist/widget.js

//go:embed dist/widget.js
var script []byte

// Handler serves the script. Browsers ask again with its tag, and get it only
// where it changed.
func Handler() http.Handler {
	digest := sha256.Sum256(script)
	tag := `"` + hex.EncodeToString(digest[:12]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/javascript; charset=utf-8")
		h.Set("Cache-Control", "public, max-age=60, must-revalidate")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("ETag", tag)
		http.ServeContent(w, r, "widget.js", time.Time{}, bytes.NewReader(script))
	})
}
