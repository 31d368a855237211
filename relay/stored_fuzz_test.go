package relay

import (
	"bytes"
	"testing"

	"github.com/bidseal/bidseal/protocol"
)

// FuzzStoredChallenge: what a store gives back is a challenge that is written the same way again, or an error.
func FuzzStoredChallenge(f *testing.F) {
	good, err := (&Challenge{CID: protocol.CID{1}, Platform: "p", CreateDigest: []byte{1}, HClaim: []byte{2}, HWatch: []byte{3}}).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := DecodeChallenge(protocol.CID{1}, "p", 1, raw)
		if err != nil {
			return
		}
		once, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeChallenge(c.CID, c.Platform, c.Rev, once)
		if err != nil {
			t.Fatal(err)
		}
		if twice, err := again.Encode(); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%s, then %s, %v", once, twice, err)
		}
	})
}

// FuzzTopic: a topic that is read writes itself the same way.
func FuzzTopic(f *testing.F) {
	f.Add(topic{cid: protocol.CID{1}}.String())
	f.Add(topic{platform: "platform-1"}.String())
	f.Fuzz(func(t *testing.T, text string) {
		if read, ok := parseTopic(text); ok && read.String() != text && text != "platform:" {
			t.Fatalf("%q was read as %q", text, read)
		}
	})
}
