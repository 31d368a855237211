package bidseal

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
)

// TestImprintVector: the imprint of SPEC.md, section 17, as another
// implementation (Python's hashlib) computed it.
func TestImprintVector(t *testing.T) {
	raw, err := os.ReadFile("testdata/evidence_imprint.json")
	if err != nil {
		t.Fatal(err)
	}
	var vector struct {
		File    json.RawMessage `json:"file"`
		Imprint string          `json:"imprint"`
	}
	if err := json.Unmarshal(raw, &vector); err != nil {
		t.Fatal(err)
	}
	var file evidence
	if err := file.read(vector.File); err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(file.imprint().Digest); got != vector.Imprint {
		t.Errorf("imprint %s, want %s", got, vector.Imprint)
	}
	file.Shown[0], file.Shown[1] = file.Shown[0]+file.Shown[1][:1], file.Shown[1][1:]
	if hex.EncodeToString(file.imprint().Digest) == vector.Imprint {
		t.Error("a border between two parts can be moved")
	}
}
