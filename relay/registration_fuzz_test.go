package relay_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/catest"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
)

// FuzzPlatformRegistration: only the registration that the authority wrote is accepted; every refusal has a code.
func FuzzPlatformRegistration(f *testing.F) {
	now := time.Now()
	authority := catest.New(f, catest.Options{Now: func() time.Time { return now }})
	platform := authority.Platform("示例招标平台")
	good, err := json.Marshal(platform.Registration)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"v":1,"chain":[""]}`))
	anchors := authority.Store()
	f.Fuzz(func(t *testing.T, raw []byte) {
		read, err := relay.ReadPlatformRegistration(raw, anchors, now)
		var own *protocol.Error
		if err != nil && !errors.As(err, &own) {
			t.Fatalf("an error without a code: %v", err)
		}
		if err == nil && (read.ID != platform.ID || len(read.APIKey) == 0) {
			t.Fatalf("platform %q was taken", read.ID)
		}
	})
}
