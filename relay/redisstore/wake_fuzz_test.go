package redisstore

import "testing"

// FuzzWake: whoever may publish on the node's channel, a message is a wake-up of a challenge or passed over.
func FuzzWake(f *testing.F) {
	f.Add("AAAAAAAAAAAAAAAAAAAAAA 7 platform-1")
	f.Add("x 7")
	f.Fuzz(func(t *testing.T, payload string) {
		if wake, err := parseWake(payload); err != nil && wake.Platform != "" {
			t.Fatalf("%+v beside %v", wake, err)
		}
	})
}
