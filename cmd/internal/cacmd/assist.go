package cacmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/realname"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/spf13/cobra"
)

func newCARealNameCommand(flags *caFlags) *cobra.Command {
	var r life.RealNameRequest
	var purpose, personFile, out string
	cmd := &cobra.Command{
		Use:   "real-name-token",
		Short: "Attest a person's real-name check, as a one-use token for their phone",
		Long: `Signs a token that says: this person was checked. It is valid once, for one purpose, for half an hour, on the one phone
it is for. Check the person first. With --person-file (the name in the first line, the identity number in the second)
later tokens of the account must be of the same person; neither is stored or logged, only a keyed digest is.`,
		Example: `  bidseal ca real-name-token --data ca --serial 5F3A... --purpose password_reset --out token.txt
  bidseal phone --state phone-a password reset --token token.txt`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r.Purpose = realname.Purpose(purpose)
			switch {
			case !r.Purpose.Known():
				return cli.Usagef("--purpose is password_reset, application, reissue, phone_change or restore")
			case (r.Serial == "") == (r.Account == "" || r.Device == ""):
				return cli.Usagef("either --serial, or --account and --device are needed")
			case out == "":
				return cli.Usagef("--out FILE is needed")
			}
			if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
				return cli.Usagef("%s exists", out)
			}
			var err error
			if r.Name, r.IDNumber, err = readPerson(personFile); err != nil {
				return err
			}
			return flags.with(cmd, func(ctx context.Context, a *ca.Authority) error { return makeRealNameToken(ctx, cmd, flags, a, r, out) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.Serial, "serial", "", "serial number of a certificate on the person's phone")
	f.StringVar(&r.Account, "account", "", "account of the phone, with --device")
	f.StringVar(&r.Device, "device", "", "device id of the phone (phone certs --json)")
	f.StringVar(&purpose, "purpose", "", "what the check was for, such as password_reset")
	f.StringVar(&personFile, "person-file", "", "file with the person's name and identity number, one line each")
	f.StringVar(&out, "out", "", "file to be written; it must not exist")
	return cmd
}

// maxPersonFile bounds a file with a name and a number, in bytes.
const maxPersonFile = 1 << 10

func readPerson(path string) (name, number string, err error) {
	if path == "" {
		return "", "", nil
	}
	raw, err := pemfile.ReadBounded(path, maxPersonFile)
	if err != nil {
		return "", "", err
	}
	defer clear(raw)
	name, number, _ = strings.Cut(strings.TrimSpace(string(raw)), "\n")
	name, number = strings.TrimSpace(name), strings.TrimSpace(number)
	if name == "" || number == "" || strings.Contains(number, "\n") {
		return "", "", cli.Usagef("%s: want the name in the first line and the identity number in the second", path)
	}
	return name, number, nil
}

func makeRealNameToken(ctx context.Context, cmd *cobra.Command, flags *caFlags, a *ca.Authority, r life.RealNameRequest, out string) error {
	text, expires, err := a.Life.RealNameToken(ctx, flags.actor(), r)
	if err != nil {
		return err
	}
	if err := pemfile.WritePrivate(out, []byte(text+"\n")); err != nil {
		return err
	}
	result := struct {
		File    string           `json:"file"`
		Purpose realname.Purpose `json:"purpose"`
		Expires int64            `json:"expires"`
	}{out, r.Purpose, expires.Unix()}
	return cli.Emit(cmd, result, func(w io.Writer) {
		fmt.Fprintf(w, "token for %s in %s, usable once until %s\n", r.Purpose, out, expires.UTC().Format(time.RFC3339))
	})
}
