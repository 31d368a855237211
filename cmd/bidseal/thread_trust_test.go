package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/catest"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/cmd/internal/relaycmd"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay/sqlstore"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/trust"
)

// authorityWithArc is an authority whose identifiers stand under an arc of its
// own.
func authorityWithArc(t *testing.T, arc, name string) *catest.CA {
	t.Helper()
	return catest.New(t, catest.Options{Configure: func(c *folder.Config) {
		c.DocumentationOIDs, c.Name = false, name
		for i, id := range []*string{&c.OIDs.Lineage, &c.OIDs.Role, &c.OIDs.PlatformID, &c.OIDs.PlatformUsage, &c.OIDs.SealMakerUsage,
			&c.OIDs.OperatorUsage, &c.OIDs.Identity, &c.OIDs.TimestampPolicy, &c.OIDs.CreditCode} {
			*id = fmt.Sprintf("%s.%d", arc, i+1)
		}
	}})
}

// world is a relay and a platform that know their authorities from one trust file
// alone, set up by the commands that an operator types.
type world struct {
	*thread
	client *bidseal.Client
	trust  string // file with the relay in it
}

// newWorld sets up relay and platform. The platform's certificate is of the
// issuer.
func newWorld(t *testing.T, issuer *catest.CA, believed *trust.File) *world {
	t.Helper()
	th := &thread{t: t, authority: issuer, dir: t.TempDir(), client: &http.Client{Timeout: time.Minute}}
	server := httptest.NewUnstartedServer(nil)
	th.relay = "http://" + server.Listener.Addr().String()
	given := filepath.Join(th.dir, "given.json")
	th.must(cli.WriteTrustFile(given, believed))
	line := func(args ...string) []byte {
		t.Helper()
		code, stdout, stderr := bidsealRun(t, append([]string{"--json"}, args...)...)
		if code != cli.ExitOK {
			t.Fatalf("%v: exit code %d\n%s%s", args, code, stdout, stderr)
		}
		return []byte(stdout)
	}
	relayDir, platformDir := filepath.Join(th.dir, "relay"), filepath.Join(th.dir, "platform")
	line("relay", "init", "--dir", relayDir, "--origin", th.relay, "--trust", given)
	config := relaycmd.DefaultConfig()
	th.must(cli.LoadConfig(filepath.Join(relayDir, relaycmd.ConfigFile), &config))
	config.Dir = relayDir
	store, err := sqlstore.Open(t.Context(), config.DatabaseFile(), time.Now)
	th.must(err)
	node, err := relaycmd.NewNode(t.Context(), config, store, relaycmd.OneNode(store), slog.New(slog.NewTextHandler(io.Discard, nil)))
	th.must(err)
	server.Config.Handler = node.Handler()
	server.Start()
	t.Cleanup(func() {
		node.Drain(context.WithoutCancel(t.Context()))
		server.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})

	completed := filepath.Join(relayDir, trust.FileName)
	var state caapi.PlatformState
	th.must(json.Unmarshal(line("platform", "request", "--dir", platformDir, "--ca", issuer.URL, "--name", threadName, "--organisation", "示例交易中心",
		"--contact", "ops@example.cn", "--origin", "https://bid.example.cn"), &state))
	line("ca", "--data", issuer.Dir, "--password-file", th.file("passphrase", []byte(catest.Passphrase)), "platform", "approve", state.ID)
	line("platform", "fetch", "--dir", platformDir, "--relay", th.relay, "--app", threadApp, "--trust", completed)
	line("relay", "--config", filepath.Join(relayDir, relaycmd.ConfigFile), "platform", "add", "--file", filepath.Join(platformDir, "registration.json"))
	loaded, err := bidseal.LoadConfig(platformDir)
	th.must(err)
	client, err := bidseal.New(loaded)
	th.must(err)
	th.run(client)
	return &world{thread: th, client: client, trust: completed}
}

// phoneOf enrols a phone with an authority. The enrolment file names nothing but
// what the authority's own trust file says, unless another one is given.
func (w *world) phoneOf(authority *catest.CA, name, trustFile string) *threadPhone {
	w.t.Helper()
	raw, err := json.Marshal(authority.Code(caapi.Subject{Kind: string(trust.Organisation), Name: name, Organisation: "示例建设有限公司",
		CreditCode: "91330100MA27XL0G0X", Role: trust.RoleAdmin}, 0))
	w.must(err)
	p := &threadPhone{th: w.thread, state: filepath.Join(w.dir, "phone-"+name), password: w.file("password", []byte(threadPassword+"\n"))}
	args := []string{"enrol", "--code", w.file("code-"+name+".json", raw), "--relay", w.relay, "--app-origin", threadApp, "--password-file", p.password}
	if trustFile != "" {
		args = append(args, "--trust", trustFile)
	}
	var out struct{ Certificates []struct{ Serial string } }
	p.run(&out, cli.ExitOK, args...)
	p.signing = out.Certificates[0].Serial
	return p
}

// signIn has a phone sign in and holds the evidence against the trust file.
func (w *world) signIn(p *threadPhone) {
	w.t.Helper()
	challenge, err := w.client.Login(w.t.Context(), bidseal.LoginOptions{})
	w.must(err)
	p.scan(challenge.Payload())
	login, err := w.wait(challenge)
	w.must(err)
	if login.CertificateSerial != p.signing || login.CreditCode != "91330100MA27XL0G0X" || login.Role != trust.RoleAdmin || login.Subject.Lineage == "" {
		w.t.Errorf("login %+v", login)
	}
	file := filepath.Join(w.dir, "evidence.json")
	w.must(os.WriteFile(file, login.Evidence, 0o600))
	code, stdout, stderr := bidsealRun(w.t, "evidence", "verify", file, "--trust", w.trust, "--json")
	var report bidseal.Report
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != cli.ExitOK || report.Timestamp == nil {
		w.t.Errorf("evidence: exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
	// read by the identifiers of the documentation arc the same file proves nothing
	root := filepath.Join(w.authority.Dir, "root.pem")
	if code, _, _ := bidsealRun(w.t, "evidence", "verify", file, "--root", root, "--json"); code == cli.ExitOK {
		w.t.Error("the evidence verifies by foreign identifiers")
	}
}

// TestThreadUnderAnotherArc: an authority with identifiers of its own works for
// everybody through the trust file: relay, platform, phone, evidence.
func TestThreadUnderAnotherArc(t *testing.T) {
	authority := authorityWithArc(t, "1.2.156.99999.1", "甲")
	believed, err := cli.ReadTrustFile(filepath.Join(authority.Dir, trust.FileName))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, authority, believed)
	w.signIn(w.phoneOf(authority, "张三", ""))
}

// TestTwoAuthoritiesInTurn: two authorities side by side, one of which is believed
// until the moment at which the other begins.
func TestTwoAuthoritiesInTurn(t *testing.T) {
	old, next := authorityWithArc(t, "1.2.156.99999.1", "甲"), authorityWithArc(t, "1.2.156.99999.2", "乙")
	for name, c := range map[string]struct {
		turn            time.Time
		believed, other *catest.CA
	}{
		"before the turn": {time.Now().Add(time.Hour), old, next},
		"after the turn":  {time.Now().Add(-time.Hour), next, old},
	} {
		t.Run(name, func(t *testing.T) {
			both := &trust.File{Authorities: []trust.Authority{old.Folder.TrustAuthority(), next.Folder.TrustAuthority()}}
			both.Authorities[0].Operations = map[trust.Operation]trust.Period{trust.OperationLogin: {Until: c.turn}, trust.OperationEvidence: {}}
			both.Authorities[1].Operations = map[trust.Operation]trust.Period{trust.OperationLogin: {From: c.turn}, trust.OperationEvidence: {}}
			w := newWorld(t, c.believed, both)
			w.signIn(w.phoneOf(c.believed, "张三", w.trust))
			stranger := w.phoneOf(c.other, "李四", w.trust)
			challenge, err := w.client.Login(t.Context(), bidseal.LoginOptions{})
			w.must(err)
			stranger.refused(protocol.CodeCertUntrusted, challenge.Payload(), "--approve")
		})
	}
}
