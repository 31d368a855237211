package keystore

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/protocol"
)

// vectorCase is a file of ca/assist/testdata/vectors.
type vectorCase struct {
	Name, Description, Kind string
	Input                   map[string]any
	Expect                  struct {
		OK     bool
		Error  string
		Output map[string]any
	}
}

func (v *vectorCase) hex(t *testing.T, from map[string]any, name string) []byte {
	t.Helper()
	text, ok := from[name].(string)
	if !ok {
		t.Fatalf("%s: no %s", v.Name, name)
	}
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (v *vectorCase) in(t *testing.T, name string) []byte { return v.hex(t, v.Input, name) }

func (v *vectorCase) epoch() int64 { return int64(v.Input["epoch"].(float64)) }

// TestAssistVectors: this keystore derives what ca/assist/SPEC.md says.
func TestAssistVectors(t *testing.T) {
	files, err := filepath.Glob("../../../ca/assist/testdata/vectors/*.json")
	if err != nil {
		t.Fatal(err)
	}
	checked := map[string]int{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var v vectorCase
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatal(err)
		}
		check := map[string]func(*testing.T, *vectorCase){"blind": checkBlind, "password_slot": checkPasswordSlot, "reset_slot": checkResetSlot}[v.Kind]
		if check == nil {
			continue
		}
		checked[v.Kind]++
		t.Run(v.Name, func(t *testing.T) { check(t, &v) })
	}
	if checked["blind"] < 5 || checked["password_slot"] < 8 || checked["reset_slot"] < 6 {
		t.Errorf("vectors are missing: %v", checked)
	}
}

func checkBlind(t *testing.T, v *vectorCase) {
	seed, err := blindSeed(v.in(t, "seed"), v.in(t, "stretched"), v.in(t, "device_secret"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := assistapi.Blind(v.Input["suite"].(string), v.in(t, "server_key"), assistapi.Input(v.in(t, "keystore"), v.epoch(), v.in(t, "stretched")), seed)
	if (err == nil) != v.Expect.OK {
		t.Fatal(err)
	}
	if err == nil && !bytes.Equal(b.Blinded, v.hex(t, v.Expect.Output, "blinded")) {
		t.Errorf("blinded %x", b.Blinded)
	}
}

func checkPasswordSlot(t *testing.T, v *vectorCase) {
	s := assistSlot{Type: slotVOPRF, ID: v.in(t, "slot"), Epoch: v.epoch(), Suite: v.Input["suite"].(string), ServerKey: v.in(t, "server_key"), Wrapped: v.in(t, "wrapped")}
	key, err := s.key(v.in(t, "keystore"), v.in(t, "stretched"), v.in(t, "value"))
	if err != nil {
		t.Fatal(err)
	}
	v.checkOpened(t, key, s.Wrapped, s.aad(v.in(t, "keystore")))
}

func checkResetSlot(t *testing.T, v *vectorCase) {
	s := resetSlot{Type: slotReset, ID: v.in(t, "slot"), Epoch: v.epoch(), Wrapped: v.in(t, "wrapped")}
	key, err := s.key(v.in(t, "keystore"), v.in(t, "device_secret"), v.in(t, "share"))
	if err != nil {
		t.Fatal(err)
	}
	v.checkOpened(t, key, s.Wrapped, s.aad(v.in(t, "keystore")))
}

func (v *vectorCase) checkOpened(t *testing.T, key, wrapped, aad []byte) {
	t.Helper()
	dataKey, ok := openWith(key, wrapped, aad)
	if ok != v.Expect.OK {
		t.Fatalf("opened: %v", ok)
	}
	if ok && (!bytes.Equal(dataKey, v.hex(t, v.Expect.Output, "data_key")) || !protocol.Equal(key, v.hex(t, v.Expect.Output, "key"))) {
		t.Errorf("key %x, data key %x", key, dataKey)
	}
}
