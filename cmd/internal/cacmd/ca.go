// Package cacmd is the commands of the certificate authority: ceremony, server, and what its operators do.
package cacmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os/user"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/server"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// caPassphraseEnv may hold the passphrase of the authority's key files.
const caPassphraseEnv = "BIDSEAL_CA_PASSPHRASE"

// caFlags are what every command on an authority needs.
type caFlags struct {
	data, passwordFile, operator string
}

func (f *caFlags) register(cmd *cobra.Command) {
	p := cmd.PersistentFlags()
	p.StringVar(&f.data, "data", "", "the authority's folder")
	p.StringVar(&f.passwordFile, "password-file", "", "file with the passphrase of the key files; otherwise $"+caPassphraseEnv+" or a prompt")
	p.StringVar(&f.operator, "operator", "", "who acts, for the audit log; the system's user name if empty")
}

func (f *caFlags) operatorName() string {
	if f.operator != "" {
		return f.operator
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

// actor attributes audit entries to who uses the command line.
func (f *caFlags) actor() audit.Actor { return audit.Local(f.operatorName()) }

// open opens the authority for one command. It works while the server runs.
func (f *caFlags) open(cmd *cobra.Command) (*ca.Authority, error) {
	if f.data == "" {
		return nil, cli.Usagef("--data DIR is needed")
	}
	passphrase, err := cli.ReadSecret(cmd, f.passwordFile, caPassphraseEnv, "passphrase of the authority: ")
	if err != nil {
		return nil, err
	}
	defer clear(passphrase)
	return ca.Open(cmd.Context(), f.data, ca.Options{
		Passphrase: passphrase, Now: time.Now, Logger: cli.NewLogger(cmd, slog.LevelWarn),
	})
}

// with runs do on the opened authority and closes it.
func (f *caFlags) with(cmd *cobra.Command, do func(ctx context.Context, a *ca.Authority) error) (err error) {
	a, err := f.open(cmd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	return do(cmd.Context(), a)
}

// New is the certificate authority.
func New() *cobra.Command {
	flags := new(caFlags)
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "The certificate authority: certificates for phones and platforms",
		Long: `The certificate authority. Its state is a folder with encrypted key files and a database;
every command works on that folder, also while "ca serve" runs.

  1  bidseal ca init --data ca --config ceremony.toml              the ceremony, once (docs/ceremony.md)
  2  bidseal ca serve --data ca --listen :8402
  3  bidseal ca enrolment-code --data ca --name 张三 ...            hand the file to the holder of the phone
  4  bidseal ca platform list | approve ID                         platforms that applied`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags.register(cmd)
	cmd.AddCommand(newCAInitCommand(flags), newCAServeCommand(flags), newCACodeCommand(flags), newCAPlatformCommand(flags),
		newCAListCommand(flags), newCARevokeCommand(flags), newCACRLCommand(flags), newCATSACommand(flags), newCAVerifyLogCommand(flags), newCAOperatorCommand(flags), newCARecoveryCommand(), newCATransparencyCommand(),
		newCARenewCommand(flags), newCAChangeCommand(flags), newCAReissueCommand(flags), newCAHoldCommand(flags), newCAResumeCommand(flags), newCADeviceCommand(flags))
	cmd.AddCommand(newCARotateCommand(flags), newCARevokeIssuingCommand(flags), newCAVerifyRecordCommand(), newCABackupCommand(flags), newCAIssueCommand(flags), newCARestoreCommand(flags), newCARealNameCommand(flags))
	return cmd
}

func unixDay(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.DateOnly) }

// caServeConfig is the configuration of `ca serve`.
type caServeConfig struct {
	// Data is the authority's folder.
	Data string `toml:"data"`
	// Listen is the address of the public API, Admin that of /metrics and of the
	// health checks, which Listen has, too.
	Listen string `toml:"listen"`
	Admin  string `toml:"admin"`
	// PasswordFile holds the passphrase of the key files.
	PasswordFile string `toml:"password_file"`
	// PublicURL under which the API is reached, where it is not the base URL.
	PublicURL string `toml:"public_url"`
	// AppOrigins are web origins whose pages may call the API.
	AppOrigins []string `toml:"app_origins"`
	// Concurrent bounds calls that cost cryptography; 0 chooses by processors.
	Concurrent int `toml:"concurrent"`
	// CallsPerSecond and CallsBurst bound one address; 0 takes the default, a
	// negative rate means no limit.
	CallsPerSecond float64 `toml:"calls_per_second"`
	CallsBurst     int     `toml:"calls_burst"`
	// TrustedProxies are addresses or prefixes whose X-Forwarded-For is believed;
	// none by default.
	TrustedProxies []string `toml:"trusted_proxies"`
}

func newCAServeCommand(flags *caFlags) *cobra.Command {
	config := caServeConfig{Listen: "127.0.0.1:8402"}
	var configPath string
	var print bool
	given := config
	cmd := &cobra.Command{
		Use:     "serve",
		Short:   "Serve phones, platforms and everyone who verifies a certificate",
		Example: "  bidseal ca serve --data ca --listen 127.0.0.1:8402 --password-file passphrase.txt\n  bidseal ca serve --config ca-serve.toml",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cli.LoadConfig(configPath, &config); err != nil {
				return err
			}
			given.Data, given.PasswordFile = flags.data, flags.passwordFile
			config.override(cmd, given)
			if print {
				return cli.PrintConfig(cmd, config)
			}
			flags.data, flags.passwordFile = config.Data, config.PasswordFile
			return serveCA(cmd, flags, config)
		},
	}
	f := cmd.Flags()
	f.StringVar(&configPath, "config", "", "TOML file with the server's configuration")
	f.BoolVar(&print, "print-config", false, "print the effective configuration and do nothing")
	f.StringVar(&given.Listen, "listen", given.Listen, "address to listen on")
	f.StringVar(&given.Admin, "admin", "", "address of /metrics and health checks, for the operator alone; none by default")
	f.StringVar(&given.PublicURL, "public-url", "", "URL under which the API is reached, if not the base URL")
	f.StringArrayVar(&given.AppOrigins, "app-origin", nil, "web origin of the phone app; may be given several times")
	return cmd
}

// override lets flags that were given win over the file.
func (c *caServeConfig) override(cmd *cobra.Command, given caServeConfig) {
	for name, set := range map[string]func(){
		"data": func() { c.Data = given.Data }, "password-file": func() { c.PasswordFile = given.PasswordFile },
		"listen": func() { c.Listen = given.Listen }, "admin": func() { c.Admin = given.Admin }, "public-url": func() { c.PublicURL = given.PublicURL },
		"app-origin": func() { c.AppOrigins = given.AppOrigins },
	} {
		if cmd.Flags().Changed(name) {
			set()
		}
	}
}

func (c caServeConfig) limits() server.Limits {
	return server.Limits{PerSecond: c.CallsPerSecond, Burst: c.CallsBurst, TrustedProxies: c.TrustedProxies}
}

// serveCA serves until the process is told to end. With --json its first line on
// stdout says where it listens.
func serveCA(cmd *cobra.Command, flags *caFlags, config caServeConfig) (err error) {
	if flags.data == "" {
		return cli.Usagef("--data DIR is needed")
	}
	if err := config.limits().Check(); err != nil {
		return cli.Usagef("configuration: %v", err)
	}
	log := cli.NewLogger(cmd, slog.LevelInfo)
	passphrase, err := cli.ReadSecret(cmd, flags.passwordFile, caPassphraseEnv, "passphrase of the authority: ")
	if err != nil {
		return err
	}
	defer clear(passphrase)
	a, err := ca.Open(cmd.Context(), flags.data, ca.Options{
		Passphrase: passphrase, Now: time.Now, Logger: log, PublicURL: config.PublicURL, Tokens: newTokens(),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	if n, err := a.Life.Reconcile(cmd.Context()); err != nil {
		return fmt.Errorf("complete interrupted issuances: %w", err)
	} else if n > 0 {
		log.Info("completed interrupted issuances", "count", n)
	}
	handler := ca.NewHandler(a, server.Options{AppOrigins: config.AppOrigins, Concurrent: config.Concurrent, Limits: config.limits()})
	listeners := new(net.ListenConfig)
	public, err := listeners.Listen(cmd.Context(), "tcp", config.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	ready := struct {
		CA     string `json:"ca"`
		Listen string `json:"listen"`
		Admin  string `json:"admin,omitempty"`
	}{CA: a.Folder.URL(), Listen: public.Addr().String()}
	group, ctx := errgroup.WithContext(cmd.Context())
	if config.Admin != "" {
		admin, err := listeners.Listen(cmd.Context(), "tcp", config.Admin)
		if err != nil {
			return errors.Join(fmt.Errorf("listen: %w", err), public.Close())
		}
		ready.Admin = admin.Addr().String()
		cli.ServeUntil(ctx, group, admin, nil, handler.AdminHandler(), log, nil)
	}
	cli.ServeUntil(ctx, group, public, nil, handler, log, handler.Drain)
	group.Go(func() error {
		return cli.Emit(cmd, ready, func(w io.Writer) { fmt.Fprintf(w, "authority %s listens on %s\n", ready.CA, ready.Listen) })
	})
	return group.Wait()
}
