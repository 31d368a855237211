package benchcmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/bench"
	"github.com/spf13/cobra"
)

// relayBenchOptions are the command's flags.
type relayBenchOptions struct {
	peer        string
	redis       string
	connections int
	pairs       int
	seconds     int
	rate        float64
	only        []string
	plot        string
	markdown    string
	profile     string
}

// relayBenchReport is what a run found.
type relayBenchReport struct {
	Bench       string       `json:"bench"`
	Command     string       `json:"command"`
	Date        string       `json:"date"`
	Go          string       `json:"go"`
	CPUs        int          `json:"cpus"`
	CPU         string       `json:"cpu"`
	Files       uint64       `json:"files"` // that one process may have open
	Connections int          `json:"connections"`
	Pairs       int          `json:"pairs"`
	Seconds     int          `json:"seconds"`
	Peer        string       `json:"peer,omitempty"`
	Tables      []benchTable `json:"tables"`
	Series      []benchLine  `json:"series,omitempty"`
	Goals       []benchGoal  `json:"goals"`
	Needs       []benchNeed  `json:"needs,omitempty"` // of a relay of 100,000 waiters
}

// The parts of a run, in their order.
const (
	partMemory     = "memory"
	partSeries     = "series"
	partPush       = "push"
	partSaturation = "saturation"
	partNodes      = "nodes"
	partCompletion = "completion"
)

func relayParts() []string {
	return []string{partMemory, partSeries, partPush, partSaturation, partNodes, partCompletion}
}

const peerName = "centrifugal/centrifuge v0.40.1"

func newBenchRelayCommand() *cobra.Command {
	var o relayBenchOptions
	cmd := &cobra.Command{
		Use:   "relay",
		Short: "Waiting pages, pushes and completions, beside the best push server",
		Long: `Relay and peer run one at a time, each in a process of its own; this process is the load. Rounds interleave them;
medians, ranges and the ratios of each pair are reported. Messages are due in an open loop, and a latency counts from
the moment a message was due. A run with one failed call, one error or one message lost is void and ends the command.

The peer is ` + peerName + ` as it comes and tuned for many idle connections; make bench-peer builds it.
Without --peer the relay is measured alone. Two nodes need redis-server in PATH, or a Redis of their own at --redis.`,
		Example: "  bidseal-bench relay --peer bin/bench-peer --plot docs/memory.svg --markdown docs/benchmarks.md",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			report, err := runRelayBench(cmd, o)
			if err != nil {
				return err
			}
			return o.write(cmd, report)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.peer, "peer", "", "path of bench-peer; empty measures the relay alone")
	f.StringVar(&o.redis, "redis", "", "host:port of an empty Redis; empty starts redis-server")
	f.IntVar(&o.connections, "connections", 10_000, "waiters, as far as the open-file limit allows")
	f.IntVar(&o.pairs, "pairs", 9, "rounds of the push part; the others, whose spread is small, take a third")
	f.IntVar(&o.seconds, "seconds", 5, "of publications in one round")
	f.Float64Var(&o.rate, "rate", 2000, "messages per second")
	f.StringSliceVar(&o.only, "only", nil, "only these parts: "+strings.Join(relayParts(), ", "))
	f.StringVar(&o.plot, "plot", "", "write memory against connections to this SVG file")
	f.StringVar(&o.markdown, "markdown", "", "replace the figures in this Markdown file, between its two markers")
	f.StringVar(&o.profile, "profile", "", "write CPU profiles of the push rounds and of completions into this folder")
	return cmd
}

func (o relayBenchOptions) check() error {
	if o.connections < 1 || o.pairs < 1 || o.seconds < 1 || o.rate <= 0 {
		return cli.Usagef("--connections, --pairs and --seconds start at 1, --rate above 0")
	}
	for _, part := range o.only {
		if !slices.Contains(relayParts(), part) {
			return cli.Usagef("--only: no part %q; there are %s", part, strings.Join(relayParts(), ", "))
		}
	}
	if o.plot != "" && !o.wants(partSeries) {
		return cli.Usagef("--plot needs the part %s", partSeries)
	}
	return nil
}

func (o relayBenchOptions) wants(part string) bool {
	return len(o.only) == 0 || slices.Contains(o.only, part)
}

// third is how many rounds the parts take whose figures hardly spread.
func (o relayBenchOptions) third() int { return (o.pairs + 2) / 3 }

// relayBench is one run.
type relayBench struct {
	o      relayBenchOptions
	sys    *systems
	keys   *benchKeys
	client *http.Client
	report *relayBenchReport
	log    io.Writer
}

// spareFiles is what a process holds open beside its waiters.
const spareFiles = 100

func runRelayBench(cmd *cobra.Command, o relayBenchOptions) (*relayBenchReport, error) {
	files, err := bench.RaiseFiles()
	if err != nil {
		return nil, err
	}
	if files < spareFiles*2 {
		return nil, fmt.Errorf("the open-file limit of %d leaves no room", files)
	}
	o.connections = min(o.connections, int(min(files, 1<<20)-spareFiles))
	dir, err := os.MkdirTemp("", "bidseal-bench-*")
	if err != nil {
		return nil, fmt.Errorf("bench folder: %w", err)
	}
	defer os.RemoveAll(dir)
	keys, err := newBenchKeys()
	if err != nil {
		return nil, err
	}
	trusted, err := keys.trust()
	if err != nil {
		return nil, err
	}
	b := &relayBench{o: o, keys: keys, log: cmd.ErrOrStderr(), client: &http.Client{Timeout: cli.CallTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
		sys: &systems{dir: dir, peer: o.peer, trust: trusted, errOut: cmd.ErrOrStderr()}}
	b.report = &relayBenchReport{Bench: "relay", Command: benchCommand(), Date: time.Now().UTC().Format(time.DateOnly), Go: runtime.Version(), CPUs: runtime.NumCPU(),
		CPU: processorName(), Files: files, Connections: o.connections, Pairs: o.pairs, Seconds: o.seconds}
	if o.peer != "" {
		b.report.Peer = peerName
	}
	if err := b.run(cmd.Context()); err != nil {
		return nil, fmt.Errorf("the run is void: %w", err)
	}
	b.report.Goals, b.report.Needs = b.report.goals(), b.report.needs()
	return b.report, nil
}

// benchCommand is how this run was started, without the folder of the binary.
func benchCommand() string {
	return strings.Join(append([]string{filepath.Base(os.Args[0])}, os.Args[1:]...), " ")
}

// processorName is the CPU's, empty where the system does not tell.
func processorName() string {
	raw, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(raw)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return ""
}

func (b *relayBench) run(ctx context.Context) error {
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{
		{partMemory, b.memory}, {partSeries, b.series}, {partPush, b.push}, {partSaturation, b.saturation},
		{partNodes, b.nodes}, {partCompletion, b.completion},
	} {
		if !b.o.wants(part.name) {
			continue
		}
		began := time.Now()
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		fmt.Fprintf(b.log, "%-11s %4.0f s\n", part.name, time.Since(began).Seconds())
	}
	return nil
}

// with runs one measurement on a system that was started for it.
func (b *relayBench) with(ctx context.Context, name string, how setup, do func(*session) error) error {
	s, err := b.sys.start(ctx, name, how)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	err = do(s)
	if err = errors.Join(err, s.stop()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// rounds runs each system in turn, so many times.
func (b *relayBench) rounds(ctx context.Context, n int, how setup, do func(name string, s *session) error) error {
	for range n {
		for _, name := range b.sys.names() {
			if err := b.with(ctx, name, how, func(s *session) error { return do(name, s) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// pause waits, so that a system comes to rest.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write prints the report and writes the files that were asked for.
func (o relayBenchOptions) write(cmd *cobra.Command, r *relayBenchReport) error {
	if o.plot != "" {
		if err := os.WriteFile(o.plot, []byte(plotMemory(r.Series)), 0o644); err != nil { //nolint:gosec // a picture for everybody
			return fmt.Errorf("write plot: %w", err)
		}
	}
	if o.markdown != "" {
		if err := r.insert(o.markdown, o.plot); err != nil {
			return err
		}
	}
	if cli.WantJSON(cmd) {
		enc := json.NewEncoder(cmd.OutOrStdout())
		return enc.Encode(r)
	}
	r.markdown(cmd.OutOrStdout(), "")
	return nil
}
