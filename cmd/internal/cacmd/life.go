package cacmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/bidseal/bidseal/trust"
	"github.com/spf13/cobra"
)

// lifeCode is what the commands that authorise the next certificate have in
// common.
type lifeCode struct {
	serial, out string
	expires     time.Duration
	phone       phoneSetup
}

func (l *lifeCode) register(cmd *cobra.Command, expires time.Duration) {
	f := cmd.Flags()
	f.StringVar(&l.serial, "serial", "", "serial number of the newest certificate, either half, in hexadecimal")
	f.DurationVar(&l.expires, "expires", expires, "how long the code may be used")
	f.StringVar(&l.out, "out", "", "file to be written; it must not exist")
	f.StringVar(&l.phone.relay, "relay", "", "origin of the relay, written into the file for a new phone")
	f.StringArrayVar(&l.phone.appOrigins, "app-origin", nil, "origin of the codes that a new phone shall accept, written into the file; may be given several times")
}

// make authorises and writes the file.
func (l *lifeCode) make(cmd *cobra.Command, flags *caFlags, authorise func(context.Context, *ca.Authority) (*caapi.EnrolmentFile, error)) error {
	if l.serial == "" || l.out == "" {
		return cli.Usagef("--serial and --out are needed")
	}
	if _, err := os.Stat(l.out); !errors.Is(err, fs.ErrNotExist) {
		return cli.Usagef("%s exists", l.out)
	}
	return flags.with(cmd, func(ctx context.Context, a *ca.Authority) error {
		file, err := authorise(ctx, a)
		if err != nil {
			return err
		}
		return writeCode(cmd, file, l.phone, l.out)
	})
}

// writeCode writes the file of a code and says what comes next.
func writeCode(cmd *cobra.Command, file *caapi.EnrolmentFile, phone phoneSetup, out string) error {
	file.Relay, file.AppOrigins = phone.relay, phone.appOrigins
	raw, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return fmt.Errorf("encode enrolment code: %w", err)
	}
	if err := pemfile.WritePrivate(out, append(raw, '\n')); err != nil {
		return err
	}
	result := struct {
		File      string        `json:"file"`
		Operation string        `json:"operation"`
		Serial    string        `json:"serial,omitempty"`
		Lineage   string        `json:"lineage,omitempty"`
		Expires   int64         `json:"expires"`
		Subject   caapi.Subject `json:"subject"`
	}{out, file.Operation, file.Serial, file.Lineage, file.Expires, file.Subject}
	return cli.Emit(cmd, result, func(w io.Writer) {
		fmt.Fprintf(w, "%s code for %s in %s, usable once until %s\nnext: bidseal phone --state DIR enrol --code %s\n",
			file.Operation, file.Subject.Name, out, time.Unix(file.Expires, 0).UTC().Format(time.RFC3339), out)
	})
}

func newCARenewCommand(flags *caFlags) *cobra.Command {
	var l lifeCode
	var r life.Renewal
	cmd := &cobra.Command{
		Use:   "renew",
		Short: "Authorise the renewal of a certificate by the phone that holds it",
		Long: `Makes a one-use code. The renewed certificate ends 1, 2 or 3 years after the old one's end, with the same subject and
encryption key pair and a new signing key; the old one stays in force until its end. Renewal opens three calendar months
before that end. The code works on the phone that holds the certificate only.`,
		Example: "  bidseal ca renew --data ca --serial 5F3A... --years 2 --out renew.json",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return l.make(cmd, flags, func(ctx context.Context, a *ca.Authority) (*caapi.EnrolmentFile, error) {
				r.Serial, r.Expires = l.serial, l.expires
				return a.Life.AuthoriseRenewal(ctx, flags.actor(), r)
			})
		},
	}
	l.register(cmd, 7*oneDay)
	cmd.Flags().IntVar(&r.Years, "years", 1, "years that are added to the old end: 1, 2 or 3")
	return cmd
}

func newCAChangeCommand(flags *caFlags) *cobra.Command {
	var l lifeCode
	var c life.Change
	cmd := &cobra.Command{
		Use:   "change",
		Short: "Authorise a change of the organisation's name",
		Long: `Makes a one-use code for the phone that holds the certificate. The new certificate has the new name, the same credit code,
end and encryption key pair, and a new signing key. The old signing certificate is revoked (affiliationChanged) when the
new one is issued. Another credit code is another organisation, and refused.`,
		Example: "  bidseal ca change --data ca --serial 5F3A... --organisation 示例建设集团有限公司 --out change.json",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.Organisation == "" {
				return cli.Usagef("--organisation is needed")
			}
			return l.make(cmd, flags, func(ctx context.Context, a *ca.Authority) (*caapi.EnrolmentFile, error) {
				c.Serial, c.Expires = l.serial, l.expires
				return a.Life.AuthoriseChange(ctx, flags.actor(), c)
			})
		},
	}
	l.register(cmd, 7*oneDay)
	cmd.Flags().StringVar(&c.Organisation, "organisation", "", "the new name")
	cmd.Flags().StringVar(&c.CreditCode, "credit-code", "", "unified social credit code in the papers of the change, to be compared")
	return cmd
}

func newCAReissueCommand(flags *caFlags) *cobra.Command {
	var l lifeCode
	var r life.Reissue
	var reason string
	cmd := &cobra.Command{
		Use:   "reissue",
		Short: "Authorise a new phone for somebody whose phone is lost",
		Long: `Makes a one-use code for a new phone. It gets the same subject and end, a new signing key, and every encryption key of the
certificate, so that what was ever encrypted for it opens. When it is issued, the old signing certificates are revoked and
the old phone is blocked.

The phone that uses the code signs as that person from then on, and reads what was encrypted for them: see the person, hand the file
over in person, and bind it with --device to the phone they show ("bidseal phone device" prints its id).`,
		Example: "  bidseal ca reissue --data ca --serial 5F3A... --device 8xk2... --out reissue.json\n  bidseal ca reissue --data ca --serial 5F3A... --reason keyCompromise --out reissue.json",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if r.Reason, err = trust.ParseReason(reason); err != nil {
				return cli.Usagef("%v", err)
			}
			return l.make(cmd, flags, func(ctx context.Context, a *ca.Authority) (*caapi.EnrolmentFile, error) {
				r.Serial, r.Expires = l.serial, l.expires
				return a.Life.AuthoriseReissue(ctx, flags.actor(), r)
			})
		},
	}
	l.register(cmd, oneDay)
	f := cmd.Flags()
	f.StringVar(&reason, "reason", trust.Superseded.String(), "why the old signing certificates are revoked: superseded, or keyCompromise where somebody may have phone and password")
	f.StringVar(&r.Device, "device", "", "id of the only phone that may use the code")
	f.BoolVar(&r.NewEncryptionKey, "new-encryption-key", false, "make a new encryption key pair; the present one stays for old files")
	return cmd
}

// stopFlags name certificates: one, or a lineage.
func stopFlags(cmd *cobra.Command, serial, lineage *string) {
	cmd.Flags().StringVar(serial, "serial", "", "serial number in hexadecimal")
	cmd.Flags().StringVar(lineage, "lineage", "", "lineage id: every certificate of one holder")
}

func newCAHoldCommand(flags *caFlags) *cobra.Command {
	return newHoldCommand(flags, "hold", "held", "Suspend certificates until they are resumed or revoked",
		`Puts certificates on hold (certificateHold): they count as revoked from now on. Codes that were made for the certificate and
not used are void, and an issuance under way is refused. Hold first where a phone may be lost, then see the person.`,
		(*life.Life).Hold)
}

func newCAResumeCommand(flags *caFlags) *cobra.Command {
	return newHoldCommand(flags, "resume", "resumed", "End a hold",
		`Makes certificates on hold good again; they leave the revocation lists. What was revoked stays revoked.`,
		(*life.Life).Resume)
}

func newHoldCommand(flags *caFlags, use, done, short, long string, do func(*life.Life, context.Context, audit.Actor, life.Hold) ([]string, error)) *cobra.Command {
	var h life.Hold
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Args: cli.NoArgs,
		Example: "  bidseal ca " + use + " --data ca --lineage 0123...\n  bidseal ca " + use + " --data ca --serial 5F3A...",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (h.Serial == "") == (h.Lineage == "") {
				return cli.Usagef("either --serial or --lineage is needed")
			}
			return flags.with(cmd, func(ctx context.Context, a *ca.Authority) error {
				all, err := do(a.Life, ctx, flags.actor(), h)
				if err != nil {
					return err
				}
				return cli.Emit(cmd, map[string][]string{done: append([]string{}, all...)}, func(w io.Writer) {
					fmt.Fprintf(w, "%s %d certificate(s): %s\n", done, len(all), strings.Join(all, ", "))
				})
			})
		},
	}
	stopFlags(cmd, &h.Serial, &h.Lineage)
	return cmd
}

func newCADeviceCommand(flags *caFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use: "device", Short: "Block a phone, or lift the block", Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, c := range []struct {
		use, state, short string
		do                func(*life.Life, context.Context, audit.Actor, string) error
	}{
		{"block", "blocked", "Give a phone no pass and no certificate any more", (*life.Life).BlockDevice},
		{"unblock", "active", "Take a phone into use again", (*life.Life).UnblockDevice},
	} {
		cmd.AddCommand(&cobra.Command{
			Use: c.use + " DEVICE", Short: c.short, Args: cli.ExactArgs(1),
			Long: c.short + `. A pass that a phone has ends within a day; certificates stay as they are:
hold or revoke them, too, where somebody else may have the phone.`,
			Example: "  bidseal ca device " + c.use + " 8xk2... --data ca",
			RunE: func(cmd *cobra.Command, args []string) error {
				return flags.with(cmd, func(ctx context.Context, a *ca.Authority) error {
					if err := c.do(a.Life, ctx, flags.actor(), args[0]); err != nil {
						return err
					}
					return cli.Emit(cmd, map[string]string{"device": args[0], "state": c.state}, func(w io.Writer) { fmt.Fprintln(w, c.state) })
				})
			},
		})
	}
	return cmd
}
