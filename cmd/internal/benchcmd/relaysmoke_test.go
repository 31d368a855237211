//go:build bench

package benchcmd

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestBenchRelaySmoke runs every part of the benchmark in small, with the peer,
// and looks at what it wrote. Nothing here asks how fast anything was.
func TestBenchRelaySmoke(t *testing.T) {
	bin, peer := os.Getenv("BIDSEAL_BENCH_BIN"), os.Getenv("BENCH_PEER_BIN")
	if bin == "" || peer == "" {
		t.Fatal("BIDSEAL_BENCH_BIN and BENCH_PEER_BIN name the binaries: run make bench-smoke")
	}
	dir := t.TempDir()
	doc, plot := filepath.Join(dir, "doc.md"), filepath.Join(dir, "plot.svg")
	if err := os.WriteFile(doc, []byte("before\n"+markBegin+"an earlier run\n"+markEnd+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), bin, "relay", "--json", "--peer", peer, "--connections", "50", "--pairs", "1",
		"--seconds", "1", "--rate", "100", "--plot", plot, "--markdown", doc)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, errOut.Bytes())
	}
	var report relayBenchReport
	dec := json.NewDecoder(bytes.NewReader(out))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&report); err != nil || dec.More() {
		t.Fatalf("not one document: %v", err)
	}
	checkSmoke(t, &report)
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(text); !strings.HasPrefix(s, "before\n"+markBegin) || !strings.HasSuffix(s, markEnd+"after\n") || strings.Contains(s, "earlier run") ||
		!strings.Contains(s, "](plot.svg)") {
		t.Errorf("document:\n%s", text)
	}
	if svg, err := os.ReadFile(plot); err != nil || strings.Count(string(svg), "<polyline") != 3 {
		t.Errorf("plot: %v\n%s", err, svg)
	}
}

func checkSmoke(t *testing.T, r *relayBenchReport) {
	t.Helper()
	if r.Bench != "relay" || r.Connections != 50 || r.Pairs != 1 || r.Peer != peerName || r.Go == "" || r.Date == "" || r.Files == 0 {
		t.Errorf("%+v", r)
	}
	all := []string{sysOurs, sysDefault, sysTuned}
	want := map[string]map[string][]string{
		tabMemory:     {figAtRest: all, figCollected: all, figPing: all},
		tabPush:       {figP50: all, figP99: all, figMessage: all, figClaim50: {sysOurs}, figClaim: {sysOurs}},
		tabSaturation: {figMax: all},
		tabNodes:      {figP50: all, figP99: all, figMessage: all, figSource: all},
		tabCompletion: {figRaw: {sysOurs}, figPlain: {sysOurs}, figCached: {sysOurs}, figUncached: {sysOurs}, figDurable: {sysOurs}},
	}
	if len(r.Tables) != len(want) {
		t.Errorf("%d tables", len(r.Tables))
	}
	for table, figures := range want {
		for figure, systems := range figures {
			row, ok := r.table(table).row(figure)
			if !ok || row.Unit == "" {
				t.Errorf("%s: no %s", table, figure)
			}
			for _, system := range systems {
				if v, ok := row.Values[system]; !ok || v.Min > v.Median || v.Median > v.Max {
					t.Errorf("%s: %s of %s: %+v", table, figure, system, row)
				}
			}
		}
	}
	for i, system := range all {
		if len(r.Series) != 3 || r.Series[i].System != system || !slices.ContainsFunc(r.Series[i].Points, func(p benchPoint) bool { return p.Connections == 50 }) {
			t.Errorf("series: %+v", r.Series)
		}
	}
	if len(r.Goals) < 9 || len(r.Needs) == 0 {
		t.Errorf("goals %+v, needs %+v", r.Goals, r.Needs)
	}
}

// TestBenchRelayVoid: a peer that does not serve voids the run.
func TestBenchRelayVoid(t *testing.T) {
	bin := os.Getenv("BIDSEAL_BENCH_BIN")
	out, err := exec.CommandContext(t.Context(), bin, "relay", "--json", "--peer", "/bin/false", "--connections", "5", "--pairs", "1", "--seconds", "1",
		"--only", "push").Output()
	if err == nil || bytes.Contains(out, []byte(`"tables"`)) {
		t.Fatalf("%v, %s", err, out)
	}
}
