package cacmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/registry"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/bidseal/bidseal/trust"
	"github.com/spf13/cobra"
)

const oneDay = 24 * time.Hour

func newCACodeCommand(flags *caFlags) *cobra.Command {
	var r life.CodeRequest
	var phone phoneSetup
	var out string
	cmd := &cobra.Command{
		Use:   "enrolment-code",
		Short: "Make a one-use enrolment code for a named person",
		Long: `Makes a code by which one phone gets one dual certificate for the named subject, and writes the file that
"bidseal phone enrol --code FILE" reads. Anyone who has the file can take the certificate: hand it over in person.`,
		Example: `  bidseal ca enrolment-code --data ca --name 张三 --organisation 示例建设有限公司 \
    --credit-code 91330100MA27XL0G0X --role admin --out code.json
  bidseal ca enrolment-code --data ca --name 李四 --out code.json     a natural person`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r.Subject.Kind = string(trust.Person)
			if r.Subject.Organisation != "" {
				r.Subject.Kind = string(trust.Organisation)
			}
			if r.Subject.Name == "" || out == "" {
				return cli.Usagef("--name and --out are needed")
			}
			return flags.with(cmd, func(ctx context.Context, a *ca.Authority) error { return makeCode(ctx, cmd, flags, a, r, phone, out) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.Subject.Name, "name", "", "the person's name")
	f.StringVar(&r.Subject.Organisation, "organisation", "", "the person's organisation; without it the subject is a natural person")
	f.StringVar(&r.Subject.CreditCode, "credit-code", "", "the organisation's unified social credit code (GB 32100)")
	f.StringVar(&r.Subject.Role, "role", "", "role in the organisation: admin or user")
	f.StringVar(&r.IdentityNumber, "identity-number", "", "the person's identity number; certificates show it as the configuration says, and it is not kept")
	f.DurationVar(&r.Validity, "validity", 365*oneDay, "life of the certificates")
	f.DurationVar(&r.Expires, "expires", 7*oneDay, "how long the code may be used")
	f.StringVar(&phone.relay, "relay", "", "origin of the relay, written into the file for the phone")
	f.StringArrayVar(&phone.appOrigins, "app-origin", nil, "origin of the codes that the phone shall accept, written into the file; may be given several times")
	f.StringVar(&out, "out", "", "file to be written; it must not exist")
	return cmd
}

// phoneSetup is what the command-line phone has to know besides the authority;
// without it the phone must be told by flags of its own.
type phoneSetup struct {
	relay      string
	appOrigins []string
}

func makeCode(ctx context.Context, cmd *cobra.Command, flags *caFlags, a *ca.Authority, r life.CodeRequest, phone phoneSetup, out string) error {
	if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
		return cli.Usagef("%s exists", out)
	}
	file, err := a.Life.NewEnrolmentCode(ctx, flags.actor(), r)
	if err != nil {
		return err
	}
	return writeCode(cmd, file, phone, out)
}

func newCAPlatformCommand(flags *caFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "platform",
		Short: "Platforms that applied for a certificate",
		Args:  cli.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCAPlatformListCommand(flags), newCAPlatformApproveCommand(flags), newCAPlatformRejectCommand(flags))
	return cmd
}

func newCAPlatformListCommand(flags *caFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List applications and platforms", Example: "  bidseal ca platform list --data ca", Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.with(cmd, func(ctx context.Context, a *ca.Authority) error {
				all, err := a.Registry.Platforms(ctx)
				if err != nil {
					return err
				}
				return cli.Emit(cmd, map[string]any{"platforms": all}, func(w io.Writer) {
					for _, p := range all {
						fmt.Fprintf(w, "%s  %-8s  %s (%s)  %v\n    contact %s\n    request key SM3 %s\n    API key SM3     %s\n",
							p.ID, p.State, p.Name, p.Organisation, p.Origins, p.Contact, p.RequestKey, p.APIKey)
					}
				})
			})
		},
	}
}

func newCAPlatformApproveCommand(flags *caFlags) *cobra.Command {
	var approval registry.PlatformApproval
	var out string
	cmd := &cobra.Command{
		Use:   "approve ID",
		Short: "Issue the platform certificate of an application",
		Long: `Issues the certificate. Compare the fingerprints of "ca platform list" with the applicant first, through another channel.
Approving again gives the same registration.`,
		Example: "  bidseal ca platform approve 0f3c... --data ca --out registration.json",
		Args:    cli.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			approval.ID = args[0]
			return flags.with(cmd, func(ctx context.Context, a *ca.Authority) error {
				registration, err := a.Registry.ApprovePlatform(ctx, flags.actor(), approval)
				if err != nil {
					return err
				}
				if out != "" {
					raw, err := json.MarshalIndent(registration, "", "  ")
					if err != nil {
						return fmt.Errorf("encode registration: %w", err)
					}
					if err := pemfile.WritePrivate(out, append(raw, '\n')); err != nil {
						return err
					}
				}
				return cli.Emit(cmd, registration, func(w io.Writer) {
					fmt.Fprintf(w, "platform %s (%s) is certified; it collects the certificate by itself\n", registration.PlatformID, registration.Name)
				})
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&approval.PlatformID, "platform-id", "", "id to be given (a-z, 0-9, -); drawn at random if empty")
	f.DurationVar(&approval.Validity, "validity", 365*oneDay, "life of the certificate, at most 366 days")
	f.StringVar(&out, "out", "", "also write the registration for `bidseal relay platform add --file`")
	return cmd
}

func newCAPlatformRejectCommand(flags *caFlags) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "reject ID", Short: "End an application with a reason", Args: cli.ExactArgs(1),
		Example: `  bidseal ca platform reject 0f3c... --data ca --reason "keys could not be confirmed"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if reason == "" {
				return cli.Usagef("--reason is needed; the applicant reads it")
			}
			return flags.with(cmd, func(ctx context.Context, a *ca.Authority) error {
				if err := a.Registry.RejectPlatform(ctx, flags.actor(), args[0], reason); err != nil {
					return err
				}
				return cli.Emit(cmd, map[string]string{"id": args[0], "state": caapi.PlatformRejected}, func(w io.Writer) { fmt.Fprintln(w, "rejected") })
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	return cmd
}

func newCAListCommand(flags *caFlags) *cobra.Command {
	var lineage string
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List certificates, newest first", Args: cli.NoArgs,
		Example: "  bidseal ca list --data ca --limit 20",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.with(cmd, func(ctx context.Context, a *ca.Authority) error {
				all, err := a.Status.Certificates(ctx, lineage, limit)
				if err != nil {
					return err
				}
				return cli.Emit(cmd, map[string]any{"certificates": all}, func(w io.Writer) {
					for _, c := range all {
						fmt.Fprintf(w, "%s  %-23s  %-7s  until %s  %s\n", c.Serial, c.Profile, c.State, unixDay(c.NotAfter), c.Name)
					}
				})
			})
		},
	}
	cmd.Flags().StringVar(&lineage, "lineage", "", "only certificates of this lineage")
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many")
	return cmd
}

func newCARevokeCommand(flags *caFlags) *cobra.Command {
	var r life.Revocation
	var reason, since string
	cmd := &cobra.Command{
		Use:   "revoke",
		Short: "Revoke certificates, at once and for good",
		Long: `Revokes one certificate by its serial number, or every certificate of a lineage (both halves of a dual certificate).
The status service says so from the next question on; a new revocation list is signed when it is asked for. Nothing makes
a revoked certificate good again: hold it where that may be wanted. A certificate on hold is revoked as of its hold.`,
		Example: "  bidseal ca revoke --data ca --serial 5F3A... --reason keyCompromise\n  bidseal ca revoke --data ca --lineage 0123... --reason affiliationChanged",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if r.Reason, err = trust.ParseReason(reason); err != nil {
				return cli.Usagef("%v", err)
			}
			if since != "" {
				if r.Since, err = time.Parse(time.RFC3339, since); err != nil {
					return cli.Usagef("--since %q: want a time such as 2026-11-23T08:00:00Z", since)
				}
			}
			if (r.Serial == "") == (r.Lineage == "") {
				return cli.Usagef("either --serial or --lineage is needed")
			}
			return flags.with(cmd, func(ctx context.Context, a *ca.Authority) error {
				changed, err := a.Life.Revoke(ctx, flags.actor(), r)
				if err != nil {
					return err
				}
				return cli.Emit(cmd, map[string]any{"revoked": append([]string{}, changed...), "reason": reason}, func(w io.Writer) {
					fmt.Fprintf(w, "revoked %d certificate(s): %v\n", len(changed), changed)
				})
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.Serial, "serial", "", "serial number in hexadecimal")
	f.StringVar(&r.Lineage, "lineage", "", "lineage id")
	f.StringVar(&reason, "reason", "unspecified", "unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation or privilegeWithdrawn")
	f.StringVar(&since, "since", "", "since when the key is thought to be in other hands (RFC 3339), for lists to say")
	return cmd
}
