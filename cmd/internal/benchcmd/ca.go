package benchcmd

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"time"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/bench"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
	"github.com/spf13/cobra"
)

// caBenchOptions are the command's flags.
type caBenchOptions struct {
	issued, revoked     int
	issuances, statuses int
	unlocks, shards     int
	workers, rounds     int
}

// caBenchReport is what a run found.
type caBenchReport struct {
	Bench   string   `json:"bench"`
	Go      string   `json:"go"`
	CPUs    int      `json:"cpus"`
	Issued  int      `json:"issued"`
	Revoked int      `json:"revoked"`
	Shards  int      `json:"shards"`
	Workers int      `json:"workers"`
	Rounds  int      `json:"rounds"`
	Load    float64  `json:"load_seconds"`
	Figures []figure `json:"figures"`
}

func newBenchCACommand() *cobra.Command {
	var o caBenchOptions
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Issuances, status answers, revocation lists and unlock evaluations per second, and what they cost",
		Long: `The authority runs in a process of its own, made by a ceremony with the real parameters, on an embedded database
that syncs every commit. The database is first filled with certificates, some of them revoked, past the authority (that
is the one shortcut); every figure is then taken at that size, and what is taken over HTTP goes through the real server.
The raw cost of one SM2 signature is measured in the same round. A run in which one call failed is void.`,
		Example: "  bidseal-bench ca --issued 1000000 --revoked 20000 --rounds 5",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.issued < 1 || o.revoked < 0 || o.revoked > o.issued || o.issuances < 1 || o.statuses < 1 || o.unlocks < 1 || o.workers < 1 || o.rounds < 1 || o.shards < 2 {
				return cli.Usagef("--issued, --issuances, --answers, --unlocks, --workers and --rounds start at 1, --shards at 2, --revoked at 0 and ends at --issued")
			}
			report, err := runCABench(cmd, o)
			if err != nil {
				return err
			}
			return cli.Emit(cmd, report, func(w io.Writer) {
				fmt.Fprintf(w, "%d rounds at %d issued, %d revoked, %d shards; %d workers, %s, %d CPUs for both sides; loaded in %.0f s\n\n",
					report.Rounds, report.Issued, report.Revoked, report.Shards, report.Workers, report.Go, report.CPUs, report.Load)
				printFigures(w, report.Figures)
			})
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.issued, "issued", 1_000_000, "certificates in the database")
	f.IntVar(&o.revoked, "revoked", 20_000, "of these, revoked")
	f.IntVar(&o.issuances, "issuances", 200, "dual issuances of a round, over HTTP and in process each")
	f.IntVar(&o.statuses, "answers", 2000, "OCSP answers of a round, signed and cached each")
	f.IntVar(&o.unlocks, "unlocks", 500, "evaluations of a password of a round")
	f.IntVar(&o.shards, "shards", 16, "shards of the revocation list")
	f.IntVar(&o.workers, "workers", 8, "calls at the same time")
	f.IntVar(&o.rounds, "rounds", 5, "rounds")
	return cmd
}

// caBench is the load: phones that enrol and verifiers that ask for status.
type caBench struct {
	o       caBenchOptions
	server  *bench.Process
	http    *http.Client
	url     string
	issuing *smx509.Certificate
	leaf    *smx509.Certificate // a certificate that questions are about
	phones  []*benchEnrolment   // of the last issuances
	names   []string            // of figures, in the order of the table
	units   map[string]string
	values  map[string][]float64
}

func runCABench(cmd *cobra.Command, o caBenchOptions) (report *caBenchReport, err error) {
	dir, err := os.MkdirTemp("", "bidseal-bench-*")
	if err != nil {
		return nil, fmt.Errorf("bench folder: %w", err)
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this binary: %w", err)
	}
	server, err := bench.Start(cmd.Context(), cmd.ErrOrStderr(), self, "ca-server", "--dir", dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	b := &caBench{
		o: o, server: server, units: map[string]string{}, values: map[string][]float64{},
		http: &http.Client{Timeout: cli.CallTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: o.workers}},
	}
	loaded, err := b.run(cmd.Context())
	if err != nil {
		return nil, fmt.Errorf("the run is void: %w", err)
	}
	return &caBenchReport{
		Bench: "ca", Go: runtime.Version(), CPUs: runtime.NumCPU(), Issued: o.issued, Revoked: o.revoked, Shards: o.shards, Workers: o.workers, Rounds: o.rounds,
		Load: loaded.Seconds(), Figures: b.figures(),
	}, nil
}

func (b *caBench) order(o caBenchOrder) (*caBenchAnswer, error) {
	var a caBenchAnswer
	if err := b.server.Exchange(o, &a); err != nil {
		return nil, fmt.Errorf("order %s: %w", o.Do, err)
	}
	if a.Error != "" {
		return nil, fmt.Errorf("order %s: %s", o.Do, a.Error)
	}
	return &a, nil
}

// add keeps one value of a figure.
func (b *caBench) add(name, unit string, v float64) {
	if _, ok := b.units[name]; !ok {
		b.names = append(b.names, name)
		b.units[name] = unit
	}
	b.values[name] = append(b.values[name], v)
}

func (b *caBench) figures() []figure {
	out := make([]figure, len(b.names))
	for i, name := range b.names {
		out[i] = figure{Name: name, Unit: b.units[name], Value: newSpread(b.values[name])}
	}
	return out
}

// run returns how long the database took to fill.
func (b *caBench) run(ctx context.Context) (loaded time.Duration, err error) {
	where, err := b.order(caBenchOrder{Do: "start", Shards: b.o.shards})
	if err != nil {
		return 0, err
	}
	b.url = where.CA
	if b.issuing, err = smx509.ParseCertificate(where.Issuing); err != nil {
		return 0, fmt.Errorf("issuing authority: %w", err)
	}
	load, err := b.order(caBenchOrder{Do: "load", Count: b.o.issued, Revoked: b.o.revoked})
	if err != nil {
		return 0, err
	}
	if err := b.issue(ctx, 4*b.o.workers, nil); err != nil { // warm-up: connections, caches
		return 0, err
	}
	for range b.o.rounds {
		if err := b.round(ctx); err != nil {
			return 0, err
		}
	}
	return load.Took, nil
}

func (b *caBench) round(ctx context.Context) error {
	raw, err := rawSign()
	if err != nil {
		return err
	}
	b.add("raw SM2 signature", "µs", raw)
	cost := func(name string, n int, took, cpu time.Duration) {
		b.add(name, "1/s", float64(n)/took.Seconds())
		each := float64(cpu.Microseconds()) / float64(n)
		b.add(name+", CPU each", "µs", each)
		b.add(name+", in raw signatures", "×", each/raw)
	}
	if err := b.issue(ctx, b.o.issuances, cost); err != nil {
		return err
	}
	inside, err := b.order(caBenchOrder{Do: "issue", Count: b.o.issuances, Workers: b.o.workers})
	if err != nil {
		return err
	}
	cost("dual issuances in process", b.o.issuances, inside.Took, inside.CPU)
	if err := b.ask(ctx, "OCSP answers signed", true, cost); err != nil {
		return err
	}
	if err := b.ask(ctx, "OCSP answers cached", false, cost); err != nil {
		return err
	}
	if err := b.unlock(ctx, cost); err != nil {
		return err
	}
	if err := b.list(ctx, "full revocation list", "issuing-1"); err != nil {
		return err
	}
	return b.list(ctx, "shard of it", fmt.Sprintf("issuing-1.0of%d", b.o.shards))
}

// costs receives what n operations took and what the authority's process spent on them.
type costs func(name string, n int, took, cpu time.Duration)

// measured takes the time and the authority's CPU of what do does.
func (b *caBench) measured(do func() error) (took, cpu time.Duration, err error) {
	before, err := b.order(caBenchOrder{Do: "usage"})
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	if err := do(); err != nil {
		return 0, 0, err
	}
	took = time.Since(began)
	after, err := b.order(caBenchOrder{Do: "usage"})
	if err != nil {
		return 0, 0, err
	}
	return took, after.CPU - before.CPU, nil
}

// issue enrols n phones through HTTP; keys, requests and codes are made before. Every answer is checked, after the
// clock has stopped.
func (b *caBench) issue(ctx context.Context, n int, report costs) error {
	codes, err := b.order(caBenchOrder{Do: "codes", Count: n})
	if err != nil {
		return err
	}
	phones := make([]*benchEnrolment, n)
	for i := range phones {
		if phones[i], err = newBenchEnrolment(b.url, codes.Codes[i]); err != nil {
			return err
		}
	}
	answers := make([][]byte, n)
	took, cpu, err := b.measured(func() error {
		return concurrently(ctx, n, b.o.workers, func(ctx context.Context, i int) (err error) {
			header := http.Header{"Content-Type": {"application/json"}, protocol.HeaderProof: {phones[i].proof}}
			answers[i], err = b.call(ctx, http.MethodPost, caapi.PathEnrol, phones[i].body, header)
			return err
		})
	})
	if err != nil {
		return err
	}
	for i, answer := range answers {
		if b.leaf, err = phones[i].check(answer, b.issuing); err != nil {
			return err
		}
	}
	b.phones = phones
	if report != nil {
		report("dual issuances over HTTP", n, took, cpu)
	}
	return nil
}

// ask has n questions answered through HTTP: by POST with a nonce of its own each, so that each answer is signed, or by
// GET about the same certificate, so that all but one come from the cache. Every answer is verified after the clock has
// stopped.
func (b *caBench) ask(ctx context.Context, name string, nonces bool, report costs) error {
	n := b.o.statuses
	questions := make([][]byte, n)
	for i := range questions {
		var nonce []byte
		var err error
		if nonces {
			if nonce, err = protocol.Random(16); err != nil {
				return err
			}
		}
		if questions[i], err = trust.NewOCSPRequest(b.leaf, b.issuing, nonce); err != nil {
			return err
		}
	}
	path := caapi.PathOCSP + "/" + url.PathEscape(base64.StdEncoding.EncodeToString(questions[0])) // RFC 6960 appendix A.1
	answers := make([][]byte, n)
	took, cpu, err := b.measured(func() error {
		return concurrently(ctx, n, b.o.workers, func(ctx context.Context, i int) (err error) {
			if nonces {
				answers[i], err = b.call(ctx, http.MethodPost, caapi.PathOCSP, questions[i], http.Header{"Content-Type": {"application/ocsp-request"}})
			} else {
				answers[i], err = b.call(ctx, http.MethodGet, path, nil, nil)
			}
			return err
		})
	})
	if err != nil {
		return err
	}
	for _, answer := range answers {
		status, err := trust.VerifyOCSP(answer, b.leaf, b.issuing, trust.OCSPOptions{Now: time.Now()})
		if err != nil {
			return fmt.Errorf("OCSP answer: %w", err)
		}
		if status.State != trust.Good {
			return fmt.Errorf("OCSP says %v of a good certificate", status.State)
		}
	}
	report(name, n, took, cpu)
	return nil
}

// list has the list of a name signed and fetches it.
func (b *caBench) list(ctx context.Context, figure, name string) error {
	signed, err := b.order(caBenchOrder{Do: "crl", Name: name})
	if err != nil {
		return err
	}
	var der []byte
	took, cpu, err := b.measured(func() (err error) {
		der, err = b.call(ctx, http.MethodGet, "/crl/"+name+".crl", nil, nil)
		return err
	})
	if err != nil {
		return err
	}
	if _, err := trust.VerifyCRL(der, b.issuing, trust.CRLOptions{Now: time.Now()}); err != nil {
		return fmt.Errorf("list %s: %w", name, err)
	}
	ms := func(d time.Duration) float64 { return d.Seconds() * 1000 }
	b.add(figure+", signed", "ms", ms(signed.Took))
	b.add(figure+", CPU to sign", "ms", ms(signed.CPU))
	b.add(figure+", size", "KiB", float64(len(der))/1024)
	b.add(figure+", fetched", "ms", ms(took))
	b.add(figure+", CPU of a fetch", "ms", ms(cpu))
	return nil
}

// maxBenchBody bounds an answer, in bytes: a list of a million entries is below.
const maxBenchBody = 64 << 20

// call returns the body of a 200; everything else is an error.
func (b *caBench) call(ctx context.Context, method, path string, body []byte, header http.Header) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, b.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", path, err)
	}
	for name, values := range header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	resp, err := b.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", path, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxBenchBody))
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("call %s: %s", path, resp.Status)
	}
	return raw, nil
}

// rawSign is the CPU time of one SM2 signature over 256 bytes, in microseconds.
func rawSign() (float64, error) {
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		return 0, fmt.Errorf("key: %w", err)
	}
	msg := make([]byte, 256)
	const times = 5000
	before, err := bench.CPU()
	if err != nil {
		return 0, err
	}
	for range times {
		if _, err := protocol.Sign(key, msg); err != nil {
			return 0, err
		}
	}
	after, err := bench.CPU()
	return float64((after - before).Microseconds()) / times, err
}
