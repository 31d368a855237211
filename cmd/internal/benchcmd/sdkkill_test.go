package benchcmd

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/httpapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// asPlatform makes the test binary behave as a platform: its value names the
// configuration, asPlatformID the challenge to take up, if any.
const (
	asPlatform   = "BIDSEAL_TEST_AS_PLATFORM"
	asPlatformID = "BIDSEAL_TEST_CHALLENGE"
)

// platformLine is what the platform's process says on stdout.
type platformLine struct {
	ID      string        `json:"id,omitempty"`
	Payload string        `json:"payload,omitempty"`
	State   bidseal.State `json:"state,omitempty"`
	Serial  string        `json:"serial,omitempty"`
	Code    protocol.Code `json:"code,omitempty"`
}

// runPlatform is the platform's process: without a challenge it makes one,
// says when its result is verified and then waits to be killed; with one it
// collects the result.
func runPlatform(config, id string) error {
	ctx := context.Background()
	c, err := bidseal.LoadConfig(config)
	if err != nil {
		return err
	}
	client, err := bidseal.New(c)
	if err != nil {
		return err
	}
	go func() { _ = client.Run(ctx) }()
	if id != "" {
		ch, err := client.Challenge(ctx, id)
		if err != nil {
			return cli.WriteJSON(os.Stdout, platformLine{Code: protocol.CodeOf(err)})
		}
		login, err := ch.Wait(ctx)
		if err != nil {
			return cli.WriteJSON(os.Stdout, platformLine{Code: protocol.CodeOf(err)})
		}
		return cli.WriteJSON(os.Stdout, platformLine{Serial: login.CertificateSerial})
	}
	none := protocol.MatchNone
	ch, err := client.Login(ctx, bidseal.LoginOptions{Static: true, Match: &none})
	if err != nil {
		return err
	}
	if err := cli.WriteJSON(os.Stdout, platformLine{ID: ch.ID(), Payload: ch.Payload()}); err != nil {
		return err
	}
	for e := range ch.Events() {
		if e.State == bidseal.StateDone {
			if err := cli.WriteJSON(os.Stdout, platformLine{State: e.State}); err != nil {
				return err
			}
		}
	}
	select {}
}

// platformProcess is that process as the test sees it.
type platformProcess struct {
	t   *testing.T
	cmd *exec.Cmd
	out *bufio.Scanner
}

func startPlatformProcess(t *testing.T, config, id string) *platformProcess {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), asPlatform+"="+config, asPlatformID+"="+id)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &platformProcess{t, cmd, bufio.NewScanner(out)}
}

func (p *platformProcess) line() (l platformLine) {
	p.t.Helper()
	if !p.out.Scan() {
		p.t.Fatalf("the platform's process ended: %v", p.out.Err())
	}
	if err := json.Unmarshal(p.out.Bytes(), &l); err != nil {
		p.t.Fatal(err)
	}
	return l
}

// TestSDKKilledBetweenResultAndAck kills the platform's process with SIGKILL
// after the phone has its 200 and before the ack, while the relay lives on: the
// next process gets the result, the one after it does not, and the ledger holds
// it once.
func TestSDKKilledBetweenResultAndAck(t *testing.T) {
	t.Setenv(asCommand, "bidseal-bench") // for the relay's process
	server, err := startBenchProcess(t.Context(), t.TempDir(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	where, err := server.order(benchOrder{Do: "start"})
	if err != nil {
		t.Fatal(err)
	}
	load := &loginBench{o: loginBenchOptions{phones: 1}, server: server, dir: t.TempDir()}
	if err := load.newClient(t.Context(), where); err != nil { // leaves the platform's folder behind
		t.Fatal(err)
	}
	root, err := smx509.ParseCertificate(where.Root)
	if err != nil {
		t.Fatal(err)
	}
	anchors, err := trust.NewStore(trust.DocumentationAuthority(root))
	if err != nil {
		t.Fatal(err)
	}
	phone := &benchPhone{http: &http.Client{Timeout: time.Minute}, relay: where.Relay, app: benchApp, anchors: anchors}
	if err := load.enrol(t.Context(), phone, where.CA); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(load.dir, "platform", "platform.json")

	first := startPlatformProcess(t, config, "")
	made := first.line()
	if err := phone.approve(t.Context(), made.Payload); err != nil {
		t.Fatal(err)
	}
	if l := first.line(); l.State != bidseal.StateDone {
		t.Fatalf("the platform says %+v", l)
	}
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.cmd.Wait() // it was killed

	cert, err := smx509.ParseCertificate(phone.chain[0])
	if err != nil {
		t.Fatal(err)
	}
	second := startPlatformProcess(t, config, made.ID)
	if l := second.line(); l.Serial != trust.SerialHex(cert.SerialNumber) {
		t.Fatalf("the next process says %+v", l)
	}
	_ = second.cmd.Wait()
	third := startPlatformProcess(t, config, made.ID)
	if l := third.line(); l.Code != protocol.CodeResultConsumed {
		t.Errorf("a third process says %+v", l)
	}
	_ = third.cmd.Wait()
	if n := ledgerEntries(t, where.Relay); n != 1 {
		t.Errorf("the ledger holds %d entries", n)
	}
	if err := server.stop(); err != nil {
		t.Error(err)
	}
}

func ledgerEntries(t *testing.T, origin string) uint64 {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, origin+"/v1/ledger/head", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var head relay.LedgerHead
	if err := httpapi.DecodeResponse(resp, &head); err != nil {
		t.Fatal(err)
	}
	return head.Size
}
