package protocol

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ItemIDs reads the "id" of each item: 1 to 64 graphic characters, no two
// alike. Statement and result name items by it. Error: CodeRequestInvalid.
func ItemIDs(items []jsontext.Value) ([]string, error) {
	ids := make([]string, len(items))
	seen := make(map[string]bool, len(items))
	for i, raw := range items {
		var item struct {
			ID string `json:"id"`
		}
		if raw.Kind() != '{' {
			return nil, Errorf(CodeRequestInvalid, "item %d is not an object", i+1)
		}
		if err := json.Unmarshal(raw, &item); err != nil {
			return nil, Errorf(CodeRequestInvalid, "item %d: %v", i+1, err)
		}
		if n := len(item.ID); n == 0 || n > 64 || !graphic(item.ID) || seen[item.ID] {
			return nil, Errorf(CodeRequestInvalid, "item %d has no id of its own", i+1)
		}
		seen[item.ID] = true
		ids[i] = item.ID
	}
	return ids, nil
}

// ItemDigests is SM3 over the exact bytes of each item, in order.
func ItemDigests(items []jsontext.Value) []Bytes {
	var out []Bytes
	for _, it := range items {
		out = append(out, H(it))
	}
	return out
}
