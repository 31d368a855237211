package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
)

// refuse runs a command that has to be refused with a code and, for people, with
// its words.
func (p *threadPhone) refuse(code protocol.Code, words string, args ...string) {
	p.th.t.Helper()
	exit, stdout, stderr := bidsealRun(p.th.t, append([]string{"phone", "--state", p.state, "--json"}, args...)...)
	if exit != cli.ExitFailed || !strings.Contains(stdout, `"code":"`+string(code)+`"`) || !strings.Contains(stderr, words) {
		p.th.t.Fatalf("phone %v: exit %d\n%s%s", args, exit, stdout, stderr)
	}
}

// TestPasswordOfACertificate: changed, mistyped until it locks, reset after a
// real-name check; the phone signs with the last one.
func TestPasswordOfACertificate(t *testing.T) {
	l := newLife(t)
	p := l.phone("one")
	first := l.first(p)
	raw, err := os.ReadFile(filepath.Join(p.state, "keystore.json"))
	l.must(err)
	if !strings.Contains(string(raw), `"password+voprf"`) || strings.Contains(string(raw), `"type":"password"`) {
		t.Fatalf("the enrolled phone does not use the password server: %.300s", raw)
	}
	second, third := l.file("second", []byte("the second password\n")), l.file("third", []byte("the third password\n"))
	change := func(from, to string) []string {
		return []string{"password", "change", "--password-file", from, "--new-password-file", to}
	}
	var done struct{ OK bool }
	p.run(&done, cli.ExitOK, change(p.password, second)...)
	p.refuse(protocol.CodePasswordWrong, "剩余 9 次", change(p.password, third)...)
	for range 5 {
		p.refuse(protocol.CodePasswordWrong, "剩余", change(p.password, third)...)
	}
	p.refuse(protocol.CodePasswordWrong, "再错 3 次将锁定", change(p.password, third)...)
	p.refuse(protocol.CodePasswordWrong, "再错 2 次将锁定", change(p.password, third)...)
	p.refuse(protocol.CodePasswordWrong, "再错 1 次将锁定", change(p.password, third)...)
	p.refuse(protocol.CodePasswordLocked, "通过实名核验重置密码，或办理证书补办", change(p.password, third)...)
	p.refuse(protocol.CodePasswordLocked, "证书密码已锁定", change(second, third)...)

	token := filepath.Join(l.dir, "token.txt")
	var made struct{ Expires int64 }
	person := l.file("person", []byte("张三\n110101199003070037\n"))
	caLine(t, l.base, &made, "real-name-token", "--serial", first[0].Serial, "--purpose", "password_reset", "--person-file", person, "--out", token)
	if made.Expires == 0 {
		t.Error("a token without an end")
	}
	reset := []string{"password", "reset", "--token", token, "--new-password-file", third}
	p.run(&done, cli.ExitOK, reset...)
	p.refuse(protocol.CodeRealNameToken, "实名核验凭证", reset...)
	p.refuse(protocol.CodePasswordWrong, "", change(second, p.password)...)

	client := l.sdk()
	challenge, err := client.Login(t.Context(), bidseal.LoginOptions{})
	l.must(err)
	p.password = third
	p.scan(challenge.Payload())
	login, err := l.wait(challenge)
	l.must(err)
	if login.CertificateSerial != p.signing {
		t.Errorf("login %+v", login)
	}
	var certs struct {
		TriesLeft int `json:"tries_left"`
	}
	p.run(&certs, cli.ExitOK, "certs")
	if certs.TriesLeft != assistapi.MaxTries {
		t.Errorf("%d tries left", certs.TriesLeft)
	}
	var report struct{ Entries int64 }
	caLine(t, l.base, &report, "verify-log")
	if report.Entries == 0 {
		t.Error("an empty log")
	}
}

func TestPasswordOffline(t *testing.T) {
	l := newLife(t)
	p := l.phone("one")
	l.first(p)
	settings := filepath.Join(p.state, "settings.json")
	raw, err := os.ReadFile(settings)
	l.must(err)
	l.must(os.WriteFile(settings, []byte(strings.Replace(string(raw), `"assist":"`+l.authority.URL, `"assist":"http://127.0.0.1:1`, 1)), 0o600))
	p.refuse(protocol.CodePasswordOffline, "验证证书密码需要联网", "password", "change", "--password-file", p.password, "--new-password-file", p.password)
}

func TestPasswordCommandsRefuse(t *testing.T) {
	dir := t.TempDir()
	for name, args := range map[string][]string{
		"no token":         {"phone", "--state", dir, "password", "reset"},
		"no purpose":       {"ca", "real-name-token", "--data", dir, "--serial", "00", "--out", filepath.Join(dir, "x")},
		"nobody":           {"ca", "real-name-token", "--data", dir, "--purpose", "password_reset", "--out", filepath.Join(dir, "x")},
		"account alone":    {"ca", "real-name-token", "--data", dir, "--purpose", "password_reset", "--account", "a", "--out", filepath.Join(dir, "x")},
		"no file to write": {"ca", "real-name-token", "--data", dir, "--purpose", "password_reset", "--serial", "00"},
		"a file in place":  {"ca", "real-name-token", "--data", dir, "--purpose", "password_reset", "--serial", "00", "--out", dir},
	} {
		if exit, _, stderr := bidsealRun(t, args...); exit != cli.ExitUsage {
			t.Errorf("%s: exit %d, %s", name, exit, stderr)
		}
	}
}
