//go:build interop

package interop

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"
)

// vectorKinds are the kinds of vectors that are cryptography; the others are about form, dates and states.
var vectorKinds = []string{
	"key_schedule", "claim_keys", "commitment", "request_signature", "request_box", "claim_box", "result_digest", "qr",
	"frame_mac", "statement_signature", "open_signature", "receipt", "ledger", "promise", "pass", "proof",
}

// refusedByForm are vectors of those kinds whose cryptography is sound: they are refused for what they say, for a date,
// or because an input has an impossible length.
var refusedByForm = []string{
	"box_other_digits", "box_ready_tries", "box_ready_unknown_code", "box_result_no_chain", "box_three_digits", "box_type_unknown", "box_unknown_name",
	"claim_keys_claim_0", "claim_keys_short_rh", "key_schedule_short", "promise_short_salt", "request_box_unknown_name",
	"pass_expired", "pass_from_future", "pass_long_life", "pass_no_account", "pass_other_device", "pass_version_2",
	"proof_from_future", "proof_old",
	"receipt_claim_0", "receipt_negative_count", "receipt_neither", "receipt_result_and_reason", "receipt_short_digest", "receipt_unknown_name",
}

// A second implementation, written from SPEC.md, comes to the same bytes and refuses the same cases.
func TestProtocolVectors(t *testing.T) {
	files := must(filepath.Glob("../../protocol/testdata/vectors/*.json"))(t)
	j := newJudge(t)
	refused := 0
	for _, path := range files {
		var vector struct {
			Name, Kind string
			Expect     struct{ OK bool }
		}
		text := read(t, path)
		if err := json.Unmarshal(text, &vector); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if !slices.Contains(vectorKinds, vector.Kind) || slices.Contains(refusedByForm, vector.Name) {
			continue
		}
		fields := check{"file": j.file(vector.Name+".json", text)}
		if vector.Expect.OK {
			j.valid("vector", vector.Name, fields)
		} else {
			j.refused("vector", vector.Name, "vector", fields)
			refused++
		}
	}
	if len(j.checks) < 100 || refused < 60 {
		t.Fatalf("%d vectors, %d of them refused: some are missing", len(j.checks), refused)
	}
	j.run()
}
