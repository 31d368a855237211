package benchcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/bench"
	"github.com/bidseal/bidseal/protocol"
	"github.com/gorilla/websocket"
	"github.com/spf13/cobra"
)

// soakOptions are the command's flags.
type soakOptions struct {
	connections int
	minutes     float64
	rate        float64
}

// soakReport is what a soak found.
type soakReport struct {
	Bench       string   `json:"bench"`
	Go          string   `json:"go"`
	Connections int      `json:"connections"`
	Minutes     float64  `json:"minutes"`
	Figures     []figure `json:"figures"`
}

func newBenchSoakCommand() *cobra.Command {
	var o soakOptions
	cmd := &cobra.Command{
		Use:   "soak",
		Short: "Pages that come and go for minutes, some of them badly behaved; memory has to return",
		Long: `A relay in a process of its own is visited by pages that come, wait, are told of changes and leave in every way a
page leaves; beside them are pages that stop reading, and connections that begin and say nothing. The run fails where
a visit fails, where a bad connection is kept, or where goroutines or memory do not return to where they began.`,
		Example: "  bidseal-bench soak --connections 19000 --minutes 3",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.connections < 10 || o.minutes <= 0 || o.rate <= 0 {
				return cli.Usagef("--connections starts at 10, --minutes and --rate above 0")
			}
			report, err := runSoak(cmd, o)
			if err != nil {
				return err
			}
			return cli.Emit(cmd, report, func(w io.Writer) {
				fmt.Fprintf(w, "%d connections for %g minutes, %s\n\n", report.Connections, report.Minutes, report.Go)
				printFigures(w, report.Figures)
			})
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.connections, "connections", 19_000, "connections at a time")
	f.Float64Var(&o.minutes, "minutes", 3, "of coming and going")
	f.Float64Var(&o.rate, "rate", 500, "changes per second")
	return cmd
}

// soak is one run: visitors come from many goroutines.
type soak struct {
	o                             soakOptions
	session                       *session
	until                         time.Time
	dialing                       chan struct{} // holds a token for each that connects
	visits, told, stalled, silent atomic.Int64
}

// soakPing is short, so that who does not answer is found soon.
const soakPing = 4 * time.Second

func runSoak(cmd *cobra.Command, o soakOptions) (report *soakReport, err error) {
	if _, err := bench.RaiseFiles(); err != nil {
		return nil, err
	}
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
	ctx := cmd.Context()
	sys := &systems{dir: dir, trust: trusted, errOut: cmd.ErrOrStderr()}
	s := &soak{o: o, dialing: make(chan struct{}, dialers)}
	if s.session, err = sys.start(ctx, sysOurs, setup{ping: soakPing, memory: true}); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.session.stop()) }()
	return s.run(ctx)
}

func (s *soak) run(ctx context.Context) (*soakReport, error) {
	if err := s.session.prepare(sysOurs, s.o.connections); err != nil {
		return nil, err
	}
	if err := s.wave(ctx, soakPing); err != nil { // pools and caches fill before the baseline
		return nil, err
	}
	before, err := s.rest(ctx)
	if err != nil {
		return nil, err
	}
	s.visits.Store(0)
	s.told.Store(0)
	began := time.Now()
	var most int64
	watched := make(chan struct{})
	var load group
	load.run(func() error {
		defer close(watched)
		return s.wave(ctx, time.Duration(s.o.minutes*float64(time.Minute)))
	})
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for open := true; open; {
		select {
		case <-watched:
			open = false
		case <-ticker.C:
			u, err := s.session.Order(bench.Order{Do: "usage"})
			if err != nil {
				return nil, err
			}
			most = max(most, u.RSS)
		}
	}
	if err := load.wait(); err != nil {
		return nil, fmt.Errorf("the run is void: %w", err)
	}
	after, err := s.rest(ctx)
	if err != nil {
		return nil, err
	}
	if err := returned(before, after); err != nil {
		return nil, err
	}
	mib := func(n int64) float64 { return float64(n) / (1 << 20) }
	one := func(name, unit string, v float64) figure { return figure{name, unit, newSpread([]float64{v})} }
	return &soakReport{Bench: "soak", Go: runtime.Version(), Connections: s.o.connections, Minutes: s.o.minutes, Figures: []figure{
		one("visits", "", float64(s.visits.Load())),
		one("visits per second", unitRate, float64(s.visits.Load())/time.Since(began).Seconds()),
		one("frames that pages were sent", "", float64(s.told.Load())),
		one("pages that stopped reading, all dropped", "", float64(s.stalled.Load())),
		one("connections that said nothing, all dropped", "", float64(s.silent.Load())),
		one("resident memory before, collected", "MiB", mib(before.RSS)),
		one("resident memory at most", "MiB", mib(most)),
		one("resident memory after, collected", "MiB", mib(after.RSS)),
		one("goroutines before", "", float64(before.Goroutines)),
		one("goroutines after", "", float64(after.Goroutines)),
	}}, nil
}

// rest waits until what has ended is gone, and collects.
func (s *soak) rest(ctx context.Context) (bench.Usage, error) {
	var u bench.Answer
	for range 20 { // those that left without a word are found by their pings
		if err := pause(ctx, soakPing/4); err != nil {
			return u.Usage, err
		}
		var err error
		if u, err = s.session.Order(bench.Order{Do: "collect"}); err != nil {
			return u.Usage, err
		}
		if u.Goroutines < s.o.connections/2 && u.Goroutines < soakGoroutines {
			break
		}
	}
	return u.Usage, nil
}

// soakGoroutines is more than a relay without connections runs.
const soakGoroutines = 60

// returned refuses a relay that keeps what has ended.
func returned(before, after bench.Usage) error {
	if after.Goroutines > before.Goroutines+10 {
		return fmt.Errorf("%d goroutines before, %d after", before.Goroutines, after.Goroutines)
	}
	if after.RSS > before.RSS+before.RSS/4 {
		return fmt.Errorf("%d MiB before, %d MiB after", before.RSS>>20, after.RSS>>20)
	}
	return nil
}

// wave has all kinds of visitors come for so long. One of ten stops reading or
// says nothing.
func (s *soak) wave(ctx context.Context, d time.Duration) error {
	s.until = time.Now().Add(d)
	a, err := s.session.Order(bench.Order{Do: "publish", Topics: s.o.connections})
	if err != nil {
		return err
	}
	var all group
	for i := range s.o.connections {
		visit := s.visit
		switch i % 20 {
		case 0:
			visit = s.stall
		case 1:
			visit = s.keepSilent
		}
		all.run(func() error {
			for n := 0; time.Now().Before(s.until) && all.err() == nil && ctx.Err() == nil; n++ {
				if err := visit(ctx, i, n); err != nil {
					return fmt.Errorf("visitor %d: %w", i, err)
				}
			}
			return ctx.Err()
		})
	}
	err = bench.Trigger(ctx, a.Addr, time.Now(), s.o.rate, int(s.o.rate*d.Seconds()), s.o.connections)
	return errors.Join(all.wait(), err)
}

// connect shakes hands; a few do at a time, as the accept queue is short.
func (s *soak) connect(ctx context.Context) (*websocket.Conn, error) {
	s.dialing <- struct{}{}
	defer func() { <-s.dialing }()
	ws, _, err := s.session.crowd.dial.DialContext(ctx, "ws://"+s.session.addr+"/v1/watch", nil) //nolint:bodyclose // the library says: it need not be closed
	return ws, err
}

func (s *soak) join(ctx context.Context, i int) (*websocket.Conn, error) {
	ws, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	hello, err := protocol.EncodeJSON(benchWatch(i))
	if err == nil {
		err = ws.WriteMessage(websocket.TextMessage, hello)
	}
	return ws, err
}

// visit is a page that waits for 2 to 20 seconds and leaves in one of three ways.
func (s *soak) visit(ctx context.Context, i, n int) error {
	ws, err := s.join(ctx, i)
	if err != nil {
		return err
	}
	defer ws.Close()
	stay := 2*time.Second + time.Duration((i*7+n*13)%180)*100*time.Millisecond
	leave := time.Now().Add(stay)
	if err := ws.SetReadDeadline(leave); err != nil {
		return err
	}
	frames := 0
	for {
		_, _, err := ws.ReadMessage()
		var late net.Error
		if errors.As(err, &late) && late.Timeout() {
			break
		}
		if err != nil {
			return err
		}
		frames++
	}
	if frames == 0 {
		return errors.New("a page was told nothing")
	}
	s.told.Add(int64(frames))
	s.visits.Add(1)
	switch n % 3 {
	case 0:
		bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
		return ws.WriteControl(websocket.CloseMessage, bye, time.Now().Add(dropTime))
	case 1:
		if tcp, ok := ws.NetConn().(*net.TCPConn); ok {
			return tcp.SetLinger(0) // ends with a reset
		}
	}
	return nil
}

// stall is a page that stops reading, and so answers no ping.
func (s *soak) stall(ctx context.Context, i, _ int) error {
	ws, err := s.join(ctx, i)
	if err != nil {
		return err
	}
	defer ws.Close()
	if err := pause(ctx, 4*soakPing); err != nil {
		return err
	}
	ws.SetPingHandler(func(string) error { return nil })
	return s.dropped(ws.NetConn(), &s.stalled)
}

// keepSilent connects; every other time it shakes hands first.
func (s *soak) keepSilent(ctx context.Context, i, n int) error {
	if n%2 == 0 {
		ws, err := s.connect(ctx)
		if err != nil {
			return err
		}
		defer ws.Close()
		return s.dropped(ws.NetConn(), &s.silent)
	}
	var d net.Dialer
	s.dialing <- struct{}{}
	c, err := d.DialContext(ctx, "tcp", s.session.addr)
	<-s.dialing
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /v1/watch HTTP/1.1\r\nHost: "); err != nil {
		return err
	}
	return s.dropped(c, &s.silent)
}

// dropTime is within what a relay drops who does not answer.
const dropTime = 30 * time.Second

// dropped reads what is left and wants the connection's end.
func (s *soak) dropped(c net.Conn, count *atomic.Int64) error {
	if err := c.SetReadDeadline(time.Now().Add(dropTime)); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, c)
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		return errors.New("a connection that does not answer is kept")
	}
	count.Add(1)
	return nil
}
