package benchcmd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// benchGoal is one goal of the design and whether this run met it.
type benchGoal struct {
	Goal  string  `json:"goal"`
	Value float64 `json:"value"`
	Limit float64 `json:"limit"`
	Unit  string  `json:"unit"`
	Met   bool    `json:"met"`
}

func (r *relayBenchReport) table(name string) benchTable {
	for _, t := range r.Tables {
		if t.Name == name {
			return t
		}
	}
	return benchTable{}
}

// goals compares with what performance demands; what was not measured is left out.
func (r *relayBenchReport) goals() []benchGoal {
	goals := []benchGoal{}
	ratio := func(table, figure, system string, limit float64) {
		row, _ := r.table(table).row(figure)
		if v, ok := row.Ratios[system]; ok {
			goals = append(goals, benchGoal{Goal: figure + ", × " + system, Value: v.Median, Limit: limit, Unit: "×", Met: v.Median <= limit})
		}
	}
	ratio(tabMemory, figAtRest, sysDefault, 0.30)
	ratio(tabMemory, figAtRest, sysTuned, 0.60)
	for _, system := range []string{sysDefault, sysTuned} {
		ratio(tabPush, figP50, system, 0.8)
		ratio(tabPush, figP99, system, 1.0)
		ratio(tabPush, figMessage, system, 0.85)
	}
	cost, ok := r.table(tabCompletion).row(figCached)
	if !ok {
		return goals
	}
	of := func(figure string) float64 {
		row, _ := r.table(tabCompletion).row(figure)
		return row.Values[sysOurs].Median
	}
	within := func(goal string, limit float64) {
		v := cost.Values[sysOurs].Median
		goals = append(goals, benchGoal{Goal: figCached + ": " + goal, Value: v, Limit: limit, Unit: unitMicro, Met: v <= limit})
	}
	plain := 1.5 * of(figPlain)
	within("raw SM2 verification + 1.5 × "+figPlain, of(figRaw)+plain)
	within("its three raw signature operations + 1.5 × "+figPlain, of(figRaw)+of(figRawProof)+of(figRawSign)+plain)
	return goals
}

// benchNeed is one line of what many waiters would need.
type benchNeed struct {
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// manyWaiters is the size of the relay that needs computes.
const manyWaiters = 100_000

// servingPing is the relay's own ping interval.
const servingPing = 30 * time.Second

// needs computes, from this run's figures, what one relay of many waiters takes:
// memory along the line through the measured points.
func (r *relayBenchReport) needs() []benchNeed {
	var out []benchNeed
	for _, line := range r.Series {
		if line.System != sysOurs {
			continue
		}
		out = append(out,
			benchNeed{"resident memory of the waiters, at rest", line.extrapolate(func(p benchPoint) int64 { return p.AtRest }) / (1 << 20), "MiB"},
			benchNeed{"resident memory of the waiters, after a collection", line.extrapolate(func(p benchPoint) int64 { return p.Collected }) / (1 << 20), "MiB"})
	}
	if len(out) == 0 {
		return nil
	}
	out = append(out, benchNeed{"open files, with room for calls and the store", manyWaiters + 4096, ""},
		benchNeed{fmt.Sprintf("pings, one every %s", servingPing), manyWaiters / servingPing.Seconds(), unitRate})
	if row, ok := r.table(tabMemory).row(figPing); ok {
		share := row.Values[sysOurs].Median / 1e6 * manyWaiters / servingPing.Seconds() * 100
		out = append(out, benchNeed{"of one CPU, for the pings", share, "%"})
	}
	return out
}

// extrapolate fits a line to the points and returns its value at manyWaiters.
func (l benchLine) extrapolate(of func(benchPoint) int64) float64 {
	var n, sx, sy, sxx, sxy float64
	for _, p := range l.Points {
		x, y := float64(p.Connections), float64(of(p))
		n, sx, sy, sxx, sxy = n+1, sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	if d := n*sxx - sx*sx; d > 0 {
		slope := (n*sxy - sx*sy) / d
		return (sy-slope*sx)/n + slope*manyWaiters
	}
	return sy / sx * manyWaiters // a single point
}

// markdown writes the whole report; plot is the picture's path beside the text.
func (r *relayBenchReport) markdown(w io.Writer, plot string) {
	fmt.Fprintf(w, "```\n%s\n```\n\n%s, %s, %d virtual CPUs (%s) for server, load and Redis together; open-file limit %d.\n", r.Command, r.Date, r.Go, r.CPUs, r.CPU, r.Files)
	if r.Peer != "" {
		fmt.Fprintf(w, "The peer is %s as it comes, and tuned: read buffer of 256 bytes, shared write buffers, no compression, commands off the read loop,\nreplies without queue. ", r.Peer)
	}
	fmt.Fprintf(w, "Cells are medians with ranges over the rounds; × is ours by theirs, pair by pair, median and range.\n\n")
	for _, t := range r.Tables {
		t.markdown(w)
	}
	if plot != "" {
		fmt.Fprintf(w, "![Memory against connections](%s)\n\n", plot)
	}
	if len(r.Series) > 0 {
		r.seriesMarkdown(w)
	}
	if len(r.Goals) > 0 {
		fmt.Fprintf(w, "### Goals\n\n| goal | measured | at most | unit | |\n|---|---|---|---|---|\n")
		for _, g := range r.Goals {
			met := "met"
			if !g.Met {
				met = "**not met**"
			}
			fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", g.Goal, number(g.Value), number(g.Limit), g.Unit, met)
		}
		fmt.Fprintln(w)
	}
	if len(r.Needs) > 0 {
		fmt.Fprintf(w, "### One relay of 100,000 waiters, by calculation\n\n| what | | unit |\n|---|---|---|\n")
		for _, n := range r.Needs {
			fmt.Fprintf(w, "| %s | %s | %s |\n", n.What, number(n.Value), n.Unit)
		}
		fmt.Fprintln(w)
	}
}

func (r *relayBenchReport) seriesMarkdown(w io.Writer) {
	fmt.Fprint(w, "| connections |")
	for _, line := range r.Series {
		fmt.Fprintf(w, " %s, MiB at rest (collected) |", line.System)
	}
	fmt.Fprint(w, "\n|---|")
	for range r.Series {
		fmt.Fprint(w, "---|")
	}
	fmt.Fprintln(w)
	for i, p := range r.Series[0].Points {
		fmt.Fprintf(w, "| %d |", p.Connections)
		for _, line := range r.Series {
			fmt.Fprintf(w, " %.1f (%.1f) |", float64(line.Points[i].AtRest)/(1<<20), float64(line.Points[i].Collected)/(1<<20))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
}

// The markers between which a document holds the newest run.
const (
	markBegin = "<!-- bench relay: begin -->\n"
	markEnd   = "<!-- bench relay: end -->\n"
)

// insert replaces what stands between a document's markers.
func (r *relayBenchReport) insert(path, plot string) error {
	raw, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return fmt.Errorf("read document: %w", err)
	}
	head, rest, ok := bytes.Cut(raw, []byte(markBegin))
	_, tail, closed := bytes.Cut(rest, []byte(markEnd))
	if !ok || !closed {
		return errors.New("the document has no markers for bench relay")
	}
	if plot != "" {
		if plot, err = filepath.Rel(filepath.Dir(path), plot); err != nil {
			return fmt.Errorf("path of the plot: %w", err)
		}
	}
	var out bytes.Buffer
	out.Write(head)
	out.WriteString(markBegin)
	r.markdown(&out, filepath.ToSlash(plot))
	out.WriteString(markEnd)
	out.Write(tail)
	return os.WriteFile(path, out.Bytes(), 0o644) //nolint:gosec // a document for everybody
}
