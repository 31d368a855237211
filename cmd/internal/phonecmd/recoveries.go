package phonecmd

import (
	"fmt"
	"io"
	"time"

	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/spf13/cobra"
)

func newPhoneRecoveriesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "recoveries",
		Short: "Show which of the holder's encryption keys the authority released again",
		Long: `Asks the authority for every recovery of the holder's encryption keys: to a new phone by a reissue, or by two of its
operators. "bidseal ca transparency prove --release ID" shows that one stands in the public listing.`,
		Example: "  bidseal phone --state phone-a recoveries --json",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			phone, _, err := openPhone(cmd)
			if err != nil {
				return err
			}
			all, err := phone.Recoveries(cmd.Context())
			if err != nil {
				return err
			}
			return cli.Emit(cmd, map[string]any{"recoveries": all}, func(w io.Writer) {
				for _, r := range all {
					why := "补办 / reissue"
					if r.Reason != "reissue" {
						why = "两名操作员恢复 / by two operators"
					}
					fmt.Fprintf(w, "%s  %s  %s\n    lineage %s\n    to key  %s\n", time.Unix(r.At, 0).UTC().Format(time.RFC3339), why, r.ID, r.Lineage, r.To)
				}
				if len(all) == 0 {
					fmt.Fprintln(w, "没有恢复记录 / no recoveries")
				}
			})
		},
	}
}
