package callsig

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/emmansun/gmsm/sm2"
)

func newSM2(t testing.TB) *sm2.PrivateKey {
	t.Helper()
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

const operatorURL = "https://ca.example.cn:443/v1/operator/recoveries?x=1"

// call is a signed call as its receiver sees it.
func call(t testing.TB, key crypto.Signer, method, url, body string, now time.Time) (*http.Request, []byte) {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	sent, err := http.NewRequestWithContext(t.Context(), method, url, reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := SignSM2(sent, key, "p1", now); err != nil {
		t.Fatal(err)
	}
	got := httptest.NewRequest(sent.Method, sent.URL.RequestURI(), sent.Body)
	got.Header = sent.Header
	return got, []byte(body)
}

// TestBaseIsTheLibrarys: what the library signs for a platform is the base that
// is put together here.
func TestBaseIsTheLibrarys(t *testing.T) {
	key := newKey(t)
	for _, url := range []string{"https://relay.example.cn:443/v1/feed?after=1&x=a%20b", "https://relay.example.cn/", "http://127.0.0.1:8401/a/b"} {
		sent, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if err := Sign(sent, key, "p1"); err != nil {
			t.Fatal(err)
		}
		p, err := parse(sent.Header)
		if err != nil {
			t.Fatal(err)
		}
		digest := sha256.Sum256(base(sent, sent.Host, p.components, p.input))
		r, s := new(big.Int).SetBytes(p.signature[:32]), new(big.Int).SetBytes(p.signature[32:])
		if !ecdsa.Verify(&key.PublicKey, digest[:], r, s) {
			t.Errorf("%s: another base", url)
		}
	}
}

func TestOperatorRoundTrip(t *testing.T) {
	key, now := newSM2(t), time.Now()
	for _, body := range []string{"", `{"v":1}`} {
		req, raw := call(t, key, http.MethodPost, operatorURL, body, now)
		signed, err := VerifySM2(req, raw, "ca.example.cn", lookup(key.Public()), now)
		if err != nil || signed.KeyID != "p1" || len(signed.Nonce) < 16 {
			t.Fatalf("%+v, %v", signed, err)
		}
		if body == "" {
			continue
		}
		if err := VerifyKept(key.Public(), signed.Base, signed.Signature, http.MethodPost, "/v1/operator/recoveries", raw); err != nil {
			t.Error(err)
		}
		for name, err := range map[string]error{
			"method": VerifyKept(key.Public(), signed.Base, signed.Signature, http.MethodPut, "/v1/operator/recoveries", raw),
			"path":   VerifyKept(key.Public(), signed.Base, signed.Signature, http.MethodPost, "/v1/operator", raw),
			"body":   VerifyKept(key.Public(), signed.Base, signed.Signature, http.MethodPost, "/v1/operator/recoveries", []byte("x")),
			"key":    VerifyKept(newSM2(t).Public(), signed.Base, signed.Signature, http.MethodPost, "/v1/operator/recoveries", raw),
		} {
			if err == nil {
				t.Errorf("a kept call with another %s", name)
			}
		}
	}
}

// TestOperatorRefusals: everything that can be altered on the way.
func TestOperatorRefusals(t *testing.T) {
	key, now := newSM2(t), time.Now()
	for name, v := range map[string]struct {
		change func(*http.Request)
		body   string
		at     time.Time
		key    crypto.PublicKey
		want   error
	}{
		"method":       {change: func(r *http.Request) { r.Method = "PUT" }, want: ErrSignature},
		"path":         {change: func(r *http.Request) { r.URL.Path = "/v1/operator/codes" }, want: ErrSignature},
		"query":        {change: func(r *http.Request) { r.URL.RawQuery = "x=2" }, want: ErrSignature},
		"no query":     {change: func(r *http.Request) { r.URL.RawQuery = "" }, want: ErrSignature},
		"escaped path": {change: func(r *http.Request) { r.URL.RawPath = "/v1/operator%2Frecoveries" }, want: ErrForm},
		"body":         {body: `{"v":2}`, want: ErrDigest},
		"own digest":   {change: func(r *http.Request) { r.Header.Set("Content-Digest", "sha-256=:"+strings.Repeat("A", 43)+"=:") }, want: ErrDigest},
		"no digest":    {change: func(r *http.Request) { r.Header.Del("Content-Digest") }, want: ErrForm},
		"late":         {at: now.Add(MaxLife + time.Second), want: ErrTime},
		"early":        {at: now.Add(-MaxAhead - time.Second), want: ErrTime},
		"other key":    {key: newSM2(t).Public(), want: ErrSignature},
		"P-256 key":    {key: newKey(t).Public(), want: ErrKey},
		"platform tag": {change: rewrite(OperatorTag, Tag), want: ErrForm},
		"other keyid":  {change: rewrite(`keyid="p1"`, `keyid="p2"`), want: ErrKey},
		"alg":          {change: rewrite(`;tag=`, `;alg="ecdsa-p256-sha256";tag=`), want: ErrForm},
		"longer life":  {change: rewrite(`expires=`, `expires=9`), want: ErrForm},
		"uncovered":    {change: rewrite(` "@query"`, ``), want: ErrForm},
		"unsigned":     {change: func(r *http.Request) { r.Header.Del("Signature") }, want: ErrForm},
		"short":        {change: func(r *http.Request) { r.Header.Set("Signature", "sig1=:AAAA:") }, want: ErrForm},
		"zero":         {change: func(r *http.Request) { r.Header.Set("Signature", "sig1=:"+strings.Repeat("A", 86)+"==:") }, want: ErrSignature},
		"twice":        {change: func(r *http.Request) { r.Header.Add("Signature", r.Header.Get("Signature")) }, want: ErrForm},
	} {
		body := v.body
		if body == "" {
			body = `{"v":1}`
		}
		req, _ := call(t, key, http.MethodPost, operatorURL, `{"v":1}`, now)
		if v.change != nil {
			v.change(req)
		}
		if v.at.IsZero() {
			v.at = now
		}
		if v.key == nil {
			v.key = key.Public()
		}
		if _, err := VerifySM2(req, []byte(body), "ca.example.cn", lookup(v.key), v.at); !errors.Is(err, v.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	req, raw := call(t, key, http.MethodPost, operatorURL, `{"v":1}`, now)
	if _, err := VerifySM2(req, raw, "other.example.cn", lookup(key.Public()), now); !errors.Is(err, ErrSignature) {
		t.Errorf("another authority: %v", err)
	}
	if _, err := Verify(req, raw, "ca.example.cn", lookup(key.Public()), now); !errors.Is(err, ErrForm) {
		t.Errorf("at a relay: %v", err)
	}
	fresh, err := http.NewRequestWithContext(t.Context(), http.MethodGet, operatorURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := SignSM2(fresh, newKey(t), "p1", now); !errors.Is(err, ErrKey) {
		t.Errorf("signed with P-256: %v", err)
	}
}

func rewrite(from, to string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Signature-Input", strings.Replace(r.Header.Get("Signature-Input"), from, to, 1))
	}
}

// FuzzVerifySM2: only errors of this package come out, and nothing is accepted.
func FuzzVerifySM2(f *testing.F) {
	key, now := newSM2(f), time.Now()
	req, _ := call(f, key, http.MethodGet, operatorURL, "", now)
	f.Add(req.Header.Get("Signature-Input"), req.Header.Get("Signature"), "", []byte(nil))
	f.Add(`sig1=("@method" "@authority" "@path" "@query" "content-digest");created=1;expires=2;nonce="aaaaaaaaaaaaaaaa";keyid="p1";tag="bidseal-operator-1"`, "sig1=:AA==:", "sha-256=:AA==:", []byte("x"))
	f.Fuzz(func(t *testing.T, input, signature, digest string, body []byte) {
		got := httptest.NewRequest(http.MethodGet, "/v1/other", bytes.NewReader(body))
		got.Header.Set("Signature-Input", input)
		got.Header.Set("Signature", signature)
		if digest != "" {
			got.Header.Set("Content-Digest", digest)
		}
		_, err := VerifySM2(got, body, "ca.example.cn", lookup(key.Public()), now)
		for _, known := range []error{ErrForm, ErrDigest, ErrKey, ErrSignature, ErrTime} {
			if errors.Is(err, known) {
				return
			}
		}
		t.Fatalf("got %v", err)
	})
}
