package relaycmd

import (
	"bytes"
	"context"
	"crypto"
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
	"github.com/bidseal/bidseal/internal/httpapi"
	"github.com/bidseal/bidseal/internal/pemfile"
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
	Dir, Origin string
	// TrustFile is the authority's trust file. The relay adds itself to it, so
	// that the authority's enrolment files name the relay, too, and keeps a copy.
	TrustFile string
}

func newRelayInitCommand() *cobra.Command {
	var o Init
	var old rootsAndPassKey
	var trustFile string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make a relay's folder: ledger key, trust file and configuration",
		Long: `Makes the relay's folder. --trust names the trust file that the authority's ceremony wrote: the relay adds itself with its
ledger key, to that file and to the copy in its own folder. Platforms and phones get the completed file. An authority
from before there were trust files is named by --root and --pass-key (or --ca).`,
		Example: `  bidseal relay init --dir relay --origin https://relay.example.cn --trust ca/trust.json
  bidseal relay init --dir relay --origin https://relay.example.cn --root root.pem --pass-key pass.pem`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Dir == "" || o.Origin == "" || trustFile == "" && len(old.roots) == 0 {
				return cli.Usagef("--dir, --origin and --trust are needed")
			}
			if trustFile != "" && len(old.roots) > 0 {
				return cli.Usagef("give --trust or --root, not both")
			}
			if err := o.vacant(); err != nil {
				return err
			}
			file, err := initTrust(cmd, trustFile, &old)
			if err != nil {
				return err
			}
			if len(old.roots) == 0 {
				o.TrustFile = trustFile
			}
			if err := o.Make(file); err != nil {
				return err
			}
			out := struct {
				Config    string `json:"config"`
				Trust     string `json:"trust"`
				LedgerKey string `json:"ledger_key"`
			}{filepath.Join(o.Dir, ConfigFile), filepath.Join(o.Dir, trust.FileName), filepath.Join(o.Dir, relayPublicFile)}
			return cli.Emit(cmd, out, func(w io.Writer) {
				fmt.Fprintf(w, "configuration in %s\ntrust file with this relay, for platforms, in %s\n", out.Config, out.Trust)
				if o.TrustFile != "" {
					fmt.Fprintf(w, "the relay stands in %s, too\n", o.TrustFile)
				}
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", "", "the folder, made if it is missing")
	f.StringVar(&o.Origin, "origin", "", "origin under which callers know the relay")
	f.StringVar(&trustFile, "trust", "", "the authority's trust file, to which the relay adds itself")
	f.StringArrayVar(&old.roots, "root", nil, "PEM file with the root of an authority that has no trust file; may be given several times")
	f.StringVar(&old.passKey, "pass-key", "", "with --root: PEM file with the public key of the issuer of device passes")
	f.StringVar(&old.authority, "ca", "", "with --root: base URL of the authority, to ask for that key once")
	return cmd
}

// initTrust reads whom the relay is to believe. A PEM file after --trust is read
// as --root, with a notice.
func initTrust(cmd *cobra.Command, trustFile string, old *rootsAndPassKey) (*trust.File, error) {
	if trustFile != "" && !cli.IsPEMFile(cmd, trustFile) {
		return cli.ReadTrustFile(trustFile)
	}
	if trustFile != "" {
		old.roots = []string{trustFile}
	}
	return old.file(cmd.Context())
}

// vacant refuses a folder with a relay in it.
func (o Init) vacant() error {
	if _, err := os.Stat(filepath.Join(o.Dir, ConfigFile)); err == nil {
		return cli.Usagef("there is a relay in %s", o.Dir)
	}
	return nil
}

// Make writes the folder; a configuration that is there is left alone.
func (o Init) Make(believed *trust.File) error {
	if err := o.vacant(); err != nil {
		return err
	}
	if len(believed.PassKeys()) == 0 {
		return cli.Usagef("the trust file names no pass_keys: no phone could call this relay")
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("make the relay's folder: %w", err)
	}
	key, private, public, err := newLedgerKey()
	if err != nil {
		return err
	}
	defer clear(private)
	completed := believed.WithRelay(trust.Relay{Origin: o.Origin, LedgerKeys: []crypto.PublicKey{key}})
	raw, err := completed.Encode()
	if err != nil {
		return err
	}
	config := DefaultConfig()
	config.Origin, config.Trust = o.Origin, trust.FileName
	text, err := toml.Marshal(config)
	if err != nil {
		return fmt.Errorf("encode configuration: %w", err)
	}
	if o.TrustFile != "" {
		if err := cli.WriteTrustFile(o.TrustFile, completed); err != nil {
			return err
		}
	}
	// the configuration goes last: where it stands, everything it names does
	for _, f := range []struct {
		name string
		data []byte
	}{{trust.FileName, raw}, {relayKeyFile, private}, {relayPublicFile, public}, {ConfigFile, text}} {
		if err := pemfile.WritePrivate(filepath.Join(o.Dir, f.name), f.data); err != nil {
			return err
		}
	}
	return nil
}

// newLedgerKey draws the SM2 key of a ledger and encodes both halves as PEM.
func newLedgerKey() (key crypto.PublicKey, private, public []byte, err error) {
	drawn, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("draw ledger key: %w", err)
	}
	private, err = pemfile.EncodePrivateKey(drawn)
	if err != nil {
		return nil, nil, nil, err
	}
	spki, err := protocol.MarshalKey(drawn.Public())
	if err != nil {
		return nil, nil, nil, err
	}
	return drawn.Public(), private, pemfile.EncodePublicKey(spki), nil
}

// rootsAndPassKey name an authority from before there were trust files.
type rootsAndPassKey struct {
	roots              []string
	passKey, authority string
}

func (o *rootsAndPassKey) file(ctx context.Context) (*trust.File, error) {
	if (o.passKey == "") == (o.authority == "") {
		return nil, cli.Usagef("with --root one of --pass-key and --ca is needed")
	}
	roots, err := pemfile.ReadCertificates(o.roots...)
	if err != nil {
		return nil, err
	}
	key, err := o.key(ctx, roots)
	if err != nil {
		return nil, err
	}
	authority := trust.DocumentationAuthority(roots...)
	authority.PassKeys = []crypto.PublicKey{key}
	return &trust.File{Authorities: []trust.Authority{authority}}, nil
}

// key reads the pass key from a file or asks the authority, which must then have
// one of the given roots.
func (o *rootsAndPassKey) key(ctx context.Context, roots []*smx509.Certificate) (crypto.PublicKey, error) {
	if o.passKey != "" {
		return pemfile.ReadPublicKey(o.passKey)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.authority+caapi.PathInfo, nil)
	if err != nil {
		return nil, cli.Usagef("authority %q: %v", o.authority, err)
	}
	resp, err := cli.NewHTTPClient().Do(req)
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeNetwork, "%v", err)
	}
	defer resp.Body.Close()
	var info caapi.Info
	if err := httpapi.DecodeResponse(resp, &info); err != nil {
		return nil, err
	}
	for _, root := range roots {
		digest := trust.Digest(root)
		for _, a := range info.Roots {
			if a.SM3 == fmt.Sprintf("%x", digest) {
				return protocol.ParseKey(info.PassKey)
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
				key, err := pemfile.ReadSigner(config.path(config.LedgerKey))
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
	raw, err := pemfile.ReadBounded(path, pemfile.MaxKey)
	if err != nil {
		return nil, err
	}
	var head relay.LedgerHead
	if err := protocol.DecodeJSON(bytes.TrimSpace(raw), &head); err != nil {
		return nil, cli.Usagef("%s is not the head of a ledger", path)
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
				raw, err := pemfile.ReadBounded(file, protocol.MaxJSON)
				if err != nil {
					return err
				}
				believed, err := config.believed()
				if err != nil {
					return err
				}
				anchors, err := believed.Store()
				if err != nil {
					return err
				}
				p, err := relay.ReadPlatformRegistration(bytes.TrimSpace(raw), anchors, time.Now())
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

// notFoundAs rewords the backend's "not found" for the command.
func notFoundAs(err error, format string, args ...any) error {
	if errors.Is(err, relay.ErrNotFound) {
		return protocol.Errorf(protocol.CodeNotFound, format, args...)
	}
	return err
}
