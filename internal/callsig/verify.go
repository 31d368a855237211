package callsig

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
	"github.com/remitly-oss/httpsig-go"
)

// Reasons for which Verify refuses. Every error wraps one of them.
var (
	// ErrForm: the fields are missing, not well-formed or outside the profile.
	ErrForm = errors.New("not a signature of the profile")
	// ErrDigest: the body is not the one that was signed.
	ErrDigest = errors.New("content digest does not fit the body")
	// ErrKey: the key id is unknown.
	ErrKey = errors.New("unknown key id")
	// ErrSignature: the signature does not verify.
	ErrSignature = errors.New("signature does not verify")
	// ErrTime: the signature is good, its time is not.
	ErrTime = errors.New("signature is outside its time")
)

// maxField bounds each of the two signature fields, in bytes.
const maxField = 2048

// Signed is a verified call.
type Signed struct {
	KeyID   string
	Nonce   string    // unseen nonces have to be stored until Expires
	Expires time.Time // not after now + MaxAhead + MaxLife
	// Base and Signature of an operator's call are what was signed and the
	// signature in DER: kept, they show to anybody what the operator ordered.
	Base, Signature []byte
}

// Lookup finds the P-256 key of a key id, ErrKey where there is none. It is
// called before anything is verified.
type Lookup func(ctx context.Context, keyID string) (crypto.PublicKey, error)

// Verify checks a call against the profile. body is what was read of the
// request's body, authority the relay's own, see Authority. req is not changed.
//
// The library does the cryptography. What it leaves open is closed here before
// it is called: a second field line or label, other spellings, parameters on
// components ("@query-param", ";sf", ";req"), repeated components, values of
// other types (on which it panics), missing tag, nonce or expires, digests that
// it does not know, and a clock of its own.
func Verify(req *http.Request, body []byte, authority string, lookup Lookup, now time.Time) (*Signed, error) {
	p, err := parse(req.Header)
	if err != nil {
		return nil, err
	}
	if p.alg != "" && p.alg != string(algorithm) {
		return nil, fmt.Errorf("%w: parameter alg", ErrForm)
	}
	if err := p.check(Tag, len(body) > 0); err != nil {
		return nil, err
	}
	if req.URL.RawPath != "" { // an escaped path: "@path" would be the decoded one
		return nil, fmt.Errorf("%w: path with escapes", ErrForm)
	}
	if err := checkDigest(req.Header, body, slices.Contains(p.components, "content-digest")); err != nil {
		return nil, err
	}
	key, err := lookup(req.Context(), p.keyID)
	if err != nil {
		return nil, err
	}
	if k, ok := key.(*ecdsa.PublicKey); !ok || k.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%w: key is not P-256", ErrKey)
	}
	shadow := req.Clone(req.Context())
	shadow.Host = authority
	shadow.Body = io.NopCloser(bytes.NewReader(body))
	profile := httpsig.VerifyProfile{SignatureLabel: p.label, AllowedAlgorithms: []httpsig.Algorithm{algorithm}, DisableTimeEnforcement: true}
	result, err := httpsig.Verify(shadow, fetched{key}, profile)
	if err != nil || !result.Verified {
		return nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return p.signed(now)
}

// signed judges the time of a signature that was found good.
func (p *parameters) signed(now time.Time) (*Signed, error) {
	expires := time.Unix(p.expires, 0)
	if time.Unix(p.created, 0).After(now.Add(MaxAhead)) || now.After(expires) {
		return nil, fmt.Errorf("%w: created %d, expires %d, now %d", ErrTime, p.created, p.expires, now.Unix())
	}
	return &Signed{KeyID: p.keyID, Nonce: p.nonce, Expires: expires}, nil
}

// parameters are the contents of the two fields.
type parameters struct {
	label            string
	components       []string
	created, expires int64
	nonce, keyID     string
	tag, alg         string
	signature        []byte // r | s
	input            string // the value of Signature-Input behind the label
}

// single reads a field that stands once and holds a dictionary of one member
// in canonical spelling.
func single(h http.Header, name string) (string, httpsfv.Member, error) {
	lines := h.Values(name)
	if len(lines) != 1 || len(lines[0]) > maxField {
		return "", nil, fmt.Errorf("%w: want one %s of at most %d bytes", ErrForm, name, maxField)
	}
	dict, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil || len(dict.Names()) != 1 {
		return "", nil, fmt.Errorf("%w: %s is not a dictionary with one member", ErrForm, name)
	}
	if text, err := httpsfv.Marshal(dict); err != nil || text != lines[0] {
		return "", nil, fmt.Errorf("%w: %s is not in canonical form", ErrForm, name)
	}
	label := dict.Names()[0]
	member, _ := dict.Get(label)
	return label, member, nil
}

func parse(h http.Header) (*parameters, error) {
	label, member, err := single(h, "Signature-Input")
	if err != nil {
		return nil, err
	}
	other, value, err := single(h, "Signature")
	if err != nil {
		return nil, err
	}
	list, isList := member.(httpsfv.InnerList)
	item, isItem := value.(httpsfv.Item)
	if label != other || !isList || !isItem || len(item.Params.Names()) != 0 {
		return nil, fmt.Errorf("%w: labels or types differ", ErrForm)
	}
	sig, ok := item.Value.([]byte)
	if !ok || len(sig) != 64 {
		return nil, fmt.Errorf("%w: signature is not of 64 bytes", ErrForm)
	}
	// canonical spelling: the text behind "label=" is the parameters' own
	p := &parameters{label: label, signature: sig, input: strings.TrimPrefix(h.Get("Signature-Input"), label+"=")}
	for _, c := range list.Items {
		name, ok := c.Value.(string)
		if !ok || len(c.Params.Names()) != 0 || slices.Contains(p.components, name) {
			return nil, fmt.Errorf("%w: component with parameters, repeated, or no string", ErrForm)
		}
		p.components = append(p.components, name)
	}
	return p, p.params(list.Params)
}

// params reads the signature parameters by type; another type is refused.
func (p *parameters) params(params *httpsfv.Params) error {
	for _, name := range params.Names() {
		value, _ := params.Get(name)
		var ok bool
		switch name {
		case "created":
			p.created, ok = value.(int64)
		case "expires":
			p.expires, ok = value.(int64)
		case "nonce":
			p.nonce, ok = value.(string)
		case "keyid":
			p.keyID, ok = value.(string)
		case "tag":
			p.tag, ok = value.(string)
		case "alg":
			p.alg, ok = value.(string)
		}
		if !ok {
			return fmt.Errorf("%w: parameter %s", ErrForm, name)
		}
	}
	return nil
}

func (p *parameters) check(tag string, hasBody bool) error {
	known := append(components(), "content-digest")
	for _, name := range known {
		if !slices.Contains(p.components, name) && (name != "content-digest" || hasBody) {
			return fmt.Errorf("%w: %s is not covered", ErrForm, name)
		}
	}
	for _, name := range p.components {
		if !slices.Contains(known, name) {
			return fmt.Errorf("%w: component %q", ErrForm, name)
		}
	}
	life := p.expires - p.created
	switch {
	case p.tag != tag:
		return fmt.Errorf("%w: tag %q", ErrForm, p.tag)
	case p.keyID == "" || len(p.keyID) > 128:
		return fmt.Errorf("%w: keyid", ErrForm)
	case p.created <= 0 || life <= 0 || life > int64(MaxLife/time.Second):
		return fmt.Errorf("%w: created and expires", ErrForm)
	case len(p.nonce) < 16 || len(p.nonce) > 64:
		return fmt.Errorf("%w: nonce of %d characters", ErrForm, len(p.nonce))
	}
	for _, c := range []byte(p.nonce) {
		if !base64Char(c) {
			return fmt.Errorf("%w: nonce is not base64", ErrForm)
		}
	}
	return nil
}

func base64Char(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '+' || c == '/' || c == '-' || c == '_' || c == '='
}

// checkDigest compares Content-Digest with the body. A field that is not
// covered must not be there: it would look as if it were.
func checkDigest(h http.Header, body []byte, covered bool) error {
	lines := h.Values("Content-Digest")
	if !covered && len(lines) == 0 {
		return nil
	}
	label, member, err := single(h, "Content-Digest")
	if err != nil {
		return err
	}
	item, _ := member.(httpsfv.Item)
	digest, _ := item.Value.([]byte)
	if label != "sha-256" || !covered {
		return fmt.Errorf("%w: want a covered sha-256 digest", ErrForm)
	}
	want := sha256.Sum256(body)
	if subtle.ConstantTimeCompare(want[:], digest) != 1 {
		return ErrDigest
	}
	return nil
}

// fetched hands the key that was looked up to the library.
type fetched struct{ key crypto.PublicKey }

// FetchByKeyID returns the key.
func (f fetched) FetchByKeyID(_ context.Context, _ http.Header, id string) (httpsig.KeySpecer, error) {
	return httpsig.KeySpec{KeyID: id, Algo: algorithm, PubKey: f.key}, nil
}

// Fetch refuses: the profile requires a key id.
func (f fetched) Fetch(context.Context, http.Header, httpsig.MetadataProvider) (httpsig.KeySpecer, error) {
	return nil, ErrKey
}
