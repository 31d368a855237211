package trust_test

import (
	"bytes"
	"crypto"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// otherOIDs are identifiers under another arc than the documentation's.
func otherOIDs(last int) trust.OIDs {
	id := func(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 156, 99999, last, n} }
	return trust.OIDs{Lineage: id(1), Role: id(2), PlatformID: id(3), PlatformUsage: id(4), SealMakerUsage: id(5), OperatorUsage: id(6),
		Identity: id(7), TimestampPolicy: id(8), CreditCode: id(9), CreditCodeAlso: []asn1.ObjectIdentifier{{1, 2, 156, 10260, 4, 1, 3}}}
}

// platformLeaf is a platform's certificate by the given identifiers.
func platformLeaf(t *testing.T, oids trust.OIDs, id string) *smx509.Certificate {
	t.Helper()
	leaf := template(3, id)
	leaf.UnknownExtKeyUsage = []asn1.ObjectIdentifier{oids.PlatformUsage}
	leaf.ExtraExtensions = append(leaf.ExtraExtensions, ext(t, oids.PlatformID, false, id))
	return leaf
}

// completeFile has two authorities, each with identifiers of its own, and a relay.
func completeFile(t *testing.T) (*trust.File, [2]testChain) {
	t.Helper()
	var chains [2]testChain
	file := &trust.File{}
	for i := range chains {
		oids := otherOIDs(i + 1)
		chains[i] = newChain(t, newSM2, platformLeaf(t, oids, "platform"))
		file.Authorities = append(file.Authorities, trust.Authority{
			Name: []string{"甲", "乙"}[i], Roots: []*smx509.Certificate{chains[i].root.cert}, OIDs: oids, OCSP: "https://ca.example.cn/ocsp",
			CRL: "https://ca.example.cn/crl/root.crl", TSA: "https://ca.example.cn/tsa", PassKeys: []crypto.PublicKey{newSM2(t).Public()},
		})
	}
	file.Authorities[1].Operations = map[trust.Operation]trust.Period{
		trust.OperationLogin:    {From: day().Add(-time.Minute), Until: day()},
		trust.OperationEvidence: {},
	}
	file.Relays = []trust.Relay{{Origin: "https://relay.example.cn", LedgerKeys: []crypto.PublicKey{newSM2(t).Public(), newSM2(t).Public()}}}
	return file, chains
}

func TestFileRoundTrip(t *testing.T) {
	file, _ := completeFile(t)
	raw, err := file.Encode()
	must(t, err)
	read, err := trust.ParseFile(raw)
	must(t, err)
	again, err := read.Encode()
	must(t, err)
	if !bytes.Equal(raw, again) {
		t.Errorf("written again it is\n%s\nand was\n%s", again, raw)
	}
	if len(read.PassKeys()) != 2 || len(read.LedgerKeys("https://relay.example.cn")) != 2 || read.LedgerKeys("https://other.example.cn") != nil {
		t.Errorf("%d pass keys, %d ledger keys", len(read.PassKeys()), len(read.LedgerKeys("https://relay.example.cn")))
	}
	if !read.Authorities[0].OIDs.Equal(file.Authorities[0].OIDs) || read.Authorities[0].OIDs.Equal(file.Authorities[1].OIDs) {
		t.Error("other identifiers were read than written")
	}
	if trust.IsPEM(raw) || !trust.IsPEM([]byte("\n"+firstRoot(t, raw))) {
		t.Error("a trust file is taken for PEM, or the other way round")
	}
}

// firstRoot is the first root of a file as the PEM text that stands in it.
func firstRoot(t *testing.T, raw []byte) string {
	t.Helper()
	var doc struct{ Authorities []struct{ Roots []string } }
	must(t, json.Unmarshal(raw, &doc))
	return doc.Authorities[0].Roots[0]
}

// Each authority's certificates are read by its own identifiers, wherever they stand.
func TestStoreReadsEachByItsOwnIdentifiers(t *testing.T) {
	file, chains := completeFile(t)
	store, err := file.Store()
	must(t, err)
	for i, chain := range chains {
		v, err := store.Verify(chain.certs(), trust.VerifyOptions{Time: day(), Usage: trust.PlatformRequest})
		must(t, err)
		who, err := trust.ReadIdentity(v)
		must(t, err)
		if who.PlatformID != "platform" || v.Authority.Name != file.Authorities[i].Name {
			t.Errorf("authority %q: %+v", v.Authority.Name, who)
		}
		owner, err := store.AuthorityOf(who.Anchor)
		must(t, err)
		named, err := store.Named(chain.certs())
		must(t, err)
		if owner != v.Authority || named != v.Authority {
			t.Errorf("the anchor belongs to %q, the chain to %q", owner.Name, named.Name)
		}
	}
	if _, err := store.AuthorityOf("00"); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("an unknown anchor: %v", err)
	}
	// the same chain under the other one's identifiers is no platform's
	swapped := trust.Authority{Roots: file.Authorities[0].Roots, OIDs: otherOIDs(2)}
	store, err = trust.NewStore(swapped)
	must(t, err)
	if _, err := store.Verify(chains[0].certs(), trust.VerifyOptions{Time: day(), Usage: trust.PlatformRequest}); !errors.Is(err, trust.ErrKeyUsage) {
		t.Errorf("by other identifiers: %v", err)
	}
}

func TestOperationsStartAndStop(t *testing.T) {
	file, chains := completeFile(t)
	store, err := file.Store()
	must(t, err)
	for _, c := range []struct {
		name      string
		authority int
		operation trust.Operation
		at        time.Time
		allowed   bool
	}{
		{"no operations named", 0, trust.OperationSeal, day(), true},
		{"within the period", 1, trust.OperationLogin, day().Add(-time.Second), true},
		{"at the first moment", 1, trust.OperationLogin, day().Add(-time.Minute), true},
		{"before the first moment", 1, trust.OperationLogin, day().Add(-time.Minute - time.Second), false},
		{"at the end", 1, trust.OperationLogin, day(), false},
		{"open at both ends", 1, trust.OperationEvidence, day(), true},
		{"not listed", 1, trust.OperationDecrypt, day().Add(-time.Second), false},
		{"none asked for", 1, "", day(), true},
	} {
		_, err := store.Verify(chains[c.authority].certs(), trust.VerifyOptions{Time: c.at, Usage: trust.PlatformRequest, Operation: c.operation})
		if (err == nil) != c.allowed || err != nil && (!errors.Is(err, trust.ErrOperation) || !errors.Is(err, trust.ErrUntrusted)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	nothing := trust.Authority{Roots: file.Authorities[0].Roots, OIDs: otherOIDs(1), Operations: map[trust.Operation]trust.Period{}}
	if err := nothing.Allow(trust.OperationLogin, day()); !errors.Is(err, trust.ErrOperation) {
		t.Errorf("an empty list of operations: %v", err)
	}
}

func TestStoreVersionCoversTheRules(t *testing.T) {
	root := issue(t, authorityTemplate(1, "a", -1), nil, newSM2(t)).cert
	seen := map[string]string{}
	for name, change := range map[string]func(*trust.Authority){
		"as it is":   func(*trust.Authority) {},
		"identifier": func(a *trust.Authority) { a.OIDs.Role = asn1.ObjectIdentifier{1, 2, 3, 4} },
		"also":       func(a *trust.Authority) { a.OIDs.CreditCodeAlso = nil },
		"nothing":    func(a *trust.Authority) { a.Operations = map[trust.Operation]trust.Period{} },
		"operation":  func(a *trust.Authority) { a.Operations = map[trust.Operation]trust.Period{trust.OperationLogin: {}} },
		"period": func(a *trust.Authority) {
			a.Operations = map[trust.Operation]trust.Period{trust.OperationLogin: {Until: day()}}
		},
	} {
		a := trust.Authority{Roots: []*smx509.Certificate{root}, OIDs: otherOIDs(1)}
		change(&a)
		store, err := trust.NewStore(a)
		must(t, err)
		if other, ok := seen[store.Version()]; ok {
			t.Errorf("%s and %s have one version", name, other)
		}
		seen[store.Version()] = name
	}
}

func TestStoreNeedsIdentifiers(t *testing.T) {
	root := issue(t, authorityTemplate(1, "a", -1), nil, newSM2(t)).cert
	if _, err := trust.NewStore(trust.Authority{Roots: []*smx509.Certificate{root}}); !errors.Is(err, trust.ErrMalformed) {
		t.Errorf("without identifiers: %v", err)
	}
	twice := otherOIDs(1)
	twice.Role = twice.Lineage
	if _, err := trust.NewStore(trust.Authority{Roots: []*smx509.Certificate{root}, OIDs: twice}); !errors.Is(err, trust.ErrMalformed) {
		t.Errorf("one identifier for two things: %v", err)
	}
	a := trust.Authority{Name: "a", Roots: []*smx509.Certificate{root}, OIDs: otherOIDs(1)}
	b := trust.Authority{Name: "b", Roots: []*smx509.Certificate{root}, OIDs: otherOIDs(2)}
	if _, err := trust.NewStore(a, b); !errors.Is(err, trust.ErrMalformed) {
		t.Errorf("one root of two authorities: %v", err)
	}
}

func TestWithRelay(t *testing.T) {
	file, _ := completeFile(t)
	key := newSM2(t).Public()
	added := file.WithRelay(trust.Relay{Origin: "https://second.example.cn", LedgerKeys: []crypto.PublicKey{key}})
	replaced := added.WithRelay(trust.Relay{Origin: "https://relay.example.cn", LedgerKeys: []crypto.PublicKey{key}})
	if len(file.Relays) != 1 || len(added.Relays) != 2 || len(replaced.Relays) != 2 || len(replaced.LedgerKeys("https://relay.example.cn")) != 1 {
		t.Errorf("%d, %d and %d relays", len(file.Relays), len(added.Relays), len(replaced.Relays))
	}
	if len(file.LedgerKeys("https://relay.example.cn")) != 2 {
		t.Error("the file itself was changed")
	}
}

func TestParseFileRefuses(t *testing.T) {
	file, _ := completeFile(t)
	raw, err := file.Encode()
	must(t, err)
	for name, change := range map[string]func(doc, authority map[string]any){
		"version 2":           func(doc, _ map[string]any) { doc["v"] = 2 },
		"no version":          func(doc, _ map[string]any) { delete(doc, "v") },
		"unknown member":      func(doc, _ map[string]any) { doc["authority"] = []any{} },
		"misspelt operations": func(_, a map[string]any) { a["operation"] = map[string]any{} },
		"unknown operation":   func(_, a map[string]any) { a["operations"] = map[string]any{"sign": map[string]any{}} },
		"backward period": func(_, a map[string]any) {
			a["operations"] = map[string]any{"login": map[string]any{"from": "2026-02-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}}
		},
		"day without a time": func(_, a map[string]any) {
			a["operations"] = map[string]any{"login": map[string]any{"from": "2026-02-01"}}
		},
		"no authorities":           func(doc, _ map[string]any) { doc["authorities"] = []any{} },
		"no name":                  func(_, a map[string]any) { delete(a, "name") },
		"name that turns the line": func(_, a map[string]any) { a["name"] = "a\u202e" },
		"no identifiers":           func(_, a map[string]any) { delete(a, "oids") },
		"identifier missing":       func(_, a map[string]any) { delete(a["oids"].(map[string]any), "lineage") },
		"identifier unknown":       func(_, a map[string]any) { a["oids"].(map[string]any)["linage"] = "1.2.3.4" },
		"identifier no OID":        func(_, a map[string]any) { a["oids"].(map[string]any)["lineage"] = "1.x" },
		"identifier twice":         func(_, a map[string]any) { a["oids"].(map[string]any)["lineage"] = a["oids"].(map[string]any)["role"] },
		"no roots":                 func(_, a map[string]any) { a["roots"] = []any{} },
		"two roots in one text": func(_, a map[string]any) {
			a["roots"] = []any{a["roots"].([]any)[0].(string) + a["roots"].([]any)[0].(string)}
		},
		"root that is none":     func(_, a map[string]any) { a["roots"] = a["pass_keys"] },
		"address":               func(_, a map[string]any) { a["ocsp"] = "ftp://ca.example.cn" },
		"pass key that is none": func(_, a map[string]any) { a["pass_keys"] = a["roots"] },
		"relay without keys":    func(doc, _ map[string]any) { doc["relays"].([]any)[0].(map[string]any)["ledger_keys"] = []any{} },
		"relay with a path": func(doc, _ map[string]any) {
			doc["relays"].([]any)[0].(map[string]any)["origin"] = "https://relay.example.cn/"
		},
		"relay twice": func(doc, _ map[string]any) { doc["relays"] = append(doc["relays"].([]any), doc["relays"].([]any)[0]) },
		"root of two authorities": func(doc, a map[string]any) {
			doc["authorities"].([]any)[1].(map[string]any)["roots"] = a["roots"]
		},
	} {
		var doc map[string]any
		must(t, json.Unmarshal(raw, &doc))
		change(doc, doc["authorities"].([]any)[0].(map[string]any))
		changed, err := json.Marshal(doc)
		must(t, err)
		if _, err := trust.ParseFile(changed); !errors.Is(err, trust.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"nothing": "", "two documents": string(raw) + string(raw), "PEM": firstRoot(t, raw), "too large": string(raw) + strings.Repeat(" ", trust.MaxFile),
	} {
		if _, err := trust.ParseFile([]byte(text)); !errors.Is(err, trust.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte(`{"v":1,"authorities":[{"name":"a","roots":[],"oids":{"lineage":"1.2.3"}}],"relays":[{"origin":"https://a","ledger_keys":[]}]}`))
	f.Add([]byte(`{"v":1,"authorities":[{"name":"a","roots":["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"],"oids":null}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		file, err := trust.ParseFile(raw)
		if err != nil {
			return
		}
		if _, err := file.Encode(); err != nil {
			t.Errorf("a file that was read cannot be written: %v", err)
		}
	})
}
