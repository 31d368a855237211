package hsm

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// keyURI is a PKCS#11 URI (RFC 7512) as far as this package reads it.
type keyURI struct {
	module, token, object string
	pinFile               string
	mechanism             uint // of SM2 signatures over a digest
}

const (
	maxURI     = 1 << 10
	maxPIN     = 256
	ckmECDSA   = 0x1041
	uriScheme  = "pkcs11:"
	pinIsAFile = "file:"
)

var errURI = errors.New("not a usable PKCS#11 URI")

// parseURI reads a URI. Attributes that it does not know, a second value for one,
// and a PIN in the URI itself are refused.
func parseURI(text string) (keyURI, error) {
	u := keyURI{mechanism: ckmECDSA}
	rest, found := strings.CutPrefix(text, uriScheme)
	if !found || len(text) > maxURI {
		return u, errURI
	}
	path, query, _ := strings.Cut(rest, "?")
	seen := make(map[string]bool)
	take := func(attribute string) error {
		if attribute == "" {
			return nil
		}
		name, raw, found := strings.Cut(attribute, "=")
		value, err := url.PathUnescape(raw)
		if !found || err != nil || value == "" || seen[name] {
			return fmt.Errorf("attribute %q: %w", name, errURI)
		}
		seen[name] = true
		return u.set(name, value)
	}
	for attribute := range strings.SplitSeq(path, ";") {
		if err := take(attribute); err != nil {
			return u, err
		}
	}
	for attribute := range strings.SplitSeq(query, "&") {
		if err := take(attribute); err != nil {
			return u, err
		}
	}
	if u.module == "" || u.token == "" || u.object == "" || u.pinFile == "" {
		return u, fmt.Errorf("module-path, token, object and pin-source are needed: %w", errURI)
	}
	return u, nil
}

func (u *keyURI) set(name, value string) error {
	switch name {
	case "token":
		u.token = value
	case "object":
		u.object = value
	case "module-path":
		u.module = value
	case "pin-source":
		path, found := strings.CutPrefix(value, pinIsAFile)
		if path = strings.TrimPrefix(path, "//"); !found || !filepath.IsAbs(path) {
			return fmt.Errorf("pin-source is not a file: URL with an absolute path: %w", errURI)
		}
		u.pinFile = path
	case "x-mechanism":
		n, err := strconv.ParseUint(value, 0, 32)
		if err != nil {
			return fmt.Errorf("x-mechanism: %w", errURI)
		}
		u.mechanism = uint(n)
	case "pin-value":
		return fmt.Errorf("a PIN has no place in a URI: %w", errURI)
	default:
		return fmt.Errorf("attribute %q is not known: %w", name, errURI)
	}
	return nil
}

// pin reads the first line of the PIN's file.
func (u keyURI) pin() (string, error) {
	file, err := os.Open(filepath.Clean(u.pinFile))
	if err != nil {
		return "", fmt.Errorf("PIN: %w", err)
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, maxPIN))
	if err != nil {
		return "", fmt.Errorf("PIN: %w", err)
	}
	defer clear(raw)
	line, _, _ := strings.Cut(string(raw), "\n")
	if line = strings.TrimRight(line, "\r"); line == "" {
		return "", errors.New("PIN: the file is empty")
	}
	return line, nil
}
