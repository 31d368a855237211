package relay

import (
	"context"
	"crypto"
	"slices"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
)

// Directory says who may use the relay: the registered platforms and the
// devices that may not.
type Directory interface {
	// Platform reads a registered platform, blocked ones too. ErrNotFound.
	Platform(ctx context.Context, id string) (Platform, error)
	// Platforms lists all, by id.
	Platforms(ctx context.Context) ([]Platform, error)
	// PutPlatform adds a platform or replaces its registration; Blocked of an
	// existing one stays.
	PutPlatform(ctx context.Context, p Platform) error
	// BlockPlatform sets or lifts the block. ErrNotFound.
	BlockPlatform(ctx context.Context, id string, blocked bool) error
	// Denied reports whether a device is on the deny list.
	Denied(ctx context.Context, device string) (bool, error)
	// DenyDevice puts a device on the list or takes it off.
	DenyDevice(ctx context.Context, device, reason string, denied bool) error
}

// Platform is a registered platform.
type Platform struct {
	ID        string         `json:"id"`
	Name      string         `json:"name"`
	ChainHash protocol.Bytes `json:"chain_digest"` // SM3 over the chain's certificates
	APIKey    protocol.Bytes `json:"api_key"`      // SubjectPublicKeyInfo, P-256
	Origins   []string       `json:"origins"`      // web origins whose pages may watch
	MaxOpen   int            `json:"max_open,omitempty"`
	MaxKeep   int64          `json:"max_keep"` // seconds a result may wait for the ack
	Blocked   bool           `json:"blocked"`
	Added     time.Time      `json:"added"`
}

// PlatformRegistration is registration.json, the document that the authority's
// approval hands to the relay's operator; caapi.PlatformRegistration is the same
// document on the authority's side.
type PlatformRegistration struct {
	V          int              `json:"v"` // 1
	PlatformID string           `json:"platform_id"`
	Name       string           `json:"name"`
	Chain      []protocol.Bytes `json:"chain"`   // DER, platform certificate first
	APIKey     protocol.Bytes   `json:"api_key"` // SubjectPublicKeyInfo, P-256
	Origins    []string         `json:"origins"`
}

// ReadPlatformRegistration reads a registration and verifies it against the relay's
// anchors: the chain has to be a platform's, with the registration's id and name.
func ReadPlatformRegistration(raw []byte, anchors *trust.Store, now time.Time) (*Platform, error) {
	var reg PlatformRegistration
	if err := protocol.DecodeJSON(raw, &reg); err != nil {
		return nil, err
	}
	ders := make([][]byte, len(reg.Chain))
	for i, der := range reg.Chain {
		ders[i] = der
	}
	chain, err := trust.ParseChain(ders)
	if err != nil {
		return nil, protocol.Errorf(protocol.CodePlatformUntrusted, "%v", err)
	}
	verified, err := anchors.Verify(chain, trust.VerifyOptions{Time: now, Usage: trust.PlatformRequest})
	if err != nil {
		return nil, protocol.Errorf(protocol.CodePlatformUntrusted, "%v", err)
	}
	who, err := trust.ReadIdentity(verified)
	if err != nil {
		return nil, protocol.Errorf(protocol.CodePlatformUntrusted, "%v", err)
	}
	if reg.V != protocol.Version || who.PlatformID == "" || who.PlatformID != reg.PlatformID || who.CommonName != reg.Name {
		return nil, protocol.Errorf(protocol.CodePlatformUntrusted, "registration and certificate name different platforms")
	}
	if err := checkAPIKey(reg.APIKey); err != nil {
		return nil, err
	}
	for _, origin := range reg.Origins {
		if !protocol.IsOrigin(origin) {
			return nil, protocol.Errorf(protocol.CodeMalformed, "origin %q", origin)
		}
	}
	return &Platform{ID: reg.PlatformID, Name: reg.Name, ChainHash: protocol.H(ders...), APIKey: reg.APIKey,
		Origins: slices.Clone(reg.Origins), MaxKeep: int64(protocol.KeepLimit / time.Second), Added: now.UTC()}, nil
}

func checkAPIKey(spki []byte) error {
	key, err := protocol.ParseKey(spki)
	if err != nil {
		return err
	}
	if alg, err := protocol.AlgOf(key); err != nil || alg != protocol.AlgES256 {
		return protocol.Errorf(protocol.CodeMalformed, "the API key is not a P-256 key")
	}
	return nil
}

// platformKey is a platform as the relay keeps it in memory.
type platformKey struct {
	Platform
	key crypto.PublicKey
}
