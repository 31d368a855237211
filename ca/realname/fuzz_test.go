package realname

import (
	"crypto"
	"crypto/rand"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
)

// FuzzToken: only the token that was issued is taken; every refusal has the one code.
func FuzzToken(f *testing.F) {
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 0)
	token := Token{Purpose: PasswordReset, Account: "account", Device: "device", Person: make([]byte, PersonSize)}
	good, err := Issue(key, token, now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("e30.e30")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Verify([]crypto.PublicKey{key.Public()}, text, Want{Purpose: PasswordReset, Account: "account", Device: "device"}, now)
		if err != nil && (got != nil || protocol.CodeOf(err) != protocol.CodeRealNameToken) {
			t.Fatalf("%v, %v", got, err)
		}
		if err == nil && (got.Purpose != PasswordReset || got.Account != "account") {
			t.Fatalf("%+v was taken", got)
		}
	})
}
