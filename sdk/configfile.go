package bidseal

import (
	"crypto"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
)

// ConfigFile is the content of platform.json. Paths are relative to its folder;
// private files are readable by their owner only.
type ConfigFile struct {
	V              int      `json:"v"` // 1
	Platform       string   `json:"platform"`
	Name           string   `json:"name"`
	Relay          string   `json:"relay"` // origin
	App            string   `json:"app"`   // origin
	APIKeyID       string   `json:"api_key_id,omitempty"`
	Trust          string   `json:"trust,omitempty"`           // trust file: authorities and the relay's ledger keys
	LedgerKey      string   `json:"ledger_key,omitempty"`      // PEM file, PUBLIC KEY; without a trust file
	RequestKey     string   `json:"request_key"`               // PEM file, PRIVATE KEY (PKCS#8, SM2)
	Chain          string   `json:"chain"`                     // PEM file, certificates, leaf first
	APIKey         string   `json:"api_key"`                   // PEM file, PRIVATE KEY (PKCS#8, P-256)
	Roots          string   `json:"roots,omitempty"`           // PEM file, certificates; without a trust file
	Store          string   `json:"store"`                     // folder of the file store
	StoreKey       string   `json:"store_key"`                 // file, 32 bytes in hexadecimal
	OCSPURL        string   `json:"ocsp_url,omitempty"`        // overrides what certificates name
	TSAURL         string   `json:"tsa_url,omitempty"`         // timestamp authority for evidence files
	Origins        []string `json:"origins"`                   // the platform's web origins
	TrustedProxies []string `json:"trusted_proxies,omitempty"` // CIDR
}

// NoTSA as the tsa_url of a configuration file means that evidence files get no
// timestamp, although the platform's authority gives them.
const NoTSA = "none"

// maxConfigFile bounds platform.json, in bytes.
const maxConfigFile = 256 << 10

// LoadConfig reads a configuration file (or the platform.json of a folder) and
// everything it names, and opens its file store. Unknown names in the file are
// refused.
func LoadConfig(path string) (Config, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, "platform.json")
	}
	raw, err := pemfile.ReadBounded(path, maxConfigFile)
	if err != nil {
		return Config{}, err
	}
	file, err := ParseConfigFile(raw)
	if err != nil {
		return Config{}, fmt.Errorf("read %s: %w", path, err)
	}
	return file.config(filepath.Dir(path))
}

// ParseConfigFile reads the bytes of a configuration file strictly. Every refusal
// is an *Error.
func ParseConfigFile(raw []byte) (*ConfigFile, error) {
	var file ConfigFile
	if err := protocol.DecodeJSON(raw, &file); err != nil {
		return nil, err
	}
	if file.V != 1 {
		return nil, protocol.Errorf(protocol.CodeMalformed, "configuration file of version %d, want 1", file.V)
	}
	for _, f := range []struct{ name, value string }{
		{"platform", file.Platform}, {"name", file.Name}, {"relay", file.Relay}, {"app", file.App},
		{"request_key", file.RequestKey}, {"chain", file.Chain}, {"api_key", file.APIKey}, {"store", file.Store},
		{"store_key", file.StoreKey},
	} {
		if f.value == "" {
			return nil, protocol.Errorf(protocol.CodeMalformed, "configuration file without %s", f.name)
		}
	}
	if named := file.Roots != "" && file.LedgerKey != ""; named == (file.Trust != "") || (file.Roots == "") != (file.LedgerKey == "") {
		return nil, protocol.Errorf(protocol.CodeMalformed, "configuration file: name a trust file, or roots and ledger_key")
	}
	if _, err := file.proxies(); err != nil {
		return nil, err
	}
	return &file, nil
}

func (file *ConfigFile) proxies() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range file.TrustedProxies {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, protocol.Errorf(protocol.CodeMalformed, "trusted proxy %q is not a CIDR prefix", text)
		}
		out = append(out, prefix)
	}
	return out, nil
}

// config reads what the file names, relative to dir.
func (file *ConfigFile) config(dir string) (Config, error) {
	in := func(name string) string {
		if filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(dir, name)
	}
	c := Config{Platform: file.Platform, Name: file.Name, Relay: file.Relay, App: file.App, APIKeyID: file.APIKeyID,
		OCSPURL: file.OCSPURL, TSAURL: file.TSAURL, Origins: file.Origins}
	var err error
	if c.TrustedProxies, err = file.proxies(); err != nil {
		return Config{}, err
	}
	if c.RequestKey, err = pemfile.ReadSigner(in(file.RequestKey)); err != nil {
		return Config{}, err
	}
	if c.APIKey, err = pemfile.ReadSigner(in(file.APIKey)); err != nil {
		return Config{}, err
	}
	if c.Chain, err = pemfile.ReadCertificates(in(file.Chain)); err != nil {
		return Config{}, err
	}
	if file.Trust != "" {
		err = c.readTrust(in(file.Trust))
	} else {
		err = c.readRoots(in(file.Roots), in(file.LedgerKey))
	}
	if err != nil {
		return Config{}, err
	}
	if c.StoreKey, err = pemfile.ReadHex(in(file.StoreKey), storeKeySize); err != nil {
		return Config{}, err
	}
	c.Store, err = OpenFileStore(in(file.Store))
	return c, err
}

// readTrust reads whom the platform believes. The timestamp authority is the one
// of the platform's own authority, where nothing else is configured.
func (c *Config) readTrust(path string) error {
	raw, err := pemfile.ReadBounded(path, trust.MaxFile)
	if err != nil {
		return err
	}
	file, err := trust.ParseFile(raw)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if c.Anchors, err = file.Store(); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if c.LedgerKeys = file.LedgerKeys(c.Relay); len(c.LedgerKeys) == 0 {
		return fmt.Errorf("read %s: it does not name the relay %s", path, c.Relay)
	}
	if own, err := c.Anchors.Named(c.Chain); err == nil && c.TSAURL == "" {
		c.TSAURL = own.TSA
	}
	if c.TSAURL == NoTSA {
		c.TSAURL = ""
	}
	return nil
}

// readRoots reads what a configuration file from before there were trust files names.
func (c *Config) readRoots(roots, ledgerKey string) error {
	certs, err := pemfile.ReadCertificates(roots)
	if err != nil {
		return err
	}
	if c.Anchors, err = trust.NewStore(trust.DocumentationAuthority(certs...)); err != nil {
		return fmt.Errorf("read %s: %w", roots, err)
	}
	key, err := pemfile.ReadPublicKey(ledgerKey)
	if err != nil {
		return err
	}
	c.LedgerKeys = []crypto.PublicKey{key}
	return nil
}
