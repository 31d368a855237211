// Package callsig holds the one profile of RFC 9421 by which a platform signs
// its calls to a relay: Sign for the caller, Verify for the relay.
//
// The profile, exactly:
//
//   - One signature: one Signature-Input and one Signature field, each a
//     dictionary of one member with the same label (Sign writes "sig1"), in the
//     canonical spelling of RFC 8941.
//   - Components, none with parameters, each once, in any order: "@method",
//     "@authority", "@path", "@query", and "content-digest". The last one is
//     required where the request has a body of at least one byte and may be left
//     out where it has none: a GET, an empty POST, the upgrade to WebSocket.
//   - "@authority" is host[:port] of the relay's configured origin in lower case,
//     without the scheme's default port. "@query" of a URL without a query is "?".
//   - Content-Digest (RFC 9530) has exactly one member, sha-256, over the body's bytes.
//   - Parameters, all required: created, expires (at most 60 s later), nonce (16
//     to 64 characters of base64, never used twice), keyid (the platform's API
//     key id; its platform id where none was agreed), tag "bidseal-relay-1".
//     alg may be given and is then "ecdsa-p256-sha256"; nothing else may.
//   - Algorithm: ecdsa-p256-sha256, r | s of 32 bytes each.
//
// SignSM2 and VerifySM2 are the same profile for the operators of an authority,
// whose certificates are for SM2 keys: the tag is "bidseal-operator-1", keyid the
// certificate's serial number in upper-case hexadecimal, alg is never given (no
// register names SM2; RFC 9421 3.3.7 lets the key decide), and the signature is
// SM2 with SM3 and the default user id, r | s of 32 bytes each.
package callsig

import (
	"crypto"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/remitly-oss/httpsig-go"
)

// Tag is the tag parameter of the profile, the same as protocol.SignatureTag.
const Tag = "bidseal-relay-1"

// MaxLife is the longest time between created and expires.
const MaxLife = 60 * time.Second

// MaxAhead is how far created may lie in the verifier's future.
const MaxAhead = 60 * time.Second

const algorithm = httpsig.Algo_ECDSA_P256_SHA256

// components that every signature covers.
func components() []string { return []string{"@method", "@authority", "@path", "@query"} }

// Sign signs a request with a P-256 key. It sets Content-Digest (where the
// request has a body), Signature-Input and Signature, and replaces the body by
// one that can be read again. It writes the host in the form that is signed.
func Sign(req *http.Request, key crypto.Signer, keyID string) error {
	authority, err := authorityOf(req.URL.Scheme, req.URL.Host)
	if err != nil {
		return err
	}
	req.Host = authority
	for _, name := range []string{"Content-Digest", "Signature-Input", "Signature"} {
		req.Header.Del(name)
	}
	fields := components()
	if req.Body != nil && req.Body != http.NoBody {
		fields = append(fields, "content-digest")
	}
	profile := httpsig.SigningProfile{
		Algorithm: algorithm, Digest: httpsig.DigestSHA256, Fields: httpsig.Fields(fields...), ExpiresDuration: MaxLife,
		Metadata: []httpsig.Metadata{httpsig.MetaCreated, httpsig.MetaExpires, httpsig.MetaNonce, httpsig.MetaKeyID, httpsig.MetaTag},
	}
	signer := httpsig.SigningKeyOpts{Signer: key, ASN1ForECDSA: true}
	if err := httpsig.Sign(req, profile, httpsig.SigningKey{Opts: signer, MetaKeyID: keyID, MetaTag: Tag}); err != nil {
		return fmt.Errorf("sign call to the relay: %w", err)
	}
	return nil
}

// Authority is the "@authority" of an origin: scheme://host[:port].
func Authority(origin string) (string, error) {
	u, err := url.Parse(origin)
	if err != nil {
		return "", fmt.Errorf("origin %q: %w", origin, err)
	}
	return authorityOf(u.Scheme, u.Host)
}

func authorityOf(scheme, host string) (string, error) {
	host = strings.ToLower(host)
	if host == "" {
		return "", fmt.Errorf("a URL without a host")
	}
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		return host, nil // no port
	}
	switch scheme {
	case "https", "wss":
		if port != "443" {
			return host, nil
		}
	case "http", "ws":
		if port != "80" {
			return host, nil
		}
	default:
		return host, nil
	}
	if strings.Contains(name, ":") {
		name = "[" + name + "]"
	}
	return name, nil
}
