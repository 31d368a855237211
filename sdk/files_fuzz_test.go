package bidseal_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/bidseal/bidseal/ca/catest"
	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/emmansun/gmsm/smx509"
)

// FuzzConfigFiles: whatever one of a configuration's files holds, LoadConfig returns a complete configuration or an error.
// Slow.
func FuzzConfigFiles(f *testing.F) {
	files := configFiles(f)
	var names []string
	for name, raw := range files {
		names = append(names, name)
		f.Add(name, raw)
		f.Add(name, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	}
	f.Fuzz(func(t *testing.T, altered string, raw []byte) {
		dir := t.TempDir()
		for _, name := range names {
			content := files[name]
			if name == altered {
				content = raw
			}
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if altered == "platform.json" && json.Valid(raw) {
			return // names files of its own choice, which are not to be looked for here
		}
		config, err := bidseal.LoadConfig(dir)
		if err != nil {
			return
		}
		if config.RequestKey == nil || config.APIKey == nil || len(config.Chain) == 0 || config.Anchors == nil || len(config.LedgerKeys) == 0 || len(config.StoreKey) != 32 {
			t.Fatalf("%s: an incomplete configuration", altered)
		}
		if closer, ok := config.Store.(interface{ Close() error }); ok {
			if err := closer.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// configFiles are the files of a sound configuration by their names.
func configFiles(f *testing.F) map[string][]byte {
	f.Helper()
	authority := catest.New(f, catest.Options{})
	platform := authority.Platform("示例招标平台")
	encode := func(kind string, der []byte, err error) []byte {
		if err != nil {
			f.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	request, err := smx509.MarshalPKCS8PrivateKey(platform.RequestKey)
	requestPEM := encode("PRIVATE KEY", request, err)
	api, err := smx509.MarshalPKCS8PrivateKey(platform.APIKey)
	apiPEM := encode("PRIVATE KEY", api, err)
	ledger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	spki, err := protocol.MarshalKey(ledger.Public())
	configFile, encodeErr := json.Marshal(bidseal.ConfigFile{
		V: 1, Platform: platform.ID, Name: "示例招标平台", Relay: "https://relay.example", App: "https://app.example", LedgerKey: "ledger.pem",
		RequestKey: "request.pem", Chain: "chain.pem", APIKey: "api.pem", Roots: "root.pem", Store: "store", StoreKey: "store.key",
		Origins: []string{"https://bid.example"},
	})
	if encodeErr != nil {
		f.Fatal(encodeErr)
	}
	return map[string][]byte{
		"platform.json": configFile, "request.pem": requestPEM, "api.pem": apiPEM, "ledger.pem": encode("PUBLIC KEY", spki, err),
		"chain.pem": append(encode("CERTIFICATE", platform.Chain[0].Raw, nil), encode("CERTIFICATE", platform.Chain[1].Raw, nil)...),
		"root.pem":  encode("CERTIFICATE", authority.Folder.Root().Raw, nil), "store.key": []byte(hex.EncodeToString(make([]byte, 32))),
	}
}
