package callsig

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
)

// OperatorTag is the tag parameter of operators' calls.
const OperatorTag = "bidseal-operator-1"

// maxSigned bounds the body that SignSM2 reads, in bytes.
const maxSigned = 1 << 20

// ecdsaSignature is the DER form of r and s.
type ecdsaSignature struct{ R, S *big.Int }

// SignSM2 signs an operator's call with the SM2 key of the certificate whose
// serial number keyID is. Like Sign it sets the three fields and the host.
func SignSM2(req *http.Request, key crypto.Signer, keyID string, now time.Time) error {
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
		body, err := io.ReadAll(io.LimitReader(req.Body, maxSigned))
		if err != nil {
			return fmt.Errorf("sign operator's call: %w", err)
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
		digest := sha256.Sum256(body)
		req.Header.Set("Content-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(digest[:])+":")
		fields = append(fields, "content-digest")
	}
	nonce := make([]byte, 18)
	if _, err := rand.Read(nonce); err != nil {
		return fmt.Errorf("sign operator's call: %w", err)
	}
	input := fmt.Sprintf(`("%s");created=%d;expires=%d;nonce="%s";keyid="%s";tag="%s"`, strings.Join(fields, `" "`),
		now.Unix(), now.Add(MaxLife).Unix(), base64.RawURLEncoding.EncodeToString(nonce), keyID, OperatorTag)
	raw, err := signRaw(key, base(req, authority, fields, input))
	if err != nil {
		return fmt.Errorf("sign operator's call: %w", err)
	}
	req.Header.Set("Signature-Input", "sig1="+input)
	req.Header.Set("Signature", "sig1=:"+base64.StdEncoding.EncodeToString(raw)+":")
	return nil
}

// base is the signature base of RFC 9421 2.5 for the profile's components.
func base(req *http.Request, authority string, fields []string, input string) []byte {
	path := req.URL.Path
	if path == "" {
		path = "/"
	}
	values := map[string]string{
		"@method": req.Method, "@authority": authority, "@path": path, "@query": "?" + req.URL.RawQuery,
		"content-digest": req.Header.Get("Content-Digest"),
	}
	var b strings.Builder
	for _, name := range fields {
		fmt.Fprintf(&b, "\"%s\": %s\n", name, values[name])
	}
	b.WriteString(`"@signature-params": ` + input)
	return []byte(b.String())
}

func signRaw(key crypto.Signer, message []byte) ([]byte, error) {
	if public, ok := key.Public().(*ecdsa.PublicKey); !ok || !sm2.IsSM2PublicKey(public) {
		return nil, fmt.Errorf("%w: key is not SM2", ErrKey)
	}
	der, err := protocol.Sign(key, message)
	if err != nil {
		return nil, err
	}
	var s ecdsaSignature
	if _, err := asn1.Unmarshal(der, &s); err != nil {
		return nil, err
	}
	raw := make([]byte, 64)
	s.R.FillBytes(raw[:32])
	s.S.FillBytes(raw[32:])
	return raw, nil
}

// VerifySM2 checks an operator's call against the profile, as Verify does for a
// platform's. lookup returns the SM2 key of a certificate's serial number.
func VerifySM2(req *http.Request, body []byte, authority string, lookup Lookup, now time.Time) (*Signed, error) {
	p, err := parse(req.Header)
	if err != nil {
		return nil, err
	}
	if p.alg != "" {
		return nil, fmt.Errorf("%w: parameter alg", ErrForm)
	}
	if err := p.check(OperatorTag, len(body) > 0); err != nil {
		return nil, err
	}
	if req.URL.RawPath != "" || strings.ContainsAny(req.URL.Path+req.URL.RawQuery, "\r\n") {
		return nil, fmt.Errorf("%w: path with escapes", ErrForm)
	}
	if err := checkDigest(req.Header, body, slices.Contains(p.components, "content-digest")); err != nil {
		return nil, err
	}
	key, err := lookup(req.Context(), p.keyID)
	if err != nil {
		return nil, err
	}
	if k, ok := key.(*ecdsa.PublicKey); !ok || !sm2.IsSM2PublicKey(k) {
		return nil, fmt.Errorf("%w: key is not SM2", ErrKey)
	}
	message := base(req, authority, p.components, p.input)
	der, err := asn1.Marshal(ecdsaSignature{new(big.Int).SetBytes(p.signature[:32]), new(big.Int).SetBytes(p.signature[32:])})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	if !protocol.Verify(key, message, der) {
		return nil, ErrSignature
	}
	signed, err := p.signed(now)
	if err != nil {
		return nil, err
	}
	signed.Base, signed.Signature = message, der
	return signed, nil
}

// VerifyKept checks what was kept of a call (Signed.Base, Signed.Signature) under
// a certificate's key once more: that the operator signed it, and that it orders
// method and path with this body.
func VerifyKept(key crypto.PublicKey, keptBase, signature []byte, method, path string, body []byte) error {
	if !protocol.Verify(key, keptBase, signature) {
		return ErrSignature
	}
	digest := sha256.Sum256(body)
	for _, want := range []string{
		"\"@method\": " + method, "\"@path\": " + path,
		"\"content-digest\": sha-256=:" + base64.StdEncoding.EncodeToString(digest[:]) + ":",
	} {
		if !slices.Contains(strings.Split(string(keptBase), "\n"), want) {
			return fmt.Errorf("%w: the kept call orders something else", ErrDigest)
		}
	}
	return nil
}
