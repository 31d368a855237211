package benchcmd

import (
	"bufio"
	"context"
	"crypto"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/registry"
	"github.com/bidseal/bidseal/ca/server"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/relay"
	"github.com/bidseal/bidseal/relay/sqlstore"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// The measured side of a benchmark: an authority and a relay in a process of
// their own, so that its CPU time is theirs alone. It is driven by one JSON
// line per order on stdin, answered by one on stdout, and ends with stdin.

// benchOrder is one order: "start", "code", "approve" or "usage".
type benchOrder struct {
	Do string `json:"do"`
	ID string `json:"id,omitempty"` // of the application to approve
}

// benchAnswer is the answer; Error where the order failed.
type benchAnswer struct {
	Error string               `json:"error,omitempty"`
	Relay string               `json:"relay,omitempty"`
	CA    string               `json:"ca,omitempty"`
	Root  []byte               `json:"root,omitempty"`
	Code  *caapi.EnrolmentFile `json:"code,omitempty"`
	CPU   time.Duration        `json:"cpu,omitempty"` // user and system time so far
}

func newBenchServerCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "server", Short: "The measured side, started by the other benchmarks", Hidden: true,
		Example: `  echo '{"do":"start"}' | bidseal-bench server --dir /tmp/bench`, Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return cli.Usagef("--dir is needed")
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			g, ctx := errgroup.WithContext(ctx)
			s := &benchServer{dir: dir, log: cli.NewLogger(cmd, slog.LevelError)}
			err := s.obey(ctx, g, cmd.InOrStdin(), cmd.OutOrStdout())
			cancel()
			return errors.Join(err, g.Wait(), s.close())
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "empty folder for its data")
	return cmd
}

type benchServer struct {
	dir       string
	log       *slog.Logger
	authority *ca.Authority
	store     *sqlstore.Store
}

func (s *benchServer) close() error {
	var err error
	if s.store != nil {
		err = s.store.Close()
	}
	if s.authority != nil {
		err = errors.Join(err, s.authority.Close())
	}
	return err
}

func (s *benchServer) obey(ctx context.Context, g *errgroup.Group, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var order benchOrder
		if err := json.Unmarshal(lines.Bytes(), &order); err != nil {
			return fmt.Errorf("order: %w", err)
		}
		answer, err := s.do(ctx, g, order)
		if err != nil {
			answer = &benchAnswer{Error: err.Error()}
		}
		if err := cli.WriteJSON(out, answer); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (s *benchServer) do(ctx context.Context, g *errgroup.Group, o benchOrder) (*benchAnswer, error) {
	switch o.Do {
	case "start":
		return s.start(ctx, g)
	case "code":
		file, err := s.authority.Life.NewEnrolmentCode(ctx, audit.Local("bench"), life.CodeRequest{Subject: benchHolder()})
		return &benchAnswer{Code: file}, err
	case "approve":
		return s.approve(ctx, o.ID)
	case "usage":
		cpu, err := processCPU()
		return &benchAnswer{CPU: cpu}, err
	}
	return nil, fmt.Errorf("no such order: %q", o.Do)
}

func (s *benchServer) start(ctx context.Context, g *errgroup.Group) (*benchAnswer, error) {
	lr, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	lc, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	answer := &benchAnswer{Relay: "http://" + lr.Addr().String(), CA: "http://" + lc.Addr().String()}
	config := folder.DefaultConfig()
	config.DocumentationOIDs = true
	config.Name, config.Organisation, config.BaseURL = "BidSeal bench", "BidSeal bench", answer.CA
	pass, dir := []byte("bench"), filepath.Join(s.dir, "ca")
	if _, err := folder.Init(ctx, folder.Ceremony{Dir: dir, Config: config, Passphrase: pass, Now: time.Now, Operator: "bench"}); err != nil {
		return nil, err
	}
	if s.authority, err = ca.Open(ctx, dir, ca.Options{Passphrase: pass, Now: time.Now, Logger: s.log}); err != nil {
		return nil, err
	}
	answer.Root = s.authority.Folder.Root().Raw
	cli.ServeUntil(ctx, g, lc, nil, ca.NewHandler(s.authority, server.Options{Limits: server.Limits{PerSecond: -1}}), s.log, nil)
	node, err := s.newRelay(ctx, answer.Relay)
	if err != nil {
		return nil, err
	}
	g.Go(func() error { return node.Run(ctx) })
	cli.ServeUntil(ctx, g, lr, nil, node.Handler(), s.log, node.Drain)
	return answer, nil
}

func (s *benchServer) newRelay(ctx context.Context, origin string) (*relay.Relay, error) {
	anchors, err := trust.NewStore(s.authority.Folder.TrustAuthority())
	if err != nil {
		return nil, err
	}
	ledger, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("ledger key: %w", err)
	}
	if s.store, err = sqlstore.Open(ctx, filepath.Join(s.dir, "relay.db"), time.Now); err != nil {
		return nil, err
	}
	return relay.New(ctx, relay.Config{
		Origin: origin, Anchors: anchors, PassKeys: []crypto.PublicKey{s.authority.Life.PassKey()}, LedgerKey: ledger,
		State: s.store, Nonces: s.store, Counters: s.store, Outcomes: s.store, Directory: s.store, Bus: relay.NewLocalBus(), Clock: time.Now, Logger: s.log,
		// the load comes from few devices, many times faster than a person scans
		Limits: relay.Limits{CallsPerDevice: 1 << 30},
	})
}

// approve issues the platform's certificate and registers it at the relay.
func (s *benchServer) approve(ctx context.Context, id string) (*benchAnswer, error) {
	reg, err := s.authority.Registry.ApprovePlatform(ctx, audit.Local("bench"), registry.PlatformApproval{ID: id, PlatformID: "bench"})
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(reg)
	if err != nil {
		return nil, fmt.Errorf("registration: %w", err)
	}
	anchors, err := trust.NewStore(s.authority.Folder.TrustAuthority())
	if err != nil {
		return nil, err
	}
	platform, err := relay.ReadPlatformRegistration(raw, anchors, time.Now())
	if err != nil {
		return nil, err
	}
	return &benchAnswer{}, s.store.PutPlatform(ctx, *platform)
}

// benchHolder is the person of every certificate that a benchmark has issued.
func benchHolder() caapi.Subject {
	return caapi.Subject{Kind: string(trust.Organisation), Name: "张伟", Organisation: "华东建设集团有限公司", CreditCode: "91310000MA1FL8QX7C", Role: trust.RoleAdmin}
}

// processCPU is the user and system time of this process so far.
func processCPU() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// benchProcess is the driver's handle of the measured process.
type benchProcess struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// startBenchProcess runs this binary again as the measured side.
func startBenchProcess(ctx context.Context, dir string, errOut io.Writer) (*benchProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this binary: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, "server", "--dir", dir) //nolint:gosec // this binary itself
	cmd.Stderr = errOut
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the measured process: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the measured process: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the measured process: %w", err)
	}
	return &benchProcess{cmd: cmd, in: in, out: bufio.NewScanner(out)}, nil
}

func (p *benchProcess) order(o benchOrder) (*benchAnswer, error) {
	if err := cli.WriteJSON(p.in, o); err != nil {
		return nil, fmt.Errorf("order %s: %w", o.Do, err)
	}
	if !p.out.Scan() {
		return nil, fmt.Errorf("order %s: the measured process ended: %w", o.Do, errors.Join(p.out.Err(), io.ErrUnexpectedEOF))
	}
	var a benchAnswer
	if err := json.Unmarshal(p.out.Bytes(), &a); err != nil {
		return nil, fmt.Errorf("order %s: %w", o.Do, err)
	}
	if a.Error != "" {
		return nil, fmt.Errorf("order %s: %s", o.Do, a.Error)
	}
	return &a, nil
}

func (p *benchProcess) stop() error {
	return errors.Join(p.in.Close(), p.cmd.Wait())
}
