// Package relaycmd is the commands of the relay: its folder and configuration, the server, and what its operator does.
package relaycmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/bidseal/bidseal/relay"
	"github.com/bidseal/bidseal/relay/sqlstore"
	"github.com/bidseal/bidseal/trust"
	"github.com/spf13/cobra"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"
)

// Files of a relay's folder.
const (
	ConfigFile        = "relay.toml"
	relayDatabaseFile = "relay.db"
	relayKeyFile      = "ledger.key.pem"
	relayPublicFile   = "ledger.pem"
)

// Config is the configuration of all relay commands. File names are
// relative to the folder of the configuration.
type Config struct {
	// Data is the folder of the database.
	Data string `toml:"data"`
	// Listen is the address of the public API, Admin that of /metrics and of the
	// health checks, which Listen has, too. PublicMetrics serves /metrics on Listen.
	Listen        string `toml:"listen"`
	Admin         string `toml:"admin"`
	PublicMetrics bool   `toml:"public_metrics"`
	// Origin under which platforms and phones know the relay.
	Origin string `toml:"origin"`
	// Trust is the trust file: the authorities of users and platforms, with the
	// keys of their device passes.
	Trust string `toml:"trust"`
	// Roots and PassKeys are PEM files, in folders from before there were trust
	// files: the roots of authorities that use the documentation arc, and the
	// public keys of the issuers of device passes.
	Roots    []string `toml:"roots,omitempty"`
	PassKeys []string `toml:"pass_keys,omitempty"`
	// LedgerKey is the PEM file with the private key of the ledger (PKCS#8).
	LedgerKey string `toml:"ledger_key"`
	// Origins are web origins whose pages may watch any platform's challenges.
	Origins []string `toml:"origins"`
	// Limits of the node; 0 takes the default.
	Limits relayLimits `toml:"limits"`
	// Redis keeps the state of open challenges for several nodes. Without
	// addresses the database in Data does, for one.
	Redis relayRedis `toml:"redis"`
	// Database is the PostgreSQL that several nodes share. Without a url it is a
	// file in Data, for one.
	Database relayDatabase `toml:"database"`

	// Dir is the folder of the configuration.
	Dir string `toml:"-"`
}

// relayLimits are the limits an operator may set; relay.Limits says what they mean.
type relayLimits struct {
	Sockets         int    `toml:"sockets"` // TCP connections
	Connections     int    `toml:"connections"`
	Waiters         int    `toml:"waiters"`
	OpenPerPlatform int    `toml:"open_per_platform"`
	CallsPerDevice  int    `toml:"calls_per_device"`
	WrongClaims     int    `toml:"wrong_claims"`
	Verifications   int    `toml:"verifications"`
	KeepEnded       string `toml:"keep_ended"` // duration, "1h"
}

const defaultSockets = 120_000

func DefaultConfig() Config {
	return Config{Data: ".", Listen: "127.0.0.1:8401", LedgerKey: relayKeyFile}
}

// relayFlags are shared by all relay commands.
type relayFlags struct {
	config string
	print  bool
}

// New is everything the relay's operator does.
func New() *cobra.Command {
	flags := &relayFlags{}
	cmd := &cobra.Command{
		Use:   "relay",
		Short: "Run and operate the signing relay",
		Long: `The steps from nothing to a relay's first challenge:

  1  bidseal relay init          its folder, ledger key and configuration
  2  bidseal relay platform add  registers a platform that the authority approved
  3  bidseal relay serve`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	f := cmd.PersistentFlags()
	f.StringVar(&flags.config, "config", ConfigFile, "TOML file with the relay's configuration")
	f.BoolVar(&flags.print, "print-config", false, "print the effective configuration and do nothing")
	cmd.AddCommand(newRelayInitCommand(), newRelayServeCommand(flags), newRelayVerifyLogCommand(flags),
		newRelayPlatformCommand(flags), newRelayDeviceCommand(flags))
	return cmd
}

// load reads the configuration; done is true where it was only to be printed.
func (f *relayFlags) load(cmd *cobra.Command) (config Config, done bool, err error) {
	config = DefaultConfig()
	if err := cli.LoadConfig(f.config, &config); err != nil {
		return config, false, err
	}
	config.Dir = filepath.Dir(f.config)
	if f.print {
		return config, true, cli.PrintConfig(cmd, config)
	}
	return config, false, nil
}

func (c Config) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.Dir, name)
}

func (c Config) DatabaseFile() string { return filepath.Join(c.path(c.Data), relayDatabaseFile) }

// believed is whom the relay believes.
func (c Config) believed() (*trust.File, error) {
	switch {
	case c.Trust != "" && len(c.Roots)+len(c.PassKeys) > 0:
		return nil, cli.Usagef("the configuration names a trust file and roots or pass_keys: with a trust file these are not needed")
	case c.Trust != "":
		return cli.ReadTrustFile(c.path(c.Trust))
	case len(c.Roots) == 0:
		return nil, cli.Usagef("the configuration names no trust file")
	}
	files := make([]string, len(c.Roots))
	for i, name := range c.Roots {
		files[i] = c.path(name)
	}
	roots, err := pemfile.ReadCertificates(files...)
	if err != nil {
		return nil, err
	}
	authority := trust.DocumentationAuthority(roots...)
	for _, name := range c.PassKeys {
		key, err := pemfile.ReadPublicKey(c.path(name))
		if err != nil {
			return nil, err
		}
		authority.PassKeys = append(authority.PassKeys, key)
	}
	return &trust.File{Authorities: []trust.Authority{authority}}, nil
}

func (c Config) limits() (relay.Limits, error) {
	l := c.Limits
	out := relay.Limits{Connections: l.Connections, Waiters: l.Waiters, OpenPerPlatform: l.OpenPerPlatform,
		CallsPerDevice: l.CallsPerDevice, WrongClaims: l.WrongClaims, Verifications: l.Verifications}
	if l.KeepEnded == "" {
		return out, nil
	}
	keep, err := time.ParseDuration(l.KeepEnded)
	if err != nil {
		return out, cli.Usagef("keep_ended %q: want a duration, for example 1h", l.KeepEnded)
	}
	out.KeepEnded = keep
	return out, nil
}

func newRelayServeCommand(flags *relayFlags) *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:     "serve",
		Short:   "Carry challenges between platforms and phones",
		Example: "  bidseal relay serve --config relay/relay.toml\n  bidseal relay serve --config relay/relay.toml --listen 127.0.0.1:8401 --json",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, done, err := flags.load(cmd)
			if err != nil || done {
				return err
			}
			if cmd.Flags().Changed("listen") {
				config.Listen = listen
			}
			return serveRelay(cmd, config)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "", "address to listen on, in place of the configured one")
	return cmd
}

// serveRelay serves until the process is told to end. With --json its first line
// on stdout says where it listens.
func serveRelay(cmd *cobra.Command, config Config) (err error) {
	log := cli.NewLogger(cmd, slog.LevelInfo)
	store, err := config.openDatabase(cmd.Context())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	release, err := config.alone(cmd.Context(), store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	state, err := config.open(store, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.close()) }()
	r, err := NewNode(cmd.Context(), config, store, state, log)
	if err != nil {
		return err
	}
	listeners := new(net.ListenConfig)
	public, err := listeners.Listen(cmd.Context(), "tcp", config.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	sockets := config.Limits.Sockets
	if sockets <= 0 {
		sockets = defaultSockets
	}
	group, ctx := errgroup.WithContext(cmd.Context())
	ready := struct {
		Relay  string `json:"relay"`
		Listen string `json:"listen"`
		Admin  string `json:"admin,omitempty"`
	}{Relay: config.Origin, Listen: public.Addr().String()}
	if config.Admin != "" {
		admin, err := listeners.Listen(cmd.Context(), "tcp", config.Admin)
		if err != nil {
			return errors.Join(fmt.Errorf("listen: %w", err), public.Close())
		}
		ready.Admin = admin.Addr().String()
		cli.ServeUntil(ctx, group, admin, nil, r.AdminHandler(), log, nil)
	}
	cli.ServeUntil(ctx, group, netutil.LimitListener(public, sockets), nil, r.Handler(), log, r.Drain)
	group.Go(func() error { return r.Run(ctx) })
	group.Go(func() error {
		return cli.Emit(cmd, ready, func(w io.Writer) { fmt.Fprintf(w, "relay %s listens on %s\n", ready.Relay, ready.Listen) })
	})
	return group.Wait()
}

func NewNode(ctx context.Context, config Config, store *sqlstore.Store, state relayState, log *slog.Logger) (*relay.Relay, error) {
	believed, err := config.believed()
	if err != nil {
		return nil, err
	}
	anchors, err := believed.Store()
	if err != nil {
		return nil, err
	}
	key, err := pemfile.ReadSigner(config.path(config.LedgerKey))
	if err != nil {
		return nil, err
	}
	limits, err := config.limits()
	if err != nil {
		return nil, err
	}
	return relay.New(ctx, relay.Config{Origin: config.Origin, Anchors: anchors, PassKeys: believed.PassKeys(), LedgerKey: key,
		State: state.store, Nonces: state.store, Counters: state.store, Outcomes: store, Directory: store, Bus: state.bus, Clock: time.Now, Logger: log,
		Origins: config.Origins, Limits: limits, PublicMetrics: config.PublicMetrics})
}

// withStore opens the database of a running or stopped relay.
func (f *relayFlags) withStore(cmd *cobra.Command, do func(Config, *sqlstore.Store) error) (err error) {
	config, done, err := f.load(cmd)
	if err != nil || done {
		return err
	}
	if err := config.hasDatabase(); err != nil {
		return err
	}
	store, err := config.openDatabase(cmd.Context())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return do(config, store)
}
