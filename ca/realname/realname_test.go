package realname_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/realname"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func key(t testing.TB) *sm2.PrivateKey {
	t.Helper()
	k, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	return k
}

var at = time.Unix(1_800_000_000, 0)

func token() realname.Token {
	return realname.Token{Purpose: realname.PasswordReset, Account: "account", Device: "device", Person: make([]byte, realname.PersonSize)}
}

func want() realname.Want {
	return realname.Want{Purpose: realname.PasswordReset, Account: "account", Device: "device"}
}

func TestIssueAndVerify(t *testing.T) {
	k, second := key(t), key(t)
	text, err := realname.Issue(k, token(), at)
	must(t, err)
	got, err := realname.Verify([]crypto.PublicKey{second.Public(), k.Public()}, text, want(), at.Add(realname.Life-time.Second))
	must(t, err)
	if got.Issued != at.Unix() || got.Expires != at.Add(realname.Life).Unix() || len(got.Nonce) != realname.NonceSize {
		t.Errorf("%+v", got)
	}
	again, err := realname.Issue(k, token(), at)
	must(t, err)
	if again == text {
		t.Error("two tokens are one")
	}
	late := want()
	late.Expired = true
	if _, err := realname.Verify([]crypto.PublicKey{k.Public()}, text, late, at.Add(24*time.Hour)); err != nil {
		t.Errorf("a repeated request: %v", err)
	}
	for name, authorities := range map[string][]crypto.PublicKey{"none": nil, "another": {second.Public()}} {
		if _, err := realname.Verify(authorities, text, want(), at); protocol.CodeOf(err) != protocol.CodeRealNameToken {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIssueRefuses(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	if _, err := realname.Issue(p256, token(), at); err == nil {
		t.Error("a P-256 key issued")
	}
	for name, change := range map[string]func(*realname.Token){
		"purpose": func(t *realname.Token) { t.Purpose = "x" },
		"account": func(t *realname.Token) { t.Account = "" },
		"device":  func(t *realname.Token) { t.Device = "" },
		"person":  func(t *realname.Token) { t.Person = nil },
		"life":    func(t *realname.Token) { t.Issued, t.Expires = 1, 1+1801 },
	} {
		bad := token()
		change(&bad)
		if _, err := realname.Issue(key(t), bad, at); err == nil {
			t.Errorf("issued without a good %s", name)
		}
	}
}

func TestPersonTellsPeopleApart(t *testing.T) {
	base := realname.Person([]byte("secret"), "张三", "1")
	for name, other := range map[string][]byte{
		"secret": realname.Person([]byte("other"), "张三", "1"), "name": realname.Person([]byte("secret"), "李四", "1"),
		"number": realname.Person([]byte("secret"), "张三", "2"), "border": realname.Person([]byte("secret"), "张三1", ""),
	} {
		if bytes.Equal(base, other) {
			t.Errorf("the %s makes no difference", name)
		}
	}
	if len(base) != realname.PersonSize || !bytes.Equal(base, realname.Person([]byte("secret"), "张三", "1")) {
		t.Error("not one digest of one person")
	}
}

// FuzzVerify: whatever the text, only the token itself is taken, and only the
// one error escapes.
func FuzzVerify(f *testing.F) {
	k := key(f)
	text, err := realname.Issue(k, token(), at)
	must(f, err)
	f.Add(text)
	f.Add("a.b")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		_, err := realname.Verify([]crypto.PublicKey{k.Public()}, s, want(), at)
		if (err == nil) != (s == text) || err != nil && protocol.CodeOf(err) != protocol.CodeRealNameToken {
			t.Fatalf("%q: %v", s, err)
		}
	})
}

func ExampleVerify() {
	authority, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	now := time.Now()
	text, err := realname.Issue(authority, realname.Token{
		Purpose: realname.PasswordReset, Account: "account", Device: "device", Person: realname.Person([]byte("secret"), "张三", "110101199003070037"),
	}, now)
	if err != nil {
		panic(err)
	}
	token, err := realname.Verify([]crypto.PublicKey{authority.Public()}, text,
		realname.Want{Purpose: realname.PasswordReset, Account: "account", Device: "device"}, now)
	fmt.Println(token.Purpose, err)
	// Output: password_reset <nil>
}
