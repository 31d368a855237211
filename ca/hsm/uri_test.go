package hsm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const goodURI = "pkcs11:token=bid%20seal;object=issuing-1?module-path=/usr/lib/m.so&pin-source=file:/etc/pin"

func TestParseURI(t *testing.T) {
	u, err := parseURI(goodURI)
	must(t, err)
	if u != (keyURI{"/usr/lib/m.so", "bid seal", "issuing-1", "/etc/pin", ckmECDSA}) {
		t.Errorf("%+v", u)
	}
	u, err = parseURI(strings.Replace(goodURI, "file:/etc", "file:///etc", 1) + "&x-mechanism=0x80000105")
	must(t, err)
	if u.pinFile != "/etc/pin" || u.mechanism != 0x80000105 {
		t.Errorf("%+v", u)
	}
	for _, bad := range []string{
		"", "pkcs11:", "pkcs12:token=a", goodURI + "&pin-value=1234", goodURI + "&x-mechanism=none", goodURI + "&token=b", goodURI + "&unknown=1",
		strings.Replace(goodURI, "object=issuing-1", "object=", 1), strings.Replace(goodURI, "object=issuing-1", "object", 1),
		strings.Replace(goodURI, "file:/etc/pin", "|cat", 1), strings.Replace(goodURI, "file:/etc/pin", "file:pin", 1),
		strings.Replace(goodURI, "%20", "%zz", 1), goodURI + strings.Repeat("x", maxURI),
	} {
		if u, err := parseURI(bad); !errors.Is(err, errURI) {
			t.Errorf("%q: %+v, %v", bad, u, err)
		}
	}
}

func TestPIN(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pin")
	for text, want := range map[string]string{"1234\n": "1234", "1234\r\nrest": "1234", "12 34": "12 34"} {
		must(t, os.WriteFile(path, []byte(text), 0o600))
		got, err := keyURI{pinFile: path}.pin()
		must(t, err)
		if got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
	must(t, os.WriteFile(path, []byte("\n"), 0o600))
	if _, err := (keyURI{pinFile: path}).pin(); err == nil {
		t.Error("an empty PIN")
	}
	if _, err := (keyURI{pinFile: path + "x"}).pin(); err == nil {
		t.Error("no file")
	}
}

func FuzzParseURI(f *testing.F) {
	f.Add(goodURI)
	f.Fuzz(func(t *testing.T, text string) {
		u, err := parseURI(text)
		if err != nil && !errors.Is(err, errURI) || err == nil && (u.object == "" || !filepath.IsAbs(u.pinFile)) {
			t.Errorf("%+v, %v", u, err)
		}
	})
}
