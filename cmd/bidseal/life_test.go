package main

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/app/core"
	"github.com/bidseal/bidseal/app/core/keys"
	"github.com/bidseal/bidseal/app/core/keystore"
	"github.com/bidseal/bidseal/app/core/storage"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/catest"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/cmd/internal/phonecmd"
	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm4"
	"github.com/emmansun/gmsm/smx509"
)

// holderLife is one holder through all certificates: real authority, relay, SDK and
// phones, operated by their command lines.
type holderLife struct {
	*thread
	base []string // flags of `bidseal ca`
}

func newLife(t *testing.T) *holderLife {
	t.Helper()
	th := newThread(t)
	return &holderLife{th, []string{"--data", th.authority.Dir, "--password-file", th.file("passphrase", []byte(catest.Passphrase)), "--operator", "tester"}}
}

// caLine runs `bidseal ca ... --json` on one authority and reads the document.
func caLine(t *testing.T, base []string, v any, args ...string) {
	t.Helper()
	code, stdout, stderr := bidsealRun(t, append(append([]string{"ca", "--json"}, base...), args...)...)
	if code != cli.ExitOK {
		t.Fatalf("ca %v: exit code %d\n%s", args, code, stderr)
	}
	if err := json.Unmarshal([]byte(stdout), v); err != nil {
		t.Fatalf("ca %v: %v\n%s", args, err, stdout)
	}
}

// phone is a phone that holds nothing yet.
func (l *holderLife) phone(name string) *threadPhone {
	l.t.Helper()
	return &threadPhone{th: l.thread, state: filepath.Join(l.dir, "phone-"+name), password: l.file("password-"+name, []byte("password of "+name+"\n"))}
}

// enrolWith uses a code and returns the certificates that came, newest pair first.
func (p *threadPhone) enrolWith(code string) []core.Certificate {
	p.th.t.Helper()
	var out struct {
		Certificates []core.Certificate `json:"certificates"`
	}
	p.run(&out, cli.ExitOK, "enrol", "--code", code, "--relay", p.th.relay, "--app-origin", threadApp, "--password-file", p.password)
	if len(out.Certificates) < 2 {
		p.th.t.Fatalf("enrol: %+v", out)
	}
	p.signing = out.Certificates[0].Serial
	return out.Certificates
}

// authorise runs `bidseal ca renew|change|reissue` for the phone's certificate.
func (l *holderLife) authorise(p *threadPhone, operation string, flags ...string) (file string) {
	l.t.Helper()
	file = filepath.Join(l.dir, operation+"-"+p.signing+".json")
	var out struct{ Operation string }
	caLine(l.t, l.base, &out, append([]string{operation, "--serial", p.signing, "--out", file}, flags...)...)
	if out.Operation != operation {
		l.t.Errorf("a code for %q", out.Operation)
	}
	return file
}

// first enrols a phone with a certificate that ends in two months.
func (l *holderLife) first(p *threadPhone) []core.Certificate {
	l.t.Helper()
	file := l.authority.Code(caapi.Subject{Kind: string(trust.Organisation), Name: "张三", Organisation: "示例建设有限公司",
		CreditCode: "91330100MA27XL0G0X", Role: trust.RoleAdmin}, 60*24*time.Hour)
	raw, err := json.Marshal(file)
	l.must(err)
	return p.enrolWith(l.file("first.json", raw))
}

// certificate is what the authority issued under a serial number.
func (l *holderLife) certificate(lineage, serial string) *smx509.Certificate {
	l.t.Helper()
	all, err := l.authority.Status.Certificates(l.t.Context(), lineage, 100)
	l.must(err)
	for _, c := range all {
		if c.Serial == serial {
			cert, err := smx509.ParseCertificate(c.Definition)
			l.must(err)
			return cert
		}
	}
	l.t.Fatalf("no certificate %s", serial)
	return nil
}

// lockedFile is a file that somebody encrypted for a certificate.
type lockedFile struct {
	wrapped, sealed []byte
	to              keys.Recipient
}

func lockFile(t *testing.T, to *smx509.Certificate, content []byte) lockedFile {
	t.Helper()
	key, err := protocol.Random(sm4.BlockSize)
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := sm2.EncryptASN1(rand.Reader, to.PublicKey.(*ecdsa.PublicKey), key)
	if err != nil {
		t.Fatal(err)
	}
	return lockedFile{wrapped, fileCipher(t, key).Seal(nil, make([]byte, 12), content, nil), keys.Recipient{Issuer: to.RawIssuer, Serial: to.SerialNumber.Bytes()}}
}

func fileCipher(t *testing.T, key []byte) cipher.AEAD {
	t.Helper()
	block, err := sm4.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return aead
}

// open opens the state of a phone as its app does. blind keeps the authority's
// status service from it; ahead is by how much its clock is fast.
func (p *threadPhone) open(ahead time.Duration, blind bool) *core.Core {
	p.th.t.Helper()
	files, err := storage.OpenDir(p.state)
	p.th.must(err)
	store, err := keystore.New(files, keystore.DefaultKDF())
	p.th.must(err)
	phone, err := core.Open(p.th.t.Context(), core.Options{Files: files, Keys: store, Transport: blindTransport{phonecmd.NewTransport(), blind},
		App: "test/1", Now: func() time.Time { return time.Now().Add(ahead) }, Log: slog.New(slog.DiscardHandler)})
	p.th.must(err)
	return phone
}

type blindTransport struct {
	core.Transport
	blind bool
}

func (b blindTransport) Do(ctx context.Context, call core.Call) (core.Answer, error) {
	if b.blind && strings.HasSuffix(call.URL, caapi.PathOCSP) {
		return core.Answer{Status: 503}, nil
	}
	return b.Transport.Do(ctx, call)
}

// TestLifeOfACertificate: enrolled, renewed, renamed, lost and reissued. What was
// encrypted for the first certificate opens on the last phone; the lost one
// signs nothing that counts and gets no pass.
func TestLifeOfACertificate(t *testing.T) {
	l := newLife(t)
	client := l.sdk()
	old, fresh := l.phone("old"), l.phone("new")
	first := l.first(old)
	lineage := first[0].Identity.Lineage
	content := []byte("投标文件")
	locked := lockFile(t, l.certificate(lineage, first[1].Serial), content)

	renewed := old.enrolWith(l.authorise(old, "renew", "--years", "2"))
	if off := renewed[0].NotAfter.Sub(first[0].NotAfter.AddDate(2, 0, 0)); off < -24*time.Hour || off > 0 { // a day where the month is shorter
		t.Errorf("renewed until %s, the old one ended %s", renewed[0].NotAfter, first[0].NotAfter)
	}
	renamed := old.enrolWith(l.authorise(old, "change", "--organisation", "示例建设集团有限公司"))
	if renamed[0].Identity.Organisation != "示例建设集团有限公司" || renamed[0].Identity.Lineage != lineage || len(renamed) != 2 {
		t.Errorf("renamed: %+v", renamed)
	}
	var device struct{ Device string }
	fresh.run(&device, cli.ExitOK, "device")
	reissue := l.authorise(old, "reissue", "--device", device.Device)
	reissued := fresh.enrolWith(reissue)
	if len(reissued) != 2+3 || reissued[0].Identity != renamed[0].Identity || !reissued[0].NotAfter.Equal(renamed[0].NotAfter) {
		t.Errorf("reissued: %+v", reissued)
	}

	t.Run("the file opens on the new phone", func(t *testing.T) {
		key, err := fresh.open(0, false).Unwrap(t.Context(), locked.to, locked.wrapped, []byte("password of new"))
		l.must(err)
		opened, err := fileCipher(t, key).Open(nil, make([]byte, 12), locked.sealed, nil)
		l.must(err)
		if !bytes.Equal(opened, content) {
			t.Error("another file")
		}
	})
	t.Run("the new phone signs", func(t *testing.T) {
		l.t = t
		challenge, err := client.Login(t.Context(), bidseal.LoginOptions{})
		l.must(err)
		fresh.scan(challenge.Payload())
		login, err := l.wait(challenge)
		l.must(err)
		if login.CertificateSerial != fresh.signing || login.Organisation != "示例建设集团有限公司" {
			t.Errorf("login %+v", login)
		}
	})
	t.Run("the lost phone does not sign", func(t *testing.T) {
		l.t = t
		challenge, err := client.Login(t.Context(), bidseal.LoginOptions{})
		l.must(err)
		old.refused(protocol.CodeCertRevoked, challenge.Payload(), "--approve")
	})
	t.Run("the lost phone does not unlock", func(t *testing.T) {
		l.t = t
		challenge, err := client.Login(t.Context(), bidseal.LoginOptions{})
		l.must(err)
		s, err := old.open(0, true).Scan(t.Context(), challenge.Payload())
		l.must(err)
		if _, err = s.Approve(t.Context(), s.Review().Candidates[0].ID, []byte("password of old")); protocol.CodeOf(err) != protocol.CodeKeystoreGone {
			t.Errorf("the lost phone: %v", err)
		}
	})
	t.Run("the lost phone gets no pass", func(t *testing.T) {
		l.t = t
		const almostADay = protocol.MaxPassLife - time.Minute
		challenge, err := client.Login(t.Context(), bidseal.LoginOptions{})
		l.must(err)
		if _, err := old.open(almostADay, false).Scan(t.Context(), challenge.Payload()); protocol.CodeOf(err) != protocol.CodeForbidden {
			t.Errorf("the lost phone: %v", err)
		}
		_, err = fresh.open(almostADay, false).Scan(t.Context(), challenge.Payload())
		l.must(err)
	})
	t.Run("the code is spent", func(t *testing.T) {
		l.t = t
		var out protocol.Problem
		third := l.phone("third")
		third.run(&out, cli.ExitFailed, "enrol", "--code", reissue, "--relay", l.relay, "--app-origin", threadApp, "--password-file", third.password)
		if out.Code != protocol.CodeEnrolmentCode {
			t.Errorf("%+v", out)
		}
	})
	var report audit.Report
	caLine(t, l.base, &report, "verify-log")
}

// TestLifeCommandsRefuse: exit codes and stable codes of what is not possible.
func TestLifeCommandsRefuse(t *testing.T) {
	l := newLife(t)
	phone := l.phone("one")
	lineage := l.first(phone)[0].Identity.Lineage
	out := filepath.Join(l.dir, "out.json")
	for name, v := range map[string]struct {
		args []string
		exit int
		code protocol.Code
	}{
		"no serial":           {[]string{"renew", "--out", out}, cli.ExitUsage, ""},
		"no file":             {[]string{"renew", "--serial", phone.signing}, cli.ExitUsage, ""},
		"four years":          {[]string{"renew", "--serial", phone.signing, "--years", "4", "--out", out}, cli.ExitFailed, protocol.CodeMalformed},
		"unknown serial":      {[]string{"renew", "--serial", "1234", "--out", out}, cli.ExitFailed, protocol.CodeNotFound},
		"another credit code": {[]string{"change", "--serial", phone.signing, "--organisation", "x", "--credit-code", "91350100M000100Y43", "--out", out}, cli.ExitFailed, protocol.CodeConflict},
		"no name":             {[]string{"change", "--serial", phone.signing, "--out", out}, cli.ExitUsage, ""},
		"reason":              {[]string{"reissue", "--serial", phone.signing, "--reason", "cACompromise", "--out", out}, cli.ExitFailed, protocol.CodeMalformed},
		"hold of nothing":     {[]string{"hold"}, cli.ExitUsage, ""},
		"unknown device":      {[]string{"device", "block", "nobody"}, cli.ExitFailed, protocol.CodeNotFound},
	} {
		code, stdout, stderr := bidsealRun(t, append(append([]string{"ca", "--json"}, l.base...), v.args...)...)
		if code != v.exit || v.code != "" && !strings.Contains(stdout, string(v.code)) {
			t.Errorf("%s: exit code %d\n%s%s", name, code, stdout, stderr)
		}
	}
	var changed struct{ Held, Resumed, Revoked []string }
	caLine(t, l.base, &changed, "hold", "--lineage", lineage)
	code, stdout, _ := bidsealRun(t, append(append([]string{"ca", "--json"}, l.base...), "renew", "--serial", phone.signing, "--out", out)...)
	if code != cli.ExitFailed || !strings.Contains(stdout, string(protocol.CodeCertRevoked)) {
		t.Errorf("renewal of a held certificate: %d %s", code, stdout)
	}
	caLine(t, l.base, &changed, "resume", "--lineage", lineage)
	caLine(t, l.base, &changed, "revoke", "--lineage", lineage, "--reason", "cessationOfOperation")
	if len(changed.Held) != 2 || len(changed.Resumed) != 2 || len(changed.Revoked) != 2 {
		t.Errorf("%+v", changed)
	}
	if code, stdout, _ = bidsealRun(t, append(append([]string{"ca", "--json"}, l.base...), "resume", "--lineage", lineage)...); code != cli.ExitFailed || !strings.Contains(stdout, string(protocol.CodeCertRevoked)) {
		t.Errorf("resumed a revoked one: %d %s", code, stdout)
	}
}
