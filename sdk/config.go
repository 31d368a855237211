package bidseal

import (
	"context"
	"crypto"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/bidseal/bidseal/ca/trust"
	"github.com/emmansun/gmsm/smx509"
)

// Config is what a platform's client needs. [LoadConfig] reads it from the
// folder that the registration wrote.
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
	// LedgerKey is the key by which the relay signs its ledger's promises, as
	// the registration names it.
	LedgerKey crypto.PublicKey
	// Anchors are the roots under which users' certificates are accepted; the
	// platform's own chain ends there, too.
	Anchors *trust.Store
	// OCSP fetches certificate status; nil asks the responders that the
	// certificates name, or OCSPURL where it is set, through HTTP.
	OCSP    StatusSource
	OCSPURL string
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

// StatusSource fetches OCSP answers. The client judges and caches them.
type StatusSource interface {
	// OCSP asks the authority for the status of cert, which issuer issued, and
	// returns its DER answer (RFC 6960).
	OCSP(ctx context.Context, cert, issuer *smx509.Certificate) ([]byte, error)
}
