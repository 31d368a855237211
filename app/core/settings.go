package core

import (
	"context"
	"net/netip"
	"net/url"
	"strings"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
)

// settings are what the phone was set up with at its first enrolment: whom it
// talks to and whom it believes. Nothing in a scanned code can change them.
type settings struct {
	V          int      `json:"v"`
	CA         string   `json:"ca"`    // base URL of the authority
	Relay      string   `json:"relay"` // origin of the relay
	AppOrigins []string `json:"app_origins"`
	// Trust is the trust file that came with the enrolment. Phones from before
	// there was one have Roots (DER), read by the documentation arc.
	Trust   protocol.Bytes   `json:"trust,omitzero"`
	Roots   []protocol.Bytes `json:"roots,omitzero"`
	Account string           `json:"account"`
	// LedgerKey is the key that the relay named when its first promise came.
	LedgerKey protocol.Bytes `json:"ledger_key,omitzero"`
	// Assist is the URL of the password server, as the authority named it.
	Assist string `json:"assist,omitzero"`
	protocol.Kept
}

const maxOrigins = 8

func (s *settings) check() error {
	if s.V != 1 || len(s.AppOrigins) == 0 || len(s.AppOrigins) > maxOrigins || len(s.Trust) == 0 && len(s.Roots) == 0 {
		return protocol.Errorf(protocol.CodeKeystoreInvalid, "settings are incomplete")
	}
	for _, origin := range s.AppOrigins {
		if err := protocol.CheckAppOrigin(origin); err != nil {
			return err
		}
	}
	if err := checkServer(s.Relay); err != nil {
		return err
	}
	if s.Assist != "" {
		if err := checkServer(s.Assist); err != nil {
			return err
		}
	}
	return checkServer(s.CA)
}

// checkServer accepts https, and http on loopback, with a path but without
// trailing slash, user, query or fragment.
func checkServer(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || strings.ContainsAny(text, "?#") || strings.HasSuffix(text, "/") {
		return protocol.Errorf(protocol.CodeMalformed, "address %.60q: want scheme://host[:port][/path]", text)
	}
	if u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()) {
		return nil
	}
	return protocol.Errorf(protocol.CodeMalformed, "address %.60q: want https, or http on loopback", text)
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func (c *Core) loadSettings(ctx context.Context) error {
	var s settings
	found, err := readJSON(ctx, c.opt.Files, settingsFile, &s)
	if err != nil || !found {
		return err
	}
	return c.apply(&s)
}

// apply takes settings into use.
func (c *Core) apply(s *settings) error {
	if err := s.check(); err != nil {
		return err
	}
	roots, err := s.anchors()
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settings, c.roots = s, roots
	return nil
}

// anchors are the authorities that the phone believes.
func (s *settings) anchors() (*trust.Store, error) {
	if len(s.Trust) > 0 {
		file, err := trust.ParseFile(s.Trust)
		if err != nil {
			return nil, protocol.Errorf(protocol.CodeKeystoreInvalid, "%v", err)
		}
		return file.Store()
	}
	roots, err := trust.ParseChain(asSlices(s.Roots))
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeKeystoreInvalid, "roots: %v", err)
	}
	store, err := trust.NewStore(trust.DocumentationAuthority(roots...))
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeKeystoreInvalid, "roots: %v", err)
	}
	return store, nil
}

// enrolled returns the settings and roots of a phone that has them.
func (c *Core) enrolled() (*settings, *trust.Store, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.settings == nil {
		return nil, nil, protocol.Errorf(protocol.CodeNotEnrolled, "this phone is not enrolled")
	}
	return c.settings, c.roots, nil
}

func asSlices(in []protocol.Bytes) [][]byte {
	out := make([][]byte, len(in))
	for i, b := range in {
		out[i] = b
	}
	return out
}

func asBytes(in [][]byte) []protocol.Bytes {
	out := make([]protocol.Bytes, len(in))
	for i, b := range in {
		out[i] = b
	}
	return out
}
