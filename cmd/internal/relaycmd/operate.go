package relaycmd

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
	"github.com/bidseal/bidseal/relay/sqlstore"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"
)

// Init are the choices of `relay init`.
type Init struct {
	Dir, Origin, PassKey, authority string
	Roots                           []string
}

func newRelayInitCommand() *cobra.Command {
	var o Init
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make a relay's folder: ledger key and configuration",
		Example: `  bidseal relay init --dir relay --origin https://relay.example.cn --root root.pem --ca https://ca.example.cn
  bidseal relay init --dir relay --origin https://relay.example.cn --root root.pem --pass-key pass.pem`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Dir == "" || o.Origin == "" || len(o.Roots) == 0 || (o.PassKey == "") == (o.authority == "") {
				return cli.Usagef("--dir, --origin, --root and one of --pass-key and --ca are needed")
			}
			if err := o.Make(cmd.Context()); err != nil {
				return err
			}
			out := struct {
				Config    string `json:"config"`
				LedgerKey string `json:"ledger_key"`
			}{filepath.Join(o.Dir, ConfigFile), filepath.Join(o.Dir, relayPublicFile)}
			return cli.Emit(cmd, out, func(w io.Writer) {
				fmt.Fprintf(w, "configuration in %s\npublic key of the ledger, for platforms, in %s\n", out.Config, out.LedgerKey)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", "", "the folder, made if it is missing")
	f.StringVar(&o.Origin, "origin", "", "origin under which callers know the relay")
	f.StringArrayVar(&o.Roots, "root", nil, "PEM file with the authority's root, obtained from its operator; may be given several times")
	f.StringVar(&o.PassKey, "pass-key", "", "PEM file with the public key of the issuer of device passes")
	f.StringVar(&o.authority, "ca", "", "base URL of the authority, to ask for that key once")
	return cmd
}

// make writes the folder; a configuration that is there is left alone.
func (o Init) Make(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(o.Dir, ConfigFile)); err == nil {
		return cli.Usagef("there is a relay in %s", o.Dir)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("make the relay's folder: %w", err)
	}
	roots, err := cli.ReadCertificates(o.Roots...)
	if err != nil {
		return err
	}
	passKey, err := o.passKeyPEM(ctx, roots)
	if err != nil {
		return err
	}
	private, public, err := newLedgerKey()
	if err != nil {
		return err
	}
	defer clear(private)
	ders := make([][]byte, len(roots))
	for i, c := range roots {
		ders[i] = c.Raw
	}
	config := DefaultConfig()
	config.Origin, config.Roots, config.PassKeys = o.Origin, []string{cli.RootsFile}, []string{"pass.pem"}
	text, err := toml.Marshal(config)
	if err != nil {
		return fmt.Errorf("encode configuration: %w", err)
	}
	// the configuration goes last: where it stands, everything it names does
	for _, f := range []struct {
		name string
		data []byte
	}{{cli.RootsFile, cli.CertificatesPEM(ders)}, {"pass.pem", passKey}, {relayKeyFile, private}, {relayPublicFile, public}, {ConfigFile, text}} {
		if err := cli.WritePrivate(filepath.Join(o.Dir, f.name), f.data); err != nil {
			return err
		}
	}
	return nil
}

// newLedgerKey draws the SM2 key of a ledger, both halves as PEM.
func newLedgerKey() (private, public []byte, err error) {
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("draw ledger key: %w", err)
	}
	private, err = cli.PrivateKeyPEM(key)
	if err != nil {
		return nil, nil, err
	}
	spki, err := protocol.MarshalKey(key.Public())
	if err != nil {
		return nil, nil, err
	}
	return private, cli.PublicKeyPEM(spki), nil
}

// passKeyPEM reads the issuer's key from a file or asks the authority, which
// must then have one of the given roots.
func (o Init) passKeyPEM(ctx context.Context, roots []*smx509.Certificate) ([]byte, error) {
	if o.PassKey != "" {
		if _, err := cli.ReadPublicKey(o.PassKey); err != nil {
			return nil, err
		}
		return cli.ReadBounded(o.PassKey, cli.MaxKeyFile)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.authority+caapi.PathInfo, nil)
	if err != nil {
		return nil, cli.Usagef("authority %q: %v", o.authority, err)
	}
	resp, err := cli.NewHTTPClient().Do(req)
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeNetwork, "%v", err)
	}
	var info caapi.Info
	if err := cli.DecodeAnswer(resp, &info); err != nil {
		return nil, err
	}
	for _, root := range roots {
		digest := trust.Digest(root)
		for _, a := range info.Roots {
			if a.SM3 == fmt.Sprintf("%x", digest) {
				_, err := protocol.ParseKey(info.PassKey)
				return cli.PublicKeyPEM(info.PassKey), err
			}
		}
	}
	return nil, protocol.Errorf(protocol.CodeCertUntrusted, "the authority at %s has none of the given roots", o.authority)
}

func newRelayVerifyLogCommand(flags *relayFlags) *cobra.Command {
	var kept, keep string
	cmd := &cobra.Command{
		Use:     "verify-log",
		Short:   "Compute the ledger's chain again and check every signature",
		Example: "  bidseal relay verify-log --config relay/relay.toml\n  bidseal relay verify-log --config relay/relay.toml --head yesterday.json --keep today.json",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.withStore(cmd, func(config Config, store *sqlstore.Store) error {
				key, err := cli.ReadSigner(config.path(config.LedgerKey))
				if err != nil {
					return err
				}
				before, err := readLedgerHead(kept)
				if err != nil {
					return err
				}
				report, err := relay.VerifyLedger(cmd.Context(), store, key.Public(), before)
				if err != nil {
					return err
				}
				if err := cli.KeepHead(keep, report.Head); err != nil {
					return err
				}
				return cli.Emit(cmd, report, func(w io.Writer) {
					fmt.Fprintf(w, "%d entries: the ledger verifies\nhead %x\n", report.Entries, []byte(report.Head.Head))
				})
			})
		},
	}
	cmd.Flags().StringVar(&kept, "head", "", "file with a head kept earlier, or published at /v1/ledger/head")
	cmd.Flags().StringVar(&keep, "keep", "", "write the present head to this file")
	return cmd
}

func readLedgerHead(path string) (*relay.LedgerHead, error) {
	if path == "" {
		return nil, nil
	}
	raw, err := cli.ReadBounded(path, cli.MaxKeyFile)
	if err != nil {
		return nil, err
	}
	var head relay.LedgerHead
	if err := protocol.DecodeJSON(bytes.TrimSpace(raw), &head); err != nil {
		return nil, cli.Usagef("%s is no head of a ledger", path)
	}
	return &head, nil
}

func newRelayPlatformCommand(flags *relayFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "platform",
		Short: "Register, list and block platforms",
		Args:  cli.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRelayPlatformAddCommand(flags), newRelayPlatformListCommand(flags), newRelayPlatformBlockCommand(flags))
	return cmd
}

func newRelayPlatformAddCommand(flags *relayFlags) *cobra.Command {
	var file string
	var keep time.Duration
	cmd := &cobra.Command{
		Use:     "add",
		Short:   "Register a platform, or replace its registration",
		Example: "  bidseal relay platform add --config relay/relay.toml --file platform/registration.json",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return cli.Usagef("--file is needed")
			}
			if keep <= 0 || keep > protocol.MaxKeepLimit {
				return cli.Usagef("--keep is more than 0 and at most %s", protocol.MaxKeepLimit)
			}
			return flags.withStore(cmd, func(config Config, store *sqlstore.Store) error {
				raw, err := cli.ReadBounded(file, protocol.MaxJSON)
				if err != nil {
					return err
				}
				anchors, err := config.anchors()
				if err != nil {
					return err
				}
				p, err := relay.ReadRegistration(bytes.TrimSpace(raw), anchors, time.Now())
				if err != nil {
					return err
				}
				p.MaxKeep = int64(keep / time.Second)
				if err := store.PutPlatform(cmd.Context(), *p); err != nil {
					return err
				}
				return cli.Emit(cmd, p, func(w io.Writer) { fmt.Fprintf(w, "platform %s, %s, is registered\n", p.ID, p.Name) })
			})
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "registration.json of the platform's folder")
	cmd.Flags().DurationVar(&keep, "keep", protocol.KeepLimit, "how long results may wait for the platform, at most 168h")
	return cmd
}

func newRelayPlatformListCommand(flags *relayFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the registered platforms",
		Example: "  bidseal relay platform list --config relay/relay.toml",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.withStore(cmd, func(_ Config, store *sqlstore.Store) error {
				list, err := store.Platforms(cmd.Context())
				if err != nil {
					return err
				}
				out := struct {
					Platforms []relay.Platform `json:"platforms"`
				}{list}
				return cli.Emit(cmd, out, func(w io.Writer) {
					for _, p := range list {
						state := "active"
						if p.Blocked {
							state = "blocked"
						}
						fmt.Fprintf(w, "%s  %s  %s  %v\n", p.ID, state, p.Name, p.Origins)
					}
				})
			})
		},
	}
}

func newRelayPlatformBlockCommand(flags *relayFlags) *cobra.Command {
	var lift bool
	cmd := &cobra.Command{
		Use:     "block ID",
		Short:   "Refuse a platform's calls from now on",
		Example: "  bidseal relay platform block p-example --config relay/relay.toml\n  bidseal relay platform block p-example --lift",
		Args:    cli.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.withStore(cmd, func(_ Config, store *sqlstore.Store) error {
				if err := store.BlockPlatform(cmd.Context(), args[0], !lift); err != nil {
					return notFoundAs(err, "there is no platform %q", args[0])
				}
				out := struct {
					Platform string `json:"platform"`
					Blocked  bool   `json:"blocked"`
				}{args[0], !lift}
				return cli.Emit(cmd, out, func(w io.Writer) { fmt.Fprintf(w, "platform %s: blocked %t\n", out.Platform, out.Blocked) })
			})
		},
	}
	cmd.Flags().BoolVar(&lift, "lift", false, "lift the block")
	return cmd
}

func newRelayDeviceCommand(flags *relayFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "device",
		Short: "Deny single devices",
		Args:  cli.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var lift bool
	var reason string
	deny := &cobra.Command{
		Use:     "deny DEVICE",
		Short:   "Refuse a device's calls from now on",
		Example: "  bidseal relay device deny 0123456789abcdef0123456789abcdef --reason lost --config relay/relay.toml",
		Args:    cli.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.withStore(cmd, func(_ Config, store *sqlstore.Store) error {
				if err := store.DenyDevice(cmd.Context(), args[0], reason, !lift); err != nil {
					return err
				}
				out := struct {
					Device string `json:"device"`
					Denied bool   `json:"denied"`
				}{args[0], !lift}
				return cli.Emit(cmd, out, func(w io.Writer) { fmt.Fprintf(w, "device %s: denied %t\n", out.Device, out.Denied) })
			})
		},
	}
	deny.Flags().StringVar(&reason, "reason", "", "why")
	deny.Flags().BoolVar(&lift, "lift", false, "take the device off the list")
	cmd.AddCommand(deny)
	return cmd
}

// notFoundAs gives the backend's "not found" the words of the command.
func notFoundAs(err error, format string, args ...any) error {
	if errors.Is(err, relay.ErrNotFound) {
		return protocol.Errorf(protocol.CodeNotFound, format, args...)
	}
	return err
}
