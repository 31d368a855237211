package bidseal

// Registration is the content of a registration's file, platform.json. Paths
// are relative to its folder; private files are readable by their owner only.
type Registration struct {
	V              int      `json:"v"` // 1
	Platform       string   `json:"platform"`
	Name           string   `json:"name"`
	Relay          string   `json:"relay"` // origin
	App            string   `json:"app"`   // origin
	APIKeyID       string   `json:"api_key_id,omitempty"`
	LedgerKey      string   `json:"ledger_key"`               // PEM file, PUBLIC KEY
	RequestKey     string   `json:"request_key"`              // PEM file, PRIVATE KEY (PKCS#8, SM2)
	Chain          string   `json:"chain"`                    // PEM file, certificates, leaf first
	APIKey         string   `json:"api_key"`                  // PEM file, PRIVATE KEY (PKCS#8, P-256)
	Roots          string   `json:"roots"`                    // PEM file, certificates
	Store          string   `json:"store"`                    // folder of the file store
	StoreKey       string   `json:"store_key"`                // file, 32 bytes in hexadecimal
	OCSPURL        string   `json:"ocsp_url,omitempty"`       // overrides what certificates name
	Origins        []string `json:"origins"`                  // the platform's web origins
	TrustedProxies []string `json:"trusted_proxies,omitempty"` // CIDR
}

// LoadConfig reads a registration's file and everything it names. Unknown names
// in the file are refused.
func LoadConfig(path string) (Config, error) { return Config{}, errUnfinished }
