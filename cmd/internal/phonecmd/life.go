package phonecmd

import (
	"fmt"
	"io"

	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/spf13/cobra"
)

// newPhoneDeviceCommand shows what an operator binds a reissue's code to.
func newPhoneDeviceCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "device",
		Short: "Show the id of this phone",
		Long: `Shows the id by which authority, relay and platforms know this phone; a new phone makes its device key with it.
The operator of the authority binds the code of a reissue to it, so that nobody else can use the code.`,
		Example: "  bidseal phone --state phone-b device --json",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			phone, _, err := openPhone(cmd)
			if err != nil {
				return err
			}
			return cli.Emit(cmd, map[string]string{"device": phone.Device()}, func(w io.Writer) {
				fmt.Fprintf(w, "本机设备号 / device id: %s\n", phone.Device())
			})
		},
	}
}
