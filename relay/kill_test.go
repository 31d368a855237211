package relay_test

import (
	"bufio"
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
	"github.com/bidseal/bidseal/relay/sqlstore"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// childEnv makes this test binary a relay that the test kills.
const childEnv = "BIDSEAL_TEST_RELAY"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		if err := childMain(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(runTests(m))
}

// childSetup is what the child is told on stdin.
type childSetup struct {
	Path, State, Origin  string
	Root, Pass, LedgerK8 []byte
}

func childMain(in io.Reader, out io.Writer) error {
	var s childSetup
	if err := json.NewDecoder(in).Decode(&s); err != nil {
		return err
	}
	root, err := trust.ParseCertificate(s.Root)
	if err != nil {
		return err
	}
	anchors, err := trust.NewStore(trust.DocumentationAuthority(root))
	if err != nil {
		return err
	}
	passKey, err := protocol.ParseKey(s.Pass)
	if err != nil {
		return err
	}
	ledgerKey, err := smx509.ParsePKCS8PrivateKey(s.LedgerK8)
	if err != nil {
		return err
	}
	ctx := context.Background()
	store, err := sqlstore.Open(ctx, s.Path, time.Now)
	if err != nil {
		return err
	}
	state, bus, _, err := openState(s.State, store, &clock{})
	if err != nil {
		return err
	}
	r, err := relay.New(ctx, relay.Config{Origin: s.Origin, Anchors: anchors, PassKeys: []crypto.PublicKey{passKey}, LedgerKey: ledgerKey.(crypto.Signer),
		State: state, Nonces: state, Counters: state, Outcomes: store, Directory: store, Bus: bus, Clock: time.Now, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintln(out, l.Addr())
	return http.Serve(l, r.Handler()) //nolint:gosec // a test's own process
}

// child is the world's relay in a process of its own.
type child struct {
	cmd  *exec.Cmd
	addr string
}

func (w *world) startChild() *child {
	t := w.t
	t.Helper()
	k8, err := smx509.MarshalPKCS8PrivateKey(w.ledgerKey)
	must(t, err)
	pass, err := protocol.MarshalKey(w.passKey.Public())
	must(t, err)
	setup, err := json.Marshal(childSetup{Path: w.path, State: w.state, Origin: w.origin, Root: w.authority.cert.Raw, Pass: pass, LedgerK8: k8})
	must(t, err)
	cmd := exec.CommandContext(t.Context(), os.Args[0]) //nolint:gosec // this test binary
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	_, err = stdin.Write(setup)
	must(t, err)
	must(t, stdin.Close())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	must(t, err)
	c := &child{cmd: cmd, addr: line[:len(line)-1]}
	w.elsewhere = c.addr
	return c
}

// kill is kill -9.
func (c *child) kill(t testing.TB) {
	t.Helper()
	must(t, c.cmd.Process.Signal(syscall.SIGKILL))
	_ = c.cmd.Wait()
}

// TestKilled: the relay dies after the phone's 200 and before the platform's
// ack. After a restart the platform gets the result once; the ledger has one
// line for it and verifies; the phone's repetition gets the same promise.
func TestKilled(t *testing.T) {
	w := newWorld(t)
	d := w.newDevice("张三")
	w.stop()

	c := w.platform.newChallenge(protocol.KindLogin, false)
	process := w.startChild()
	must(t, c.create(nil))
	c.claimed(d)
	b := c.resultBody(d, 1, 20_000)
	done, err := c.result(d, b)
	must(t, err)
	process.kill(t)

	process = w.startChild()
	page := w.platform.feed("", 0)
	if len(page.Events) != 1 || page.Events[0].State != protocol.StateFulfilled || page.More {
		t.Fatalf("feed after the restart %+v", page)
	}
	s := c.read()
	if !protocol.Equal(s.Result.Box, b.Box) || !protocol.Equal(s.Promise.Head, done.Promise.Head) {
		t.Fatalf("state after the restart %+v", s)
	}
	again, err := c.result(d, b)
	must(t, err)
	if !protocol.Equal(again.Promise.Head, done.Promise.Head) {
		t.Fatal("another promise")
	}
	_, err = c.ack(s.Result.Digest)
	must(t, err)
	process.kill(t)

	w.start()
	page = w.platform.feed(page.Store, page.Next)
	if len(page.Events) != 1 || page.Events[0].State != protocol.StateCompleted {
		t.Fatalf("feed after the ack %+v", page)
	}
	report, err := relay.VerifyLedger(t.Context(), w.store, w.ledgerKey.Public(), nil)
	must(t, err)
	if report.Entries != 1 {
		t.Fatalf("%d entries", report.Entries)
	}
}

// TestKilledInTheMiddle: the relay dies while many phones deliver. Whatever got
// its 200 is there, whatever did not can be delivered again, and each challenge
// has one end.
func TestKilledInTheMiddle(t *testing.T) {
	w := newWorld(t)
	const n = 24
	devices, all, bodies := make([]*device, n), make([]*challenge, n), make([]protocol.ResultBody, n)
	for i := range all {
		devices[i], all[i] = w.newDevice("张三"), w.platform.created(protocol.KindLogin, false)
		all[i].claimed(devices[i])
		bodies[i] = all[i].resultBody(devices[i], 1, 3000)
	}
	w.stop()
	process := w.startChild()
	answered := make([]*protocol.ResultAnswer, n)
	first := make(chan struct{}, n)
	var group sync.WaitGroup
	for i, c := range all {
		req := devices[i].request(http.MethodPost, c.path+"/result", encode(t, bodies[i]))
		group.Go(func() {
			resp, err := w.do(req)
			if err != nil {
				return // the relay is dead
			}
			var a protocol.ResultAnswer
			if answer(resp, &a) == nil {
				answered[i] = &a
				first <- struct{}{}
			}
		})
	}
	<-first
	process.kill(t)
	group.Wait()

	w.start()
	got := 0
	for i, c := range all {
		a, err := c.result(devices[i], bodies[i])
		must(t, err)
		if before := answered[i]; before != nil {
			got++
			if !protocol.Equal(a.Promise.Head, before.Promise.Head) || a.Promise.Index != before.Promise.Index {
				t.Errorf("challenge %d: the promise of the 200 is gone", i)
			}
		}
		c.wantState(protocol.StateFulfilled)
	}
	report, err := relay.VerifyLedger(t.Context(), w.store, w.ledgerKey.Public(), nil)
	must(t, err)
	if report.Entries != n || got == 0 {
		t.Fatalf("%d entries, %d answers before the kill", report.Entries, got)
	}
}
