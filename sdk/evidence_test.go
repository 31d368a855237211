package bidseal_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/sdk/sdktest"
)

// evidenceOf signs somebody in and gives the file with what verifies it.
func evidenceOf(t testing.TB) ([]byte, bidseal.Verifier) {
	t.Helper()
	env := sdktest.New(t)
	client := env.Client()
	ch, err := client.Login(t.Context(), bidseal.LoginOptions{Display: []string{"登录测试平台"}})
	must(t, err)
	must(t, env.PhoneOf(sdktest.Holder{Person: "李四", Organisation: "示例建设有限公司", CreditCode: "91110000600037341L"}).Approve(t.Context(), ch.Payload()))
	login, err := ch.Wait(t.Context())
	must(t, err)
	return login.Evidence, verifierOf(t, env)
}

// partsOf says under which parts an altered field may be refused: its own, or
// one that is checked earlier and covers it.
func partsOf() map[string][]string {
	return map[string][]string{
		"v":                   {bidseal.PartFile},
		"type":                {bidseal.PartFile},
		"request":             {bidseal.PartRequest, bidseal.PartRequestSignature, bidseal.PartPlatformChain},
		"request_signature":   {bidseal.PartRequestSignature},
		"platform_chain":      {bidseal.PartPlatformChain},
		"platform_ocsp":       {bidseal.PartPlatformStatus},
		"claim.claim_seq":     {bidseal.PartStatement},
		"claim.kem":           {bidseal.PartResult},
		"claim.box":           {bidseal.PartResult},
		"statement":           {bidseal.PartStatementSignature, bidseal.PartSignerChain},
		"statement_signature": {bidseal.PartStatementSignature},
		"signer_chain":        {bidseal.PartSignerChain},
		"signer_ocsp":         {bidseal.PartSignerStatus},
		"shown":               {bidseal.PartShown},
		"receipt.bytes":       {bidseal.PartReceipt},
		"receipt.signature":   {bidseal.PartReceipt},
		"promise.index":       {bidseal.PartLedger},
		"promise.salt":        {bidseal.PartLedger},
		"promise.entry":       {bidseal.PartLedger},
		"promise.head":        {bidseal.PartLedger},
		"promise.signature":   {bidseal.PartLedger},
		"ledger_key":          {bidseal.PartLedger},
		"timestamp":           {bidseal.PartTimestamp},
	}
}

// alter calls try with a copy of the document for each leaf, altered there, and
// the leaf's name without indexes. Byte strings are altered at several places.
func alter(t *testing.T, doc any, name string, change func(any), try func(name string)) {
	t.Helper()
	switch v := doc.(type) {
	case map[string]any:
		for key, inner := range v {
			alter(t, inner, strings.TrimPrefix(name+"."+key, "."), func(x any) { v[key] = x }, try)
			v[key] = inner
		}
	case []any:
		for i, inner := range v {
			alter(t, inner, name, func(x any) { v[i] = x }, try)
			v[i] = inner
		}
		change(append(v[:len(v):len(v)], v[0])) // one entry more
		try(name)
		change(v)
		if len(v) > 1 { // the last one is gone; a chain may leave its anchor out, but not this
			change(v[:len(v)-1])
			try(name)
			change(v)
		}
	case float64:
		change(v + 1)
		try(name)
		change(v)
	case string:
		for _, other := range alterText(t, name, v) {
			change(other)
			try(name)
		}
		change(v)
	default:
		t.Fatalf("%s is a %T", name, doc)
	}
}

func alterText(t *testing.T, name, text string) []string {
	t.Helper()
	if name == "shown" || name == "type" {
		return []string{text + "x", ""}
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	out := []string{base64.RawURLEncoding.EncodeToString(raw[:len(raw)-1]), base64.RawURLEncoding.EncodeToString(append(raw[:len(raw):len(raw)], 0))}
	for _, at := range []int{0, len(raw) / 3, len(raw) / 2, len(raw) - 1} {
		changed := append([]byte{}, raw...)
		changed[at] ^= 1
		out = append(out, base64.RawURLEncoding.EncodeToString(changed))
	}
	return out
}

func TestEvidenceAlteredEverywhere(t *testing.T) {
	file, verifier := evidenceOf(t)
	if _, err := verifier.VerifyEvidence(file); err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	must(t, json.Unmarshal(file, &doc))
	parts, tried := partsOf(), map[string]int{}
	alter(t, doc, "", nil, func(name string) {
		raw, err := json.Marshal(doc)
		must(t, err)
		tried[name]++
		_, err = verifier.VerifyEvidence(raw)
		var refused *bidseal.EvidenceError
		if !errors.As(err, &refused) || !errors.Is(err, bidseal.ErrEvidenceInvalid) {
			t.Errorf("%s altered: %v", name, err)
			return
		}
		for _, part := range parts[name] {
			if refused.Part == part {
				return
			}
		}
		t.Errorf("%s altered: refused for %q (%v), want one of %q", name, refused.Part, refused.Err, parts[name])
	})
	for name := range parts {
		if tried[name] == 0 {
			t.Errorf("%s stands in no file", name)
		}
	}
	var names []string
	for name := range tried {
		names = append(names, fmt.Sprintf("%s:%d", name, tried[name]))
	}
	sort.Strings(names)
	t.Logf("altered: %s", strings.Join(names, " "))
}

func TestEvidenceLeftOut(t *testing.T) {
	file, verifier := evidenceOf(t)
	var doc map[string]any
	must(t, json.Unmarshal(file, &doc))
	for key, value := range doc {
		delete(doc, key)
		raw, err := json.Marshal(doc)
		must(t, err)
		var refused *bidseal.EvidenceError
		report, err := verifier.VerifyEvidence(raw)
		if key == "timestamp" {
			if err != nil || report.Timestamp != nil || slices.Contains(report.Parts, bidseal.PartTimestamp) {
				t.Errorf("without a timestamp: %+v, %v", report, err)
			}
		} else if !errors.As(err, &refused) {
			t.Errorf("without %s: %v", key, err)
		}
		doc[key] = value
	}
}

func TestEvidenceOtherRoot(t *testing.T) {
	file, _ := evidenceOf(t)
	_, stranger := evidenceOf(t)
	var refused *bidseal.EvidenceError
	if _, err := stranger.VerifyEvidence(file); !errors.As(err, &refused) || refused.Part != bidseal.PartPlatformChain {
		t.Errorf("under another root: %v", err)
	}
	if _, err := (bidseal.Verifier{}).VerifyEvidence(file); err == nil || errors.As(err, &refused) {
		t.Errorf("without roots: %v", err)
	}
}

// Parts of two valid files do not make a third one.
func TestEvidenceMixed(t *testing.T) {
	env := sdktest.New(t)
	client := env.Client()
	verifier := verifierOf(t, env)
	phone := env.Phone("张三")
	var docs [2]map[string]any
	for i := range docs {
		ch, err := client.Login(t.Context(), bidseal.LoginOptions{})
		must(t, err)
		must(t, phone.Approve(t.Context(), ch.Payload()))
		login, err := ch.Wait(t.Context())
		must(t, err)
		must(t, json.Unmarshal(login.Evidence, &docs[i]))
	}
	for key, value := range docs[1] {
		same, err := json.Marshal(docs[0][key])
		must(t, err)
		other, err := json.Marshal(value)
		must(t, err)
		old := docs[0][key]
		docs[0][key] = value
		raw, err := json.Marshal(docs[0])
		must(t, err)
		docs[0][key] = old
		_, err = verifier.VerifyEvidence(raw)
		// A status answer about the same certificate serves both, and so do lines that are the same.
		shared := key == "platform_ocsp" || key == "signer_ocsp"
		if string(same) != string(other) && !shared && !errors.Is(err, bidseal.ErrEvidenceInvalid) {
			t.Errorf("%s of another file: %v", key, err)
		}
	}
}

func FuzzEvidence(f *testing.F) {
	file, verifier := evidenceOf(f)
	f.Add(file)
	f.Add([]byte(`{"v":1,"type":"bidseal evidence"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		report, err := verifier.VerifyEvidence(raw)
		var refused *bidseal.EvidenceError
		if (err == nil) != (report != nil) || err != nil && !errors.As(err, &refused) {
			t.Fatalf("report %v, error %v", report, err)
		}
	})
}
