// Package benchcmd is the commands of bidseal-bench: every measurement, the load that it takes and the processes that are
// measured. The product's binary never links it.
//
// Tests that have the load's phone sign in while processes are killed stand here, too.
package benchcmd

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/spf13/cobra"
)

// NewRoot is the command line of bidseal-bench.
func NewRoot() *cobra.Command {
	root := cli.NewRoot("bidseal-bench", "Measure what a claim about speed rests on",
		newBenchLoginCommand(), newBenchRelayCommand(), newBenchSoakCommand(), newBenchServerCommand(), newBenchRelayServerCommand(),
		newBenchCACommand(), newBenchCAServerCommand())
	root.Long = `Every benchmark starts what it measures in a process of its own, drives it with real keys through the real HTTP
and WebSocket stack, and is void where one call failed. Trust memory, CPU per operation and counts; wall-clock
throughput depends on what else the machine does.`
	return root
}

// spread is the median and the range of one figure over the rounds of a run.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func newSpread(values []float64) spread {
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	return spread{Median: (s[(n-1)/2] + s[n/2]) / 2, Min: s[0], Max: s[n-1]}
}

// figure is one line of a benchmark's table.
type figure struct {
	Name  string `json:"name"`
	Unit  string `json:"unit"`
	Value spread `json:"value"`
}

func printFigures(w io.Writer, figures []figure) {
	fmt.Fprintf(w, "| %-46s | %10s | %21s | unit |\n|%s|%s|%s|---|\n", "figure", "median", "range", dashes(48), dashes(12), dashes(23))
	for _, f := range figures {
		fmt.Fprintf(w, "| %-46s | %10s | %21s | %s |\n", f.Name, number(f.Value.Median), number(f.Value.Min)+" – "+number(f.Value.Max), f.Unit)
	}
}

func dashes(n int) string { return string(slices.Repeat([]byte("-"), n)) }

func number(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// latencies is an HDR histogram in microseconds up to one minute.
type latencies struct{ h *hdrhistogram.Histogram }

func newLatencies() *latencies {
	return &latencies{hdrhistogram.New(1, time.Minute.Microseconds(), 3)}
}

// observe takes a latency beyond the histogram's end as its end.
func (l *latencies) observe(d time.Duration) {
	_ = l.h.RecordValue(min(max(d.Microseconds(), 1), time.Minute.Microseconds()))
}

// ms is a percentile in milliseconds.
func (l *latencies) ms(percentile float64) float64 {
	return float64(l.h.ValueAtPercentile(percentile)) / 1000
}
