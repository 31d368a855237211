package folder

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"strings"

	"github.com/bidseal/bidseal/ca/issuance"
)

// Tokens makes and opens keys in hardware security modules; package hsm is one
// over PKCS#11. URIs are those of RFC 7512. Signers must be safe for concurrent
// use and, as gmsm's keys do, take the whole message for SM2 and the digest for
// the others.
type Tokens interface {
	// Generate makes a key pair whose private half never leaves the token. It
	// refuses a URI under which there is a key.
	Generate(ctx context.Context, uri string, family issuance.Family) (crypto.Signer, error)
	// Open finds the key pair of a URI.
	Open(ctx context.Context, uri string) (crypto.Signer, error)
}

const tokenScheme = "pkcs11:"

var errNoTokens = errors.New("the key lives in a hardware security module, and this program has no access to one: build it with -tags pkcs11")

// checkKeys refuses purposes that do not exist and PINs in the configuration.
func (c *Config) checkKeys() error {
	for purpose, uri := range c.Keys {
		switch purpose {
		case keyRoot, "issuing", keyOCSP, keyTSA, keyPass, keyAudit:
		default:
			return fmt.Errorf("keys: no purpose %q", purpose)
		}
		if err := checkKeyURI(uri); err != nil {
			return fmt.Errorf("keys: %s: %w", purpose, err)
		}
	}
	return nil
}

func checkKeyURI(uri string) error {
	switch {
	case !strings.HasPrefix(uri, tokenScheme):
		return errors.New("not a pkcs11: URI")
	case strings.Contains(uri, "pin-value"):
		return errors.New("a PIN must not be in the configuration: name its file by pin-source")
	}
	return nil
}

// keyURI is where a key of the ceremony is made, "" for a file.
func (c *Config) keyURI(purpose string) string {
	if strings.HasPrefix(purpose, issuingPrefix) {
		purpose = "issuing"
	}
	return c.Keys[purpose]
}

// makeKey draws a key, in a token if there is a URI.
func makeKey(ctx context.Context, tokens Tokens, uri string, family issuance.Family) (crypto.Signer, error) {
	if uri == "" {
		return family.GenerateKey()
	}
	if err := checkKeyURI(uri); err != nil {
		return nil, err
	}
	if tokens == nil {
		return nil, errNoTokens
	}
	key, err := tokens.Generate(ctx, uri, family)
	if err != nil {
		return nil, err
	}
	if got := issuance.FamilyOf(key.Public()); got != family {
		return nil, fmt.Errorf("the token made a key of family %q, not %s", got, family)
	}
	return key, nil
}
