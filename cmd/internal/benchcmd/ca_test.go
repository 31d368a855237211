package benchcmd

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/bidseal/bidseal/cmd/internal/cli"
)

// TestBenchCA: a small run goes through every figure, and its table of certificates has the size that it names.
func TestBenchCA(t *testing.T) {
	t.Setenv(asCommand, "bidseal-bench") // for the authority's process
	code, stdout, stderr := benchRun(t, "ca", "--json", "--issued", "300", "--revoked", "100", "--issuances", "4", "--answers", "6", "--unlocks", "7", "--workers", "2", "--rounds", "2")
	if code != cli.ExitOK {
		t.Fatalf("exit code %d\n%s", code, stderr)
	}
	var report caBenchReport
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatalf("%v\n%s", err, stdout)
	}
	values := map[string]spread{}
	for _, f := range report.Figures {
		if f.Value.Min <= 0 || f.Value.Median < f.Value.Min || f.Value.Max < f.Value.Median || f.Unit == "" {
			t.Errorf("%s: %+v %s", f.Name, f.Value, f.Unit)
		}
		values[f.Name] = f.Value
	}
	for _, name := range []string{"dual issuances over HTTP", "dual issuances in process", "OCSP answers signed", "OCSP answers cached", "password evaluations"} {
		if values[name].Min == 0 || values[name+", CPU each"].Min == 0 {
			t.Errorf("no figure %q among %q", name, slices.Sorted(maps.Keys(values)))
		}
	}
	if all, one := values["full revocation list, size"].Min, values["shard of it, size"].Min; one >= all/4 {
		t.Errorf("a shard of %.1f KiB of a list of %.1f KiB", one, all)
	}
	// An entry with a serial number of 17 bytes, a time and a reason takes 50 bytes in DER.
	if size := values["full revocation list, size"].Min * 1024; size < 100*50 || size > 100*50+1024 {
		t.Errorf("a list of %.0f bytes for 100 entries", size)
	}
}

func TestBenchCARefusesNonsense(t *testing.T) {
	for _, args := range [][]string{{"--issued", "0"}, {"--issued", "5", "--revoked", "6"}, {"--rounds", "0"}, {"--workers", "0"}} {
		if code, _, _ := benchRun(t, append([]string{"ca"}, args...)...); code != cli.ExitUsage {
			t.Errorf("%q: exit code %d", args, code)
		}
	}
}
