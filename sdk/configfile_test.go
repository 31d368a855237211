package bidseal_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/sdk/sdktest"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// register writes the folder that onboarding writes.
func register(t *testing.T, env *sdktest.Env) string {
	t.Helper()
	dir := registerRoots(t, env)
	config := env.Config()
	file := trust.File{Authorities: config.Anchors.Authorities(), Relays: []trust.Relay{{Origin: config.Relay, LedgerKeys: config.LedgerKeys}}}
	raw, err := file.Encode()
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, trust.FileName), raw, 0o600))
	change(t, filepath.Join(dir, "platform.json"), func(doc map[string]any) {
		delete(doc, "roots")
		delete(doc, "ledger_key")
		doc["trust"] = trust.FileName
	})
	return dir
}

// change rewrites a JSON file.
func change(t *testing.T, path string, do func(doc map[string]any)) {
	t.Helper()
	raw, err := os.ReadFile(path)
	must(t, err)
	var doc map[string]any
	must(t, json.Unmarshal(raw, &doc))
	do(doc)
	raw, err = json.Marshal(doc)
	must(t, err)
	must(t, os.WriteFile(path, raw, 0o600))
}

// registerRoots writes the folder that onboarding wrote before there were trust
// files.
func registerRoots(t *testing.T, env *sdktest.Env) string {
	t.Helper()
	dir, config := t.TempDir(), env.Config()
	write := func(name, blockType string, ders ...[]byte) {
		t.Helper()
		var out []byte
		for _, der := range ders {
			out = append(out, pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: der})...)
		}
		must(t, os.WriteFile(filepath.Join(dir, name), out, 0o600))
	}
	private := func(key any) []byte {
		t.Helper()
		der, err := smx509.MarshalPKCS8PrivateKey(key)
		must(t, err)
		return der
	}
	write("request.pem", "PRIVATE KEY", private(config.RequestKey))
	write("api.pem", "PRIVATE KEY", private(config.APIKey))
	write("chain.pem", "CERTIFICATE", config.Chain[0].Raw, config.Chain[1].Raw)
	write("roots.pem", "CERTIFICATE", env.Authority.Root().Raw)
	ledger, err := smx509.MarshalPKIXPublicKey(config.LedgerKeys[0])
	must(t, err)
	write("ledger.pem", "PUBLIC KEY", ledger)
	must(t, os.WriteFile(filepath.Join(dir, "store.key"), []byte(hex.EncodeToString(make([]byte, 32))+"\n"), 0o600))
	raw, err := json.Marshal(bidseal.ConfigFile{V: 1, Platform: config.Platform, Name: config.Name, Relay: config.Relay, App: config.App,
		LedgerKey: "ledger.pem", RequestKey: "request.pem", Chain: "chain.pem", APIKey: "api.pem", Roots: "roots.pem", Store: "store",
		StoreKey: "store.key", Origins: config.Origins, TrustedProxies: []string{"10.0.0.0/8"}})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "platform.json"), raw, 0o600))
	return dir
}

func TestLoadConfigSignsIn(t *testing.T) {
	for name, register := range map[string]func(*testing.T, *sdktest.Env) string{"trust file": register, "roots": registerRoots} {
		t.Run(name, func(t *testing.T) { loadedSignsIn(t, register) })
	}
}

func loadedSignsIn(t *testing.T, register func(*testing.T, *sdktest.Env) string) {
	ctx, env := testContext(t), sdktest.New(t)
	dir := register(t, env)
	client := env.Client(func(c *bidseal.Config) {
		loaded, err := bidseal.LoadConfig(dir)
		must(t, err)
		loaded.OCSP, loaded.Clock, loaded.After = c.OCSP, c.Clock, c.After
		*c = loaded
	})
	ch := begin(t, ctx, client, bidseal.LoginOptions{})
	must(t, env.Phone("张三").Approve(ctx, ch.Payload()))
	_, err := ch.Wait(ctx)
	must(t, err)
	if files, err := filepath.Glob(filepath.Join(dir, "store", "c-*.json")); err != nil || len(files) != 1 {
		t.Errorf("the store holds %v, %v", files, err)
	}
}

func TestLoadConfigRefuses(t *testing.T) {
	env := sdktest.New(t)
	for name, spoil := range map[string]func(dir string, doc map[string]any){
		"unknown name":  func(_ string, doc map[string]any) { doc["relais"] = "x" },
		"version":       func(_ string, doc map[string]any) { doc["v"] = 2 },
		"no name":       func(_ string, doc map[string]any) { delete(doc, "name") },
		"proxy":         func(_ string, doc map[string]any) { doc["trusted_proxies"] = []string{"10.0.0.0"} },
		"missing file":  func(_ string, doc map[string]any) { doc["chain"] = "none.pem" },
		"key for chain": func(_ string, doc map[string]any) { doc["chain"] = "api.pem" },
		"chain for key": func(_ string, doc map[string]any) { doc["request_key"] = "chain.pem" },
		"short store key": func(dir string, _ map[string]any) {
			must(t, os.WriteFile(filepath.Join(dir, "store.key"), []byte("00"), 0o600))
		},
		"huge file": func(dir string, _ map[string]any) {
			must(t, os.WriteFile(filepath.Join(dir, "chain.pem"), make([]byte, 300<<10), 0o600))
		},
		"trust file missing":       func(_ string, doc map[string]any) { doc["trust"] = "none.json" },
		"trust file that is PEM":   func(_ string, doc map[string]any) { doc["trust"] = "roots.pem" },
		"relay not in trust file":  func(_ string, doc map[string]any) { doc["relay"] = "https://other.example.cn" },
		"neither trust nor roots":  func(_ string, doc map[string]any) { delete(doc, "trust") },
		"both trust and roots":     func(_ string, doc map[string]any) { doc["roots"], doc["ledger_key"] = "roots.pem", "ledger.pem" },
		"trust and roots alone":    func(_ string, doc map[string]any) { doc["roots"] = "roots.pem" },
		"roots without ledger key": func(_ string, doc map[string]any) { delete(doc, "trust"); doc["roots"] = "roots.pem" },
		"leaf as root": func(_ string, doc map[string]any) {
			delete(doc, "trust")
			doc["roots"], doc["ledger_key"] = "chain.pem", "ledger.pem"
		},
		"certificate as pub": func(_ string, doc map[string]any) {
			delete(doc, "trust")
			doc["roots"], doc["ledger_key"] = "roots.pem", "chain.pem"
		},
	} {
		dir := register(t, env)
		path := filepath.Join(dir, "platform.json")
		change(t, path, func(doc map[string]any) { spoil(dir, doc) })
		if _, err := bidseal.LoadConfig(path); err == nil {
			t.Errorf("%s: taken", name)
		} else if strings.Contains(err.Error(), "PRIVATE KEY-----") {
			t.Errorf("%s: the error holds a key: %v", name, err)
		}
	}
}

// A configuration whose parts do not belong together makes no client.
func TestNewRefuses(t *testing.T) {
	env, other := sdktest.New(t), sdktest.New(t)
	key, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	for name, spoil := range map[string]func(*bidseal.Config){
		"other platform":    func(c *bidseal.Config) { c.Platform = "somebody-else" },
		"other name":        func(c *bidseal.Config) { c.Name = "别的平台" },
		"other anchors":     func(c *bidseal.Config) { c.Anchors = other.Config().Anchors },
		"other request key": func(c *bidseal.Config) { c.RequestKey = key },
		"API key is SM2":    func(c *bidseal.Config) { c.APIKey = key },
		"API key is P-384":  func(c *bidseal.Config) { c.APIKey = p384 },
		"no ledger key":     func(c *bidseal.Config) { c.LedgerKeys = nil },
		"short store key":   func(c *bidseal.Config) { c.StoreKey = make([]byte, 8) },
		"relay with path":   func(c *bidseal.Config) { c.Relay += "/v1" },
		"app over http":     func(c *bidseal.Config) { c.App = "http://app.example.cn" },
		"origin with slash": func(c *bidseal.Config) { c.Origins = []string{"https://bid.example.cn/"} },
		"no chain":          func(c *bidseal.Config) { c.Chain = nil },
	} {
		config := env.Config()
		spoil(&config)
		if _, err := bidseal.New(config); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := bidseal.New(env.Config()); err != nil {
		t.Error(err)
	}
}

func FuzzConfigFile(f *testing.F) {
	f.Add([]byte(`{"v":1,"platform":"p","name":"n","relay":"https://r","app":"https://a","ledger_key":"l","request_key":"r","chain":"c","api_key":"a","roots":"o","store":"s","store_key":"k","origins":["https://b"]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		file, err := bidseal.ParseConfigFile(raw)
		var own *bidseal.Error
		if err != nil && !errors.As(err, &own) {
			t.Fatalf("a foreign error: %v", err)
		}
		if err == nil && (file.V != 1 || file.Platform == "" || file.StoreKey == "") {
			t.Fatalf("taken: %+v", file)
		}
	})
}
