package demoplatform

import (
	"net/url"
	"strings"
)

// maxReturnPath bounds a return path, in bytes.
const maxReturnPath = 512

// returnPath accepts a path of this site to come back to, and returns otherwise for anything else: other hosts, also
// written as //host or /\host, which browsers read as a host; other schemes; control characters, which browsers drop and
// url.Parse refuses.
func returnPath(path, otherwise string) string {
	parsed, err := url.Parse(path)
	if err != nil || len(path) > maxReturnPath || parsed.IsAbs() || parsed.Host != "" {
		return otherwise
	}
	// What the path says as it stands and once decoded must begin here and name no host.
	if !strings.HasPrefix(parsed.EscapedPath(), "/") || !strings.HasPrefix(parsed.Path, "/") || strings.HasPrefix(parsed.Path, "//") || strings.ContainsRune(parsed.Path, '\\') {
		return otherwise
	}
	return parsed.String()
}
