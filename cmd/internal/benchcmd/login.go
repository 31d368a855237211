package benchcmd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/sdk/onboard"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// loginBenchOptions are the command's flags.
type loginBenchOptions struct {
	phones int
	logins int
	rounds int
}

// loginBenchReport is what a run found.
type loginBenchReport struct {
	Bench   string   `json:"bench"`
	Go      string   `json:"go"`
	CPUs    int      `json:"cpus"`
	Phones  int      `json:"phones"`
	Logins  int      `json:"logins"`
	Rounds  int      `json:"rounds"`
	Figures []figure `json:"figures"`
}

func newBenchLoginCommand() *cobra.Command {
	var o loginBenchOptions
	cmd := &cobra.Command{
		Use:   "login",
		Short: "Logins per second, their latency and what they cost, with real SM2 through HTTP and WebSocket",
		Long: `Authority and relay run in a process of their own on an embedded store that syncs every commit; the platform's SDK
and the phones run in this one. Each round logs in as fast as the phones can (throughput, CPU per login), then at
half that rate in an open loop, where a latency counts from the moment the login was due. The raw cost of one SM2
verification is measured in the same round. A round with one failed call voids the run.`,
		Example: "  bidseal-bench login --phones 16 --logins 1000 --rounds 5",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.phones < 1 || o.logins < o.phones || o.rounds < 1 {
				return cli.Usagef("--phones and --rounds start at 1, --logins at --phones")
			}
			report, err := runLoginBench(cmd, o)
			if err != nil {
				return err
			}
			return cli.Emit(cmd, report, func(w io.Writer) {
				fmt.Fprintf(w, "%d rounds of %d logins by %d phones, %s, %d CPUs for both sides\n\n", report.Rounds, report.Logins, report.Phones, report.Go, report.CPUs)
				printFigures(w, report.Figures)
			})
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.phones, "phones", 16, "phones that log in at the same time")
	f.IntVar(&o.logins, "logins", 600, "logins of each half of a round")
	f.IntVar(&o.rounds, "rounds", 5, "rounds")
	return cmd
}

func runLoginBench(cmd *cobra.Command, o loginBenchOptions) (report *loginBenchReport, err error) {
	dir, err := os.MkdirTemp("", "bidseal-bench-*")
	if err != nil {
		return nil, fmt.Errorf("bench folder: %w", err)
	}
	defer os.RemoveAll(dir)
	server, err := startBenchProcess(cmd.Context(), dir, cmd.ErrOrStderr())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	b := &loginBench{o: o, server: server, dir: dir, log: cli.NewLogger(cmd, slog.LevelError)}
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return b.client.Run(ctx) })
	g.Go(func() error { defer cancel(); return b.run(ctx) })
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("the run is void: %w", err)
	}
	return &loginBenchReport{Bench: "login", Go: runtime.Version(), CPUs: runtime.NumCPU(), Phones: o.phones, Logins: o.logins, Rounds: o.rounds, Figures: b.figures()}, nil
}

// loginBench is the load: the platform's SDK and the phones.
type loginBench struct {
	o      loginBenchOptions
	server *benchProcess
	dir    string
	log    *slog.Logger
	client *bidseal.Client
	phones []*benchPhone
	values map[string][]float64
}

// The figures, in the order of the table.
func loginFigures() []figure {
	return []figure{
		{Name: "logins, closed loop", Unit: "1/s"},
		{Name: "CPU per login, relay and authority", Unit: "µs"},
		{Name: "the same in raw verifications", Unit: "×"},
		{Name: "CPU per login, platform SDK and phone", Unit: "µs"},
		{Name: "raw SM2 verification", Unit: "µs"},
		{Name: "rate of the open loop", Unit: "1/s"},
		{Name: "code made, p50", Unit: "ms"},
		{Name: "code made, p99", Unit: "ms"},
		{Name: "scan to verified login, p50", Unit: "ms"},
		{Name: "scan to verified login, p90", Unit: "ms"},
		{Name: "scan to verified login, p99", Unit: "ms"},
		{Name: "due to verified login, p99", Unit: "ms"},
	}
}

func (b *loginBench) figures() []figure {
	out := loginFigures()
	for i := range out {
		out[i].Value = newSpread(b.values[out[i].Name])
	}
	return out
}

func (b *loginBench) prepare(ctx context.Context) error {
	where, err := b.server.order(benchOrder{Do: "start"})
	if err != nil {
		return err
	}
	root, err := smx509.ParseCertificate(where.Root)
	if err != nil {
		return fmt.Errorf("root: %w", err)
	}
	anchors, err := trust.NewStore(trust.DocumentationAuthority(root))
	if err != nil {
		return err
	}
	if err := b.newClient(ctx, where); err != nil {
		return err
	}
	client := &http.Client{Timeout: cli.CallTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: b.o.phones}}
	for range b.o.phones {
		p := &benchPhone{http: client, relay: where.Relay, app: benchApp, anchors: anchors}
		if err := b.enrol(ctx, p, where.CA); err != nil {
			return err
		}
		b.phones = append(b.phones, p)
	}
	return nil
}

const benchApp = "https://app.example.cn"

// newClient takes the platform through its onboarding and opens its SDK with a
// store in memory.
func (b *loginBench) newClient(ctx context.Context, where *benchAnswer) error {
	r := onboard.Folder{Dir: filepath.Join(b.dir, "platform"), HTTP: cli.NewHTTPClient(), Clock: time.Now}
	state, err := r.Request(ctx, where.CA, caapi.PlatformRequest{Name: "基准测试平台", Organisation: "基准测试", Contact: "bench", Origins: []string{"http://127.0.0.1"}})
	if err != nil {
		return err
	}
	if _, err := b.server.order(benchOrder{Do: "approve", ID: state.ID}); err != nil {
		return err
	}
	rootPath := filepath.Join(b.dir, "root.pem")
	if err := pemfile.WritePrivate(rootPath, pemfile.EncodeCertificates([][]byte{where.Root})); err != nil {
		return err
	}
	if _, err := r.Fetch(ctx, onboard.FetchOptions{Relay: where.Relay, App: benchApp, RootFiles: []string{rootPath}}); err != nil {
		return err
	}
	config, err := bidseal.LoadConfig(filepath.Join(r.Dir, onboard.ConfigFile))
	if err != nil {
		return err
	}
	config.Store, config.Logger = nil, b.log
	config.HTTP = &http.Client{Timeout: cli.CallTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: 2 * b.o.phones}}
	b.client, err = bidseal.New(config)
	return err
}

// enrol gets a real certificate and pass for a bench phone.
func (b *loginBench) enrol(ctx context.Context, p *benchPhone, authority string) error {
	code, err := b.server.order(benchOrder{Do: "code"})
	if err != nil {
		return err
	}
	signer, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("signing key: %w", err)
	}
	device, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("device key: %w", err)
	}
	p.signer, p.device = signer, device
	body := caapi.EnrolRequest{V: caapi.Version, Code: code.Code.Code}
	if body.RequestID, err = protocol.Random(caapi.RequestIDSize); err != nil {
		return err
	}
	if body.CSR, err = smx509.CreateCertificateRequest(rand.Reader, &smx509.CertificateRequest{}, signer); err != nil {
		return fmt.Errorf("certification request: %w", err)
	}
	if body.DeviceKey, err = protocol.MarshalKey(device.Public()); err != nil {
		return err
	}
	var answer caapi.EnrolAnswer
	if err := p.call(ctx, authority+caapi.PathEnrol, body, &answer); err != nil {
		return err
	}
	parsed, err := smx509.ParseCSRResponse(signer, answer.Response)
	if err != nil {
		return fmt.Errorf("enrolment answer: %w", err)
	}
	p.pass = answer.Pass
	p.chain = append([]protocol.Bytes{parsed.SignCerts[0].Raw}, answer.Chain...)
	return nil
}

func (b *loginBench) run(ctx context.Context) error {
	b.values = map[string][]float64{}
	if err := b.closedLoop(ctx, 4*b.o.phones, newLatencies(), newLatencies()); err != nil { // warm-up: connections, caches, status
		return err
	}
	for range b.o.rounds {
		if err := b.round(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (b *loginBench) round(ctx context.Context) error {
	add := func(name string, v float64) { b.values[name] = append(b.values[name], v) }
	raw, err := rawVerify()
	if err != nil {
		return err
	}
	theirs, err := b.server.order(benchOrder{Do: "usage"})
	if err != nil {
		return err
	}
	ours, err := processCPU()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := b.closedLoop(ctx, b.o.logins, newLatencies(), newLatencies()); err != nil {
		return err
	}
	rate := float64(b.o.logins) / time.Since(began).Seconds()
	theirsAfter, err := b.server.order(benchOrder{Do: "usage"})
	if err != nil {
		return err
	}
	oursAfter, err := processCPU()
	if err != nil {
		return err
	}
	perLogin := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(b.o.logins) }
	add("logins, closed loop", rate)
	add("CPU per login, relay and authority", perLogin(theirsAfter.CPU-theirs.CPU))
	add("CPU per login, platform SDK and phone", perLogin(oursAfter-ours))
	add("raw SM2 verification", raw)
	add("the same in raw verifications", perLogin(theirsAfter.CPU-theirs.CPU)/raw)
	made, scanned, due := newLatencies(), newLatencies(), newLatencies()
	if err := b.openLoop(ctx, rate/2, made, scanned, due); err != nil {
		return err
	}
	add("rate of the open loop", rate/2)
	add("code made, p50", made.ms(50))
	add("code made, p99", made.ms(99))
	add("scan to verified login, p50", scanned.ms(50))
	add("scan to verified login, p90", scanned.ms(90))
	add("scan to verified login, p99", scanned.ms(99))
	add("due to verified login, p99", due.ms(99))
	return nil
}

// login makes a code, has a phone scan it and waits for the verified result.
func (b *loginBench) login(ctx context.Context, p *benchPhone) (made, scanned time.Duration, err error) {
	none := protocol.MatchNone
	began := time.Now()
	ch, err := b.client.Login(ctx, bidseal.LoginOptions{Display: []string{"基准测试"}, Static: true, Match: &none, NoRenew: true})
	if err != nil {
		return 0, 0, fmt.Errorf("make a code: %w", err)
	}
	shown := time.Now()
	if err := p.approve(ctx, ch.Payload()); err != nil {
		return 0, 0, fmt.Errorf("phone: %w", err)
	}
	if _, err := ch.Wait(ctx); err != nil {
		return 0, 0, fmt.Errorf("wait: %w", err)
	}
	return shown.Sub(began), time.Since(shown), nil
}

// closedLoop has every phone log in again as soon as it is done.
func (b *loginBench) closedLoop(ctx context.Context, logins int, made, scanned *latencies) error {
	g, ctx := errgroup.WithContext(ctx)
	var mu sync.Mutex
	var left atomic.Int64
	left.Store(int64(logins))
	for _, p := range b.phones {
		g.Go(func() error {
			for left.Add(-1) >= 0 {
				m, s, err := b.login(ctx, p)
				if err != nil {
					return err
				}
				mu.Lock()
				made.observe(m)
				scanned.observe(s)
				mu.Unlock()
			}
			return nil
		})
	}
	return g.Wait()
}

// openLoop starts a login whenever one is due, whether or not the earlier ones
// are done; what is late is counted from when it was due.
func (b *loginBench) openLoop(ctx context.Context, rate float64, made, scanned, due *latencies) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(64 * b.o.phones) // beyond this the run stalls, and the due times show it
	var mu sync.Mutex
	gap := time.Duration(float64(time.Second) / rate)
	began := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := range b.o.logins {
		at := began.Add(time.Duration(i) * gap)
		timer.Reset(time.Until(at))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return g.Wait()
		}
		p := b.phones[i%len(b.phones)]
		g.Go(func() error {
			m, s, err := b.login(ctx, p)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			made.observe(m)
			scanned.observe(s)
			due.observe(time.Since(at))
			return nil
		})
	}
	return g.Wait()
}

// rawVerify is the time of one SM2 verification over 256 bytes, in microseconds.
func rawVerify() (float64, error) {
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		return 0, fmt.Errorf("key: %w", err)
	}
	msg := make([]byte, 256)
	sig, err := protocol.Sign(key, msg)
	if err != nil {
		return 0, err
	}
	const times = 2000
	began := time.Now()
	for range times {
		if !protocol.Verify(key.Public(), msg, sig) {
			return 0, errors.New("a good signature was refused")
		}
	}
	return float64(time.Since(began).Microseconds()) / times, nil
}
