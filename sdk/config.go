package bidseal

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/bidseal/bidseal/internal/httpapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// Config is what a platform's client needs. [LoadConfig] reads it from the
// folder that onboarding wrote.
type Config struct {
	// Platform is the platform's id, Name its display name, both as in its
	// certificate; empty means: take them from there.
	Platform string
	Name     string
	// RequestKey is the SM2 key that signs requests, Chain its certificate
	// with the issuing authorities, leaf first.
	RequestKey crypto.Signer
	Chain      []*smx509.Certificate
	// APIKey is the P-256 key that signs calls to the relay (RFC 9421), and
	// APIKeyID its keyid; empty means the platform's id.
	APIKey   crypto.Signer
	APIKeyID string
	// Relay and App are origins: scheme://host[:port].
	Relay string
	App   string
	// LedgerKeys are the keys by which the relay signs its ledger's promises, as
	// the trust file names them, at least one.
	LedgerKeys []crypto.PublicKey
	// Anchors are the authorities under which users' certificates are accepted,
	// as the trust file names them; the platform's own chain ends there, too.
	Anchors *trust.Store
	// OCSP fetches certificate status; nil asks the responders that the
	// certificates name, or OCSPURL where it is set, through HTTP.
	OCSP    StatusSource
	OCSPURL string
	// TSA timestamps evidence files; nil asks the authority at TSAURL, where it is
	// set, through HTTP. Its certificate has to stand under Anchors. With neither,
	// files have no timestamp.
	TSA    TimestampSource
	TSAURL string
	// Store is shared by all processes of the platform; nil keeps everything
	// in memory. StoreKey (16 bytes or more) seals its secrets; with a nil
	// Store it may be left out.
	Store    Store
	StoreKey []byte
	// Origins are the platform's own web origins, from which the waiting
	// page's endpoints may be called.
	Origins []string
	// TrustedProxies may name the browser's address in X-Forwarded-For. What
	// comes from elsewhere is not believed.
	TrustedProxies []netip.Prefix

	// Clock is time.Now, After time.After, Logger discards, HTTP is a client
	// with timeouts where they are nil.
	Clock  func() time.Time
	After  func(time.Duration) <-chan time.Time
	Logger *slog.Logger
	HTTP   *http.Client
}

// StatusSource fetches OCSP responses. The client judges and caches them.
type StatusSource interface {
	// OCSP asks the authority for the status of cert, which issuer issued, and
	// returns its DER response (RFC 6960).
	OCSP(ctx context.Context, cert, issuer *smx509.Certificate) ([]byte, error)
}

// storeKeySize is the length of a platform's store key, minStoreKey the
// least that is taken, in bytes.
const (
	storeKeySize = 32
	minStoreKey  = 16
)

// idleConnections bounds the connections that are kept open to one host.
const idleConnections = 32

// withDefaults fills what was left empty and checks the rest.
func (c Config) withDefaults() (Config, *trust.Verified, error) {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.After == nil {
		c.After = time.After
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Logger = httpapi.Logger(c.Logger)
	if c.HTTP == nil {
		transport := &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: idleConnections,
			TLSHandshakeTimeout: shortCall, ResponseHeaderTimeout: longCall, IdleConnTimeout: time.Minute}
		c.HTTP = &http.Client{Transport: transport, Timeout: longCall, CheckRedirect: noRedirect}
	}
	if c.OCSP == nil {
		c.OCSP = HTTPStatus{URL: c.OCSPURL, HTTP: c.HTTP}
	}
	if c.TSA == nil && c.TSAURL != "" {
		c.TSA = HTTPTimestamps{URL: c.TSAURL, HTTP: c.HTTP}
	}
	if err := c.storage(); err != nil {
		return c, nil, err
	}
	if err := c.origins(); err != nil {
		return c, nil, err
	}
	own, err := c.identity()
	return c, own, err
}

func (c *Config) storage() error {
	if c.Store == nil {
		c.Store = NewMemoryStore()
		if c.StoreKey == nil {
			key, err := protocol.Random(storeKeySize)
			if err != nil {
				return err
			}
			c.StoreKey = key
		}
	}
	if len(c.StoreKey) < minStoreKey {
		return fmt.Errorf("store key of %d bytes, want at least %d", len(c.StoreKey), minStoreKey)
	}
	return nil
}

func (c *Config) origins() error {
	if err := checkOrigin(c.Relay); err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	if err := protocol.CheckAppOrigin(c.App); err != nil {
		return fmt.Errorf("app: %w", err)
	}
	for _, origin := range c.Origins {
		if err := checkOrigin(origin); err != nil {
			return fmt.Errorf("platform's origin: %w", err)
		}
	}
	version, err := largestQR(c.App)
	if err != nil {
		return err
	}
	if version > maxQRVersion {
		c.Logger.Warn("the app's origin is so long that codes are hard to scan",
			"app", c.App, "qr_version", version, "want_at_most", maxQRVersion)
	}
	return nil
}

func checkOrigin(origin string) error {
	if !protocol.IsOrigin(origin) {
		return fmt.Errorf("origin %q: want scheme://host[:port]", origin)
	}
	return nil
}

// identity checks the platform's keys and chain against each other.
func (c *Config) identity() (*trust.Verified, error) {
	if c.Anchors == nil || c.RequestKey == nil || c.APIKey == nil || len(c.LedgerKeys) == 0 {
		return nil, fmt.Errorf("configuration lacks anchors, request key, API key or ledger key")
	}
	own, err := c.Anchors.Verify(c.Chain, trust.VerifyOptions{Time: c.Clock(), Usage: trust.PlatformRequest})
	if err != nil {
		return nil, fmt.Errorf("the platform's certificate: %w", err)
	}
	if alg, err := protocol.AlgOf(c.RequestKey.Public()); err != nil || alg != protocol.AlgSM2 {
		return nil, fmt.Errorf("the request key is no SM2 key")
	}
	if alg, err := protocol.AlgOf(c.APIKey.Public()); err != nil || alg != protocol.AlgES256 {
		return nil, fmt.Errorf("the API key is no P-256 key")
	}
	if pub, ok := c.RequestKey.Public().(*ecdsa.PublicKey); !ok || !pub.Equal(own.Leaf().PublicKey) {
		return nil, fmt.Errorf("the platform's certificate is for another key than the request key")
	}
	who, err := trust.ReadIdentity(own)
	if err != nil {
		return nil, fmt.Errorf("the platform's certificate: %w", err)
	}
	if c.Platform == "" {
		c.Platform = who.PlatformID
	}
	if c.Name == "" {
		c.Name = who.CommonName
	}
	if who.PlatformID != c.Platform || who.CommonName != c.Name {
		return nil, fmt.Errorf("the certificate names platform %q (%q), the configuration %q (%q)",
			who.PlatformID, who.CommonName, c.Platform, c.Name)
	}
	if c.APIKeyID == "" {
		c.APIKeyID = c.Platform
	}
	return own, nil
}

// noRedirect keeps a relay or responder from sending the platform's server elsewhere.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
