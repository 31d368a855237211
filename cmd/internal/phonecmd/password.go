package phonecmd

import (
	"fmt"
	"io"
	"strings"

	"github.com/bidseal/bidseal/ca/realname"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/spf13/cobra"
)

func newPhonePasswordCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "password",
		Short: "Change the certificate password, or reset a forgotten one",
		Long: `The certificate password opens the keys on this phone together with a response of the password server, which counts
wrong ones and locks at the tenth. A locked or forgotten password is reset after a real-name check on the same phone; on
another phone the certificate is reissued.`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPhonePasswordChangeCommand(), newPhonePasswordResetCommand())
	return cmd
}

// The prompts of a password that is chosen.
const promptNewPassword = "新的证书密码（至少 8 位）/ new certificate password: " //nolint:gosec // a prompt

func newPhonePasswordChangeCommand() *cobra.Command {
	var passwordFile, nextFile string
	cmd := &cobra.Command{
		Use:     "change",
		Short:   "Change the certificate password",
		Long:    `Interrupted at any moment, either the old or the new password is valid.`,
		Example: "  bidseal phone --state phone-a password change --password-file old.txt --new-password-file new.txt",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			phone, keys, err := openPhone(cmd)
			if err != nil {
				return err
			}
			password, err := cli.ReadSecret(cmd, passwordFile, "", "证书密码 / certificate password: ")
			if err != nil {
				return err
			}
			defer clear(password)
			next, err := cli.ReadNewSecret(cmd, nextFile, "", promptNewPassword)
			if err != nil {
				return err
			}
			defer clear(next)
			if err := phone.ChangePassword(cmd.Context(), password, next); err != nil {
				return phoneError(cmd, keys, err)
			}
			return passwordSet(cmd)
		},
	}
	cmd.Flags().StringVar(&passwordFile, "password-file", "", "file with the present certificate password; asked for on a terminal where it is left out")
	cmd.Flags().StringVar(&nextFile, "new-password-file", "", "file with the new one; asked for on a terminal where it is left out")
	return cmd
}

func newPhonePasswordResetCommand() *cobra.Command {
	var tokenFile, nextFile string
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Set a new certificate password after a real-name check",
		Long: `Needs the token of a real-name check on this phone: it is valid once, for half an hour, for this phone.
Interrupted, run it again with the same token.`,
		Example: "  bidseal phone --state phone-a password reset --token token.txt --new-password-file new.txt",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if tokenFile == "" {
				return cli.Usagef("--token FILE is needed")
			}
			token, err := pemfile.ReadBounded(tokenFile, realname.MaxToken)
			if err != nil {
				return err
			}
			phone, keys, err := openPhone(cmd)
			if err != nil {
				return err
			}
			next, err := cli.ReadNewSecret(cmd, nextFile, "", promptNewPassword)
			if err != nil {
				return err
			}
			defer clear(next)
			if err := phone.ResetPassword(cmd.Context(), strings.TrimSpace(string(token)), next); err != nil {
				return phoneError(cmd, keys, err)
			}
			return passwordSet(cmd)
		},
	}
	cmd.Flags().StringVar(&tokenFile, "token", "", "file with the real-name token")
	cmd.Flags().StringVar(&nextFile, "new-password-file", "", "file with the new certificate password; asked for on a terminal where it is left out")
	return cmd
}

func passwordSet(cmd *cobra.Command) error {
	return cli.Emit(cmd, map[string]bool{"ok": true}, func(w io.Writer) {
		fmt.Fprintln(w, "证书密码已修改，原密码失效 / the certificate password is changed; the old one is no longer valid")
	})
}
