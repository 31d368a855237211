// Package demo runs authority, relay, bidding site and phones in one process. It is wiring of its own: it may use the
// rooms of the parts that it runs, and no production command has a switch for it.
package demo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/skip2/go-qrcode"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// demoBasePort is the first port of the demo.
const demoBasePort = 8400

// demoOptions are the command's flags.
type demoOptions struct {
	host string
	port int
	data string
	lan  bool
}

// demoReady is the ready line: where everything is.
type demoReady struct {
	Platform string      `json:"platform"`
	Relay    string      `json:"relay"`
	CA       string      `json:"ca"`
	App      string      `json:"app"`
	Trust    string      `json:"trust,omitempty"` // page with the TLS root, with --lan
	Data     string      `json:"data"`
	Root     string      `json:"root"` // PEM file of the authority's root
	Believed string      `json:"trust_file"`
	Phones   []demoPhone `json:"phones"`
}

func New() *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run authority, relay, bidding site and enrolled phones in one process",
		Long: `Everything at once, for trying it out: an authority with keys made at the first start, the relay, a bidding
site on the public SDK, and three phones with real certificates. Nothing else has to be installed. The data
folder keeps it all; started again on it, the demo goes on where it ended. SIGTERM or Ctrl-C stops it cleanly.

None of this is a production set-up: all keys lie on one machine.`,
		Example: `  bidseal demo
  bidseal demo --port 0 --data /tmp/demo --json
  bidseal demo --lan`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDemo(cmd, o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.host, "host", "", "address in links and certificates (default 127.0.0.1, with --lan this machine's private address)")
	f.IntVar(&o.port, "port", demoBasePort, "first of the ports; 0 takes free ones")
	f.StringVar(&o.data, "data", ".demo", "folder that keeps the demo")
	f.BoolVar(&o.lan, "lan", false, "serve the local network over TLS, under a root made for it")
	return cmd
}

func runDemo(cmd *cobra.Command, o demoOptions) error {
	if o.port < 0 || o.port > 65535-len(demoPartNames()) {
		return cli.Usagef("--port %d is out of range", o.port)
	}
	level := slog.LevelWarn
	if cli.WantJSON(cmd) {
		level = slog.LevelInfo
	}
	d := &demo{o: o, log: cli.NewLogger(cmd, level), clock: time.Now, progress: cmd.ErrOrStderr()}
	defer d.release()
	if err := d.prepare(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	ready, err := d.start(ctx, g)
	if err != nil {
		told := cmd.Context().Err() != nil // stopped while starting: not a failure
		cancel()
		if stopped := g.Wait(); !told {
			return errors.Join(err, stopped)
		}
		return nil
	}
	if err := cli.Emit(cmd, ready, func(w io.Writer) { d.welcome(w, ready) }); err != nil {
		cancel()
		return errors.Join(err, g.Wait())
	}
	return g.Wait()
}

// demo is one running demo. It is wiring of its own: nothing of it is a switch
// in a production command.
type demo struct {
	o        demoOptions
	log      *slog.Logger
	clock    func() time.Time
	progress io.Writer // one line per step of the first start

	net    *demoNet
	lan    *lanTrust // nil on loopback
	http   *http.Client
	closes []func() error
}

// release gives back what prepare and start opened, the last first.
func (d *demo) release() {
	for i := len(d.closes) - 1; i >= 0; i-- {
		if err := d.closes[i](); err != nil {
			d.log.Warn("close", "error", err)
		}
	}
}

func (d *demo) path(elem ...string) string {
	return filepath.Join(append([]string{d.o.data}, elem...)...)
}

func (d *demo) step(format string, args ...any) { fmt.Fprintf(d.progress, format+"\n", args...) }

// prepare takes the data folder and the ports.
func (d *demo) prepare() error {
	abs, err := filepath.Abs(d.o.data)
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	d.o.data = abs
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	unlock, err := lockFolder(abs)
	if err != nil {
		return err
	}
	d.closes = append(d.closes, unlock)
	bind := d.o.host
	switch {
	case d.o.lan:
		bind = ""
		if d.o.host == "" {
			if d.o.host, err = lanAddress(); err != nil {
				return err
			}
		}
		if d.lan, err = newLANTrust(abs, d.o.host, d.clock()); err != nil {
			return err
		}
	case d.o.host == "":
		d.o.host, bind = "127.0.0.1", "127.0.0.1"
	case d.o.host != "127.0.0.1" && d.o.host != "localhost" && d.o.host != "::1":
		return cli.Usagef("--host %s: without --lan the demo serves loopback only", d.o.host)
	}
	d.http = cli.NewHTTPClient()
	if d.lan != nil {
		pool := x509.NewCertPool()
		root, err := x509.ParseCertificate(d.lan.rootDER)
		if err != nil {
			return fmt.Errorf("read the TLS root: %w", err)
		}
		pool.AddCert(root)
		d.http.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	}
	if d.net, err = listenDemo(abs, d.o.host, bind, d.o.port, d.o.lan); err != nil {
		return err
	}
	d.closes = append(d.closes, func() error { d.net.close(); return nil })
	return nil
}

// serve puts a handler on a part's port.
func (d *demo) serve(ctx context.Context, g *errgroup.Group, part string, h http.Handler, drain func(context.Context)) {
	var secure *tls.Config
	if d.lan != nil && part != "trust" {
		secure = d.lan.config
	}
	cli.ServeUntil(ctx, g, d.net.listeners[part], secure, h, d.log.With("part", part), drain)
}

// welcome tells a person what to do next.
func (d *demo) welcome(w io.Writer, r *demoReady) {
	fmt.Fprintf(w, `
BidSeal 演示环境已就绪 / the demo is ready

  招投标网站  bidding site   %s
  签名中继    relay          %s
  证书机构    authority      %s
  APP 域名    app origin     %s
  数据目录    data           %s

打开招投标网站，点【登录】-【移动证书】，再用下面任意一部演示手机扫码（LINK 换成页面上复制的链接，或页面截图文件）：
Open the bidding site, choose 登录 / 移动证书, and scan with one of these phones (LINK: copied from the page, or a screenshot):

`, r.Platform, r.Relay, r.CA, r.App, r.Data)
	for _, p := range r.Phones {
		fmt.Fprintf(w, "  %s  %s\n    %s\n", p.Name, p.label(), p.command(d.shellPrefix()))
	}
	if d.lan != nil {
		d.welcomeLAN(w, r)
	}
	fmt.Fprint(w, "\n按 Ctrl-C 停止 / Ctrl-C stops it\n")
}

func (d *demo) welcomeLAN(w io.Writer, r *demoReady) {
	fmt.Fprintf(w, "\n其他设备请先信任演示根证书 / other devices have to trust the demo's root first: %s\n", r.Trust)
	for _, link := range []string{r.Trust, r.Platform} {
		q, err := qrcode.New(link, qrcode.Medium)
		if err != nil {
			d.log.Warn("draw the code of a link", "error", err)
			continue
		}
		fmt.Fprintf(w, "\n%s\n%s\n", link, q.ToSmallString(false))
	}
}

// shellPrefix makes the command-line phone trust the TLS root of --lan.
func (d *demo) shellPrefix() string {
	if d.lan == nil {
		return ""
	}
	return "SSL_CERT_FILE=" + shellQuote(d.path(lanRootFile)) + " "
}
