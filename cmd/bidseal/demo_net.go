package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

// demoPart is one listening part of the demo.
type demoPart struct {
	name     string
	listener net.Listener
	origin   string // scheme://host:port as browsers and phones see it
}

// demoNet holds the demo's listeners: each part on its own port.
type demoNet struct {
	parts map[string]*demoPart
	tls   *tls.Config // nil on loopback
}

// demoPartNames in the order of their ports: BASE, BASE+1, ...
func demoPartNames() []string { return []string{"platform", "relay", "ca", "app"} }

// listenDemo opens every part's port. base 0 takes the ports of the last start
// on the same data where they are free, because the certificates issued then
// name the authority's address, and free ones otherwise.
func listenDemo(data, host, bind string, base int, secure *tls.Config) (*demoNet, error) {
	n := &demoNet{parts: map[string]*demoPart{}, tls: secure}
	remembered := map[string]int{}
	if base == 0 {
		remembered = readPorts(data)
	}
	scheme := "http"
	if secure != nil {
		scheme = "https"
	}
	for i, name := range demoPartNames() {
		port := remembered[name]
		if base != 0 {
			port = base + i
		}
		l, err := net.Listen("tcp", net.JoinHostPort(bind, strconv.Itoa(port)))
		if err != nil && base == 0 && port != 0 {
			l, err = net.Listen("tcp", net.JoinHostPort(bind, "0"))
		}
		if err != nil {
			n.close()
			return nil, fmt.Errorf("the demo's %s needs port %d: %w (choose others with --port)", name, port, err)
		}
		addr := net.JoinHostPort(host, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
		n.parts[name] = &demoPart{name: name, listener: l, origin: scheme + "://" + addr}
	}
	return n, writePorts(data, n)
}

func (n *demoNet) origin(name string) string { return n.parts[name].origin }

func (n *demoNet) close() {
	for _, p := range n.parts {
		_ = p.listener.Close()
	}
}

func portsFile(data string) string { return filepath.Join(data, "ports.json") }

// readPorts gives nothing where the file is missing or unreadable: free ports do.
func readPorts(data string) map[string]int {
	ports := map[string]int{}
	raw, err := os.ReadFile(portsFile(data))
	if err != nil || json.Unmarshal(raw, &ports) != nil {
		return map[string]int{}
	}
	return ports
}

func writePorts(data string, n *demoNet) error {
	ports := map[string]int{}
	for name, p := range n.parts {
		ports[name] = p.listener.Addr().(*net.TCPAddr).Port
	}
	raw, err := json.Marshal(ports)
	if err != nil {
		return fmt.Errorf("remember the demo's ports: %w", err)
	}
	if err := os.WriteFile(portsFile(data), raw, 0o600); err != nil {
		return fmt.Errorf("remember the demo's ports: %w", err)
	}
	return nil
}

// Timeouts of every server the binary runs. Long-polls last 25 s.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 60 * time.Second
	idleTimeout       = 120 * time.Second
	drainTimeout      = 10 * time.Second
)

// newServer is an http.Server with the binary's limits.
func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// serveUntil serves h on l until ctx ends, then lets requests in flight finish.
// drain, where given, runs first: it closes what does not end by itself.
func serveUntil(ctx context.Context, g *errgroup.Group, l net.Listener, secure *tls.Config, h http.Handler, log *slog.Logger, drain func(context.Context)) {
	srv := newServer(h, log)
	if secure != nil {
		l = tls.NewListener(l, secure)
	}
	g.Go(func() error {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve %s: %w", l.Addr(), err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		if drain != nil {
			drain(end)
		}
		if err := srv.Shutdown(end); err != nil {
			return srv.Close()
		}
		return nil
	})
}
