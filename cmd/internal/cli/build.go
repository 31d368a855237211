package cli

import "runtime/debug"

// Version is set by the linker at release (-X main.version=...).
var Version = "dev"

// Revision is the commit that the binary was built from, empty where that is not known.
func Revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
