package main

import "github.com/spf13/cobra"

// commands are the parts of the binary.
func commands() []*cobra.Command {
	return []*cobra.Command{
		newDemoCommand(),
		newPhoneCommand(),
		newPlatformCommand(),
		newRelayCommand(),
		newCACommand(),
		newEvidenceCommand(),
		newBenchCommand(),
		newVersionCommand(),
	}
}
