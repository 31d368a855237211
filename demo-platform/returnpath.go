package demoplatform

import (
	"net/url"
	"strings"
)

// maxReturnPath bounds a return path, in bytes.
const maxReturnPath = 512

// returnPath accepts a path of this site to come back to, and answers otherwise for anything else: other hosts, also
// written as //host or /\host, which browsers read as a host; other schemes; control characters, which browsers drop.
func returnPath(path, otherwise string) string {
	if len(path) > maxReturnPath || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") ||
		strings.ContainsRune(path, '\\') || strings.ContainsFunc(path, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return otherwise
	}
	parsed, err := url.Parse(path)
	if err != nil || parsed.IsAbs() || parsed.Host != "" || parsed.Opaque != "" || parsed.User != nil {
		return otherwise
	}
	// What the path says once decoded must not name a host either.
	if strings.HasPrefix(parsed.Path, "//") || strings.ContainsRune(parsed.Path, '\\') {
		return otherwise
	}
	return parsed.String()
}
