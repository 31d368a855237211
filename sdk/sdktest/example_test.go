package sdktest_test

import (
	"testing"

	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/sdk/sdktest"
)

// What a platform writes to test its own sign-in.
func TestTenLines(t *testing.T) {
	env := sdktest.New(t)
	challenge, err := env.Client().Login(t.Context(), bidseal.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := env.Phone("张三").Approve(t.Context(), challenge.Payload()); err != nil {
		t.Fatal(err)
	}
	if login, err := challenge.Wait(t.Context()); err != nil || login.Person != "张三" {
		t.Fatalf("login %+v: %v", login, err)
	}
}
