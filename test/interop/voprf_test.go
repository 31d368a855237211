//go:build interop

package interop

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNobleComputesTheAssistVectors: @noble/curves, a second implementation of RFC 9497, agrees with every vector of the
// password assist that rests on it: same blinded elements, evaluations and values, and it takes our proofs and refuses
// what we refuse.
func TestNobleComputesTheAssistVectors(t *testing.T) {
	type vector struct {
		Name, Kind string
		Expect     struct {
			OK     bool
			Output json.RawMessage
		}
	}
	all, err := filepath.Glob("../../ca/assist/testdata/vectors/*.json")
	if err != nil {
		t.Fatal(err)
	}
	wanted := map[string]vector{}
	var args []string
	for _, file := range all {
		var v vector
		if err := json.Unmarshal(must(os.ReadFile(file))(t), &v); err != nil {
			t.Fatal(err)
		}
		if v.Kind == "blind" || v.Kind == "evaluate" || v.Kind == "finalize" {
			wanted[v.Name] = v
			args = append(args, file)
		}
	}
	type result struct {
		Name, Error string
		OK          bool
		Output      map[string]string
	}
	results := nodeAnswers[[]result](t, "voprf", "@noble/curves", nil, args...)
	refused := 0
	for _, r := range results {
		want := wanted[r.Name]
		var output map[string]string
		if want.Expect.OK {
			if err := json.Unmarshal(want.Expect.Output, &output); err != nil {
				t.Fatal(err)
			}
		} else {
			refused++
		}
		if r.OK != want.Expect.OK {
			t.Errorf("%s: it says ok %v (%s), want %v", r.Name, r.OK, r.Error, want.Expect.OK)
		}
		for name, value := range output {
			if !strings.EqualFold(r.Output[name], value) {
				t.Errorf("%s: its %s is %s, want %s", r.Name, name, r.Output[name], value)
			}
		}
	}
	if len(results) != len(wanted) || len(wanted) < 30 || refused < 20 {
		t.Errorf("%d results for %d vectors, %d refused: some are missing", len(results), len(wanted), refused)
	}
}
