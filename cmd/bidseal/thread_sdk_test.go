package main

import (
	"context"
	"crypto"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
)

// sdk is the platform with its SDK, following the relay's feed.
func (th *thread) sdk() *bidseal.Client {
	th.t.Helper()
	client, err := bidseal.New(bidseal.Config{RequestKey: th.platform.RequestKey, Chain: th.platform.Chain, APIKey: th.platform.APIKey,
		Relay: th.relay, App: threadApp, LedgerKeys: []crypto.PublicKey{th.ledger.Public()}, Anchors: th.authority.Store(), OCSPURL: th.authority.URL + "/ocsp", TSAURL: th.authority.URL + caapi.PathTimestamp,
		Origins: []string{"https://bid.example.cn"}})
	th.must(err)
	th.run(client)
	return client
}

// run has a client follow the relay until the test ends.
func (th *thread) run(client *bidseal.Client) {
	ctx, stop := context.WithCancel(th.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- client.Run(ctx) }()
	th.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			th.t.Errorf("the client ended: %v", err)
		}
	})
}

// wait is the verified login of a challenge.
func (th *thread) wait(challenge *bidseal.Challenge) (*bidseal.Login, error) {
	ctx, stop := context.WithTimeout(th.t.Context(), time.Minute)
	defer stop()
	return challenge.Wait(ctx)
}

// digits are what the platform's page shows once the code was scanned.
func (th *thread) digits(challenge *bidseal.Challenge) string {
	th.t.Helper()
	for e := range challenge.Events() {
		if e.Digits != "" {
			return e.Digits
		}
	}
	th.t.Fatal("no digits were shown")
	return ""
}

// TestThreadWithSDK is the same way with the SDK as the platform: nothing in it
// is a double.
func TestThreadWithSDK(t *testing.T) {
	th := newThread(t)
	client := th.sdk()
	phone := th.enrol("王五")

	t.Run("animated code from a picture", func(t *testing.T) {
		th.t = t
		challenge, err := client.Login(t.Context(), bidseal.LoginOptions{Display: []string{"登录示例电子交易平台"}})
		th.must(err)
		raw, err := challenge.PNG(320)
		th.must(err)
		phone.scan(th.file("code.png", raw))
		login, err := th.wait(challenge)
		th.must(err)
		if login.CertificateSerial != phone.signing || login.Person != "王五" || login.CreditCode == "" {
			t.Errorf("login %+v", login)
		}
		report, err := bidseal.Verifier{Anchors: th.authority.Store()}.VerifyEvidence(login.Evidence)
		th.must(err)
		if stamp := report.Timestamp; stamp == nil || stamp.Late || !strings.HasSuffix(stamp.Authority, " TSA") {
			t.Errorf("the timestamp of the evidence is %+v", stamp)
		}
	})
	t.Run("static code with digits", func(t *testing.T) {
		th.t = t
		challenge, err := client.Login(t.Context(), bidseal.LoginOptions{Static: true})
		th.must(err)
		phone.refused(protocol.CodeMatchRequired, challenge.Payload(), "--approve")
		digits := th.digits(challenge)
		other := "00"
		if digits == other {
			other = "01"
		}
		phone.refused(protocol.CodeMatchWrong, challenge.Payload(), "--approve", "--match", other)
		phone.scan(challenge.Payload(), "--match", digits)
		login, err := th.wait(challenge)
		th.must(err)
		if login.CertificateSerial != phone.signing {
			t.Errorf("login %+v", login)
		}
	})
	t.Run("digits three times wrong", func(t *testing.T) {
		th.t = t
		challenge, err := client.Login(t.Context(), bidseal.LoginOptions{Static: true})
		th.must(err)
		phone.refused(protocol.CodeMatchRequired, challenge.Payload(), "--approve")
		other := "00"
		if th.digits(challenge) == other {
			other = "01"
		}
		phone.refused(protocol.CodeMatchWrong, challenge.Payload(), "--approve", "--match", other)
		phone.refused(protocol.CodeMatchWrong, challenge.Payload(), "--approve", "--match", other)
		phone.refused(protocol.CodeMatchFailed, challenge.Payload(), "--approve", "--match", other)
		if _, err := th.wait(challenge); protocol.CodeOf(err) != protocol.CodeMatchFailed {
			t.Errorf("the platform saw %v", err)
		}
	})
	t.Run("reject", func(t *testing.T) {
		th.t = t
		challenge, err := client.Login(t.Context(), bidseal.LoginOptions{})
		th.must(err)
		var out scanLine
		phone.run(&out, cli.ExitOK, "scan", challenge.Payload(), "--reject", "wrong_content")
		if _, err := th.wait(challenge); protocol.CodeOf(err) != protocol.CodeRejected {
			t.Errorf("the platform saw %v", err)
		}
	})
	t.Run("another owner expected", func(t *testing.T) {
		th.t = t
		challenge, err := client.Login(t.Context(), bidseal.LoginOptions{Expect: &bidseal.Owner{Anchor: protocol.H(th.authority.Folder.Root().Raw),
			CreditCode: "91110000000000000X"}})
		th.must(err)
		phone.refused(protocol.CodeNoCertificate, challenge.Payload(), "--approve")
		if _, err := th.wait(challenge); protocol.CodeOf(err) != protocol.CodeNoCertificate {
			t.Errorf("the platform saw %v", err)
		}
	})
}
