//go:build redis && postgres

package benchcmd

import (
	"bufio"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/catest"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/cmd/internal/cli/clitest"
	"github.com/bidseal/bidseal/cmd/internal/relaycmd"
	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/bidseal/bidseal/internal/sqldb/pgtest"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
	"github.com/bidseal/bidseal/relay/redisstore/redistest"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/sdk/sqlstore"
)

const (
	restartLogins  = 1000
	restartPhones  = 16 // holders of certificates; each signs in many times
	restartWorkers = 48 // phones that act at the same time
	restartUnheard = 8  // results under way at each kill: taken, and their answers lost
)

const (
	testApp      = "http://127.0.0.1:1" // nothing listens there; a code is only read
	testPlatform = "示例电子交易平台"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// relayTool runs `bidseal relay` on a relay's folder.
type relayTool struct{ dir, config string }

// run runs `bidseal relay ... --json` and returns stdout.
func (r relayTool) run(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := clitest.Run(t, cli.NewRoot("bidseal", "", relaycmd.New()), append([]string{"relay", "--json", "--config", r.config}, args...)...)
	if code != cli.ExitOK {
		t.Fatalf("relay %v: exit code %d\n%s", args, code, stderr)
	}
	return stdout
}

// add replaces the configuration's limits and what comes after them.
func (r relayTool) add(t *testing.T, sections string) {
	t.Helper()
	raw, err := os.ReadFile(r.config)
	must(t, err)
	text, _, found := strings.Cut(string(raw), "[limits]")
	if !found {
		t.Fatalf("no [limits] in %s", raw)
	}
	must(t, os.WriteFile(r.config, []byte(text+sections), 0o600))
}

// restartWorld is a relay of two processes on Redis and PostgreSQL behind a
// balancer, an authority, and a platform of two backends that share a database.
type restartWorld struct {
	t         *testing.T
	authority *catest.CA
	balancer  *balancer
	folder    relayTool
	nodes     []*relayProcess
	clients   []*bidseal.Client
	phones    []*benchPhone
}

// relayProcess is one `bidseal relay serve`.
type relayProcess struct {
	cmd    *exec.Cmd
	listen string
}

func startRelayProcess(ctx context.Context, config string) (*relayProcess, error) {
	cmd := exec.CommandContext(ctx, os.Args[0], "relay", "serve", "--config", config, "--listen", "127.0.0.1:0", "--json")
	cmd.Env = append(os.Environ(), asCommand+"=bidseal")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("no ready line: %w", errors.Join(err, cmd.Wait()))
	}
	var ready struct {
		Listen string `json:"listen"`
	}
	if err := json.Unmarshal(line, &ready); err != nil {
		return nil, err
	}
	return &relayProcess{cmd, ready.Listen}, nil
}

// end sends a signal and waits for the process.
func (p *relayProcess) end(signal os.Signal) error {
	if err := p.cmd.Process.Signal(signal); err != nil {
		return err
	}
	return p.cmd.Wait()
}

func newRestartWorld(t *testing.T) *restartWorld {
	t.Helper()
	w := &restartWorld{t: t, authority: catest.New(t, catest.Options{}), balancer: newBalancer(t, 2)}
	database, redis := pgtest.Database(t), redistest.Start(t).Addr
	files := t.TempDir()
	w.folder = relayTool{dir: filepath.Join(files, "relay"), config: filepath.Join(files, "relay", "relay.toml")}
	spki, err := protocol.MarshalKey(w.authority.Life.PassKey())
	must(t, err)
	root, pass := filepath.Join(files, "root.pem"), filepath.Join(files, "pass.pem")
	must(t, os.WriteFile(root, pemfile.EncodeCertificates([][]byte{w.authority.Folder.Root().Raw}), 0o600))
	must(t, os.WriteFile(pass, pemfile.EncodePublicKey(spki), 0o600))
	w.folder.run(t, "init", "--dir", w.folder.dir, "--origin", w.balancer.origin(), "--root", root, "--pass-key", pass)
	w.folder.add(t, "[limits]\ncalls_per_device = 1000000\n[redis]\naddresses = ['"+redis+"']\n[database]\nurl = '"+database+"'\n")
	platform := w.authority.Platform(testPlatform, "https://bid.example.cn")
	api, err := protocol.MarshalKey(platform.APIKey.Public())
	must(t, err)
	raw, err := json.Marshal(relay.PlatformRegistration{V: 1, PlatformID: platform.ID, Name: testPlatform, Chain: platform.Registration.Chain, APIKey: api,
		Origins: []string{"https://bid.example.cn"}})
	must(t, err)
	registration := filepath.Join(files, "registration.json")
	must(t, os.WriteFile(registration, raw, 0o600))
	w.folder.run(t, "platform", "add", "--file", registration)
	for i := range 2 {
		node, err := startRelayProcess(t.Context(), w.folder.config)
		must(t, err)
		w.nodes = append(w.nodes, node)
		w.balancer.set(i, node.listen)
	}
	ledger, err := pemfile.ReadPublicKey(filepath.Join(w.folder.dir, "ledger.pem"))
	must(t, err)
	for range 2 {
		w.clients = append(w.clients, w.backend(platform, ledger, database))
	}
	for i := range restartPhones {
		h := w.authority.Person("张三" + strconv.Itoa(i))
		w.phones = append(w.phones, &benchPhone{http: newPhoneClient(), relay: w.balancer.origin(), app: testApp, anchors: w.authority.Store(),
			device: h.DeviceKey, pass: h.Pass, signer: h.SigningKey, chain: h.ChainDER()})
	}
	return w
}

func newPhoneClient() *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: restartWorkers}}
}

// backend is one of the platform's, on the same database server as the relay.
func (w *restartWorld) backend(platform *catest.Platform, ledger crypto.PublicKey, database string) *bidseal.Client {
	t := w.t
	t.Helper()
	store, err := sqlstore.Open(t.Context(), sqlstore.Config{Location: database})
	must(t, err)
	client, err := bidseal.New(bidseal.Config{RequestKey: platform.RequestKey, Chain: platform.Chain, APIKey: platform.APIKey,
		Relay: w.balancer.origin(), App: testApp, LedgerKeys: []crypto.PublicKey{ledger}, Anchors: w.authority.Store(), OCSPURL: w.authority.URL + "/ocsp",
		Origins: []string{"https://bid.example.cn"}, Store: store, StoreKey: make([]byte, 32)})
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- client.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, store.Close()); err != nil {
			t.Errorf("the platform's backend ended: %v", err)
		}
	})
	return client
}

// approveAgain is approve of a phone that repeats every call until it is answered.
func (p *benchPhone) approveAgain(ctx context.Context, payload string) error {
	scanned, err := protocol.ParsePayload(payload, []string{p.app})
	if err != nil {
		return err
	}
	ks, err := protocol.Derive(scanned.Secret)
	if err != nil {
		return err
	}
	defer ks.Wipe()
	id, err := protocol.Random(16)
	if err != nil {
		return err
	}
	var claimed protocol.ClaimAnswer
	if err := p.repeat(ctx, ks.CID, "claim", protocol.ClaimBody{KClaim: ks.KClaim, ClaimID: id}, &claimed); err != nil {
		return err
	}
	opened, err := protocol.OpenRequest(ks, scanned.RH16, claimed.BoxR)
	if err != nil {
		return err
	}
	name, err := p.checkPlatform(opened)
	if err != nil {
		return err
	}
	body, err := p.result(ks, opened, name, claimed.ClaimSeq, nil)
	if err != nil {
		return err
	}
	var done protocol.ResultAnswer
	return p.repeat(ctx, ks.CID, "result", body, &done)
}

// repeat calls until there is an answer that is not about the network or a
// node's state. The other node is up, so that it comes at once.
func (p *benchPhone) repeat(ctx context.Context, cid protocol.CID, step string, body, answer any) error {
	for {
		err := p.post(ctx, cid, step, body, answer)
		switch protocol.CodeOf(err) {
		case protocol.CodeNetwork, protocol.CodeUnavailable, protocol.CodeOverloaded:
			if ctx.Err() == nil {
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", step, err)
		}
		return nil
	}
}

// login is one sign-in and how it came out for whoever waits.
type restartLogin struct {
	challenge *bidseal.Challenge
	got       *bidseal.Login
	err       error
}

// begin makes all logins and has somebody wait for each, on alternating backends.
func (w *restartWorld) begin() (logins []restartLogin, waiting *sync.WaitGroup) {
	t := w.t
	t.Helper()
	logins, waiting = make([]restartLogin, restartLogins), new(sync.WaitGroup)
	none := protocol.MatchNone
	errs := inParallel(16, restartLogins, func(i int) (err error) {
		logins[i].challenge, err = w.clients[i%2].Login(t.Context(), bidseal.LoginOptions{Static: true, Match: &none, NoRenew: true})
		return err
	})
	must(t, errs)
	for i := range logins {
		waiting.Go(func() { logins[i].got, logins[i].err = logins[i].challenge.Wait(t.Context()) })
	}
	return logins, waiting
}

// inParallel runs do for 0 to n-1, so many at a time, in order.
func inParallel(workers, n int, do func(i int) error) error {
	var next atomic.Int64
	errs := make([]error, n)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				errs[i] = do(i)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// restart kills a node by SIGKILL while results are under way there that it has
// taken and nobody has heard of, and starts it again.
func (w *restartWorld) restart(node int) error {
	w.balancer.mute(node)
	for range restartUnheard {
		<-w.balancer.lost
	}
	w.balancer.set(node, "")
	_ = w.nodes[node].end(os.Kill)
	w.balancer.mute(-1)
	again, err := startRelayProcess(w.t.Context(), w.folder.config)
	if err != nil {
		return fmt.Errorf("start node %d again: %w", node, err)
	}
	w.nodes[node] = again
	w.balancer.set(node, again.listen)
	return nil
}

// TestRestartUnder1000Logins: 1,000 logins run at once on two relay processes with
// Redis and PostgreSQL. After a third of them one process is killed and started
// again, after two thirds the other. Every login is delivered, verified, once; the
// ledger has one line for each and verifies.
func TestRestartUnder1000Logins(t *testing.T) {
	w := newRestartWorld(t)
	logins, waiting := w.begin()
	var approved atomic.Int64
	thirds := []chan struct{}{make(chan struct{}), make(chan struct{})}
	restarted := make(chan error, 1)
	go func() {
		for node, third := range thirds {
			<-third
			if err := w.restart(node); err != nil {
				restarted <- err
				return
			}
		}
		restarted <- nil
	}()
	must(t, inParallel(restartWorkers, restartLogins, func(i int) error {
		if err := w.phones[i%restartPhones].approveAgain(t.Context(), logins[i].challenge.Payload()); err != nil {
			return fmt.Errorf("login %d: %w", i, err)
		}
		switch approved.Add(1) {
		case restartLogins / 3:
			close(thirds[0])
		case 2 * restartLogins / 3:
			close(thirds[1])
		}
		return nil
	}))
	must(t, <-restarted)
	waiting.Wait()
	w.check(logins)
	for _, node := range w.nodes {
		must(t, node.end(os.Interrupt))
	}
	var report struct {
		Entries int `json:"entries"`
	}
	must(t, json.Unmarshal([]byte(w.folder.run(t, "verify-log")), &report))
	if report.Entries != restartLogins {
		t.Errorf("%d lines in the ledger, want %d", report.Entries, restartLogins)
	}
}

// check: each login came out once, as a login of its own.
func (w *restartWorld) check(logins []restartLogin) {
	t := w.t
	t.Helper()
	seen := map[protocol.CID]int{}
	for i, l := range logins {
		if l.err != nil || l.got == nil {
			t.Errorf("login %d: %v", i, l.err)
			continue
		}
		seen[l.got.CID]++
	}
	if len(seen) != restartLogins {
		t.Errorf("%d different logins, want %d", len(seen), restartLogins)
	}
	again := inParallel(16, restartLogins, func(i int) error {
		there, err := w.clients[1-i%2].Challenge(t.Context(), logins[i].challenge.ID())
		if err != nil {
			return err
		}
		_, err = there.Wait(t.Context())
		switch {
		case err == nil:
			return fmt.Errorf("login %d was delivered again", i)
		case !errors.Is(err, bidseal.ErrResultConsumed):
			return fmt.Errorf("login %d: %w", i, err)
		}
		return nil
	})
	if again != nil {
		t.Error(again)
	}
}
