package callsig

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func lookup(key crypto.PublicKey) Lookup {
	return func(_ context.Context, id string) (crypto.PublicKey, error) {
		if id != "p1" {
			return nil, ErrKey
		}
		return key, nil
	}
}

func TestAuthority(t *testing.T) {
	for origin, want := range map[string]string{
		"https://Relay.example.cn": "relay.example.cn", "https://relay.example.cn:443": "relay.example.cn", "http://relay.example.cn:80": "relay.example.cn",
		"https://relay.example.cn:80": "relay.example.cn:80", "http://127.0.0.1:8401": "127.0.0.1:8401", "https://[::1]:443": "[::1]", "http://[::1]:8401": "[::1]:8401",
	} {
		if got, err := Authority(origin); err != nil || got != want {
			t.Errorf("%s: %q, %v", origin, got, err)
		}
	}
	if got, err := Authority("relay"); err == nil {
		t.Errorf("no host gives %q", got)
	}
}

// TestRoundTrip: a signed request is verified as its receiver sees it, the body
// is still there, and signing again replaces the signature.
func TestRoundTrip(t *testing.T) {
	key := newKey(t)
	for _, body := range []string{"", "{}", "a longer body"} {
		var reader io.Reader
		if body != "" {
			reader = bytes.NewReader([]byte(body))
		}
		sent, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://relay.example.cn:443/v1/feed?after=1", reader)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := Sign(sent, key, "p1"); err != nil {
				t.Fatal(err)
			}
		}
		got := httptest.NewRequest(sent.Method, sent.URL.RequestURI(), sent.Body)
		got.Header = sent.Header
		raw, err := io.ReadAll(got.Body)
		if err != nil || string(raw) != body {
			t.Fatalf("body %q, %v", raw, err)
		}
		signed, err := Verify(got, raw, "relay.example.cn", lookup(key.Public()), time.Now())
		if err != nil || signed.KeyID != "p1" || len(signed.Nonce) < 16 {
			t.Fatalf("%+v, %v", signed, err)
		}
		for name, check := range map[string]struct {
			now  time.Time
			key  crypto.PublicKey
			want error
		}{
			"late": {time.Now().Add(MaxLife + time.Second), key.Public(), ErrTime}, "early": {time.Now().Add(-MaxAhead - time.Second), key.Public(), ErrTime},
			"another key": {time.Now(), newKey(t).Public(), ErrSignature},
		} {
			if _, err := Verify(got, raw, "relay.example.cn", lookup(check.key), check.now); !errors.Is(err, check.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := Verify(got, append(raw, 'x'), "relay.example.cn", lookup(key.Public()), time.Now()); err == nil {
			t.Error("another body was accepted")
		}
	}
}

// FuzzVerify: only errors of this package come out, and nothing is accepted.
func FuzzVerify(f *testing.F) {
	key := newKey(f)
	req, err := http.NewRequestWithContext(f.Context(), http.MethodGet, "http://relay.example.cn/v1/feed", nil)
	if err != nil {
		f.Fatal(err)
	}
	if err := Sign(req, key, "p1"); err != nil {
		f.Fatal(err)
	}
	f.Add(req.Header.Get("Signature-Input"), req.Header.Get("Signature"), "", "")
	f.Add(`sig1=("@method" "@authority" "@path" "@query" "content-digest");created=1;expires=2;nonce="aaaaaaaaaaaaaaaa";keyid="p1";tag="bidseal-relay-1"`, "sig1=:AA==:", "sha-256=:AA==:", "x")
	f.Fuzz(func(t *testing.T, input, signature, digest, body string) {
		got := httptest.NewRequest(http.MethodGet, "/v1/other", nil)
		got.Header.Set("Signature-Input", input)
		got.Header.Set("Signature", signature)
		if digest != "" {
			got.Header.Set("Content-Digest", digest)
		}
		_, err := Verify(got, []byte(body), "relay.example.cn", lookup(key.Public()), time.Now())
		for _, known := range []error{ErrForm, ErrDigest, ErrKey, ErrSignature, ErrTime} {
			if errors.Is(err, known) {
				return
			}
		}
		t.Fatalf("got %v", err)
	})
}
