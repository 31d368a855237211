package benchcmd

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// The tables of a report.
const (
	tabMemory     = "Memory per waiting connection"
	tabPush       = "Push"
	tabSaturation = "Saturation"
	tabNodes      = "Two nodes through Redis"
	tabCompletion = "Completion"
)

// benchTable compares the systems in some figures.
type benchTable struct {
	Name    string     `json:"name"`
	About   string     `json:"about"`
	Systems []string   `json:"systems"`
	Rows    []benchRow `json:"rows"`
}

// benchRow is one figure. Ratios are ours by theirs, pair by pair.
type benchRow struct {
	Figure string            `json:"figure"`
	Unit   string            `json:"unit"`
	Values map[string]spread `json:"values"`
	Ratios map[string]spread `json:"ratios,omitempty"`
}

// sampler collects what the rounds of one comparison find.
type sampler struct {
	name, about string
	figures     []string // in the order of their first value
	units       map[string]string
	values      map[string]map[string][]float64 // by figure and system
}

func newSampler(name, about string) *sampler {
	return &sampler{name: name, about: about, units: map[string]string{}, values: map[string]map[string][]float64{}}
}

func (s *sampler) add(system, figure, unit string, v float64) {
	if s.values[figure] == nil {
		s.figures = append(s.figures, figure)
		s.units[figure], s.values[figure] = unit, map[string][]float64{}
	}
	s.values[figure][system] = append(s.values[figure][system], v)
}

func (s *sampler) table(systems []string) benchTable {
	t := benchTable{Name: s.name, About: s.about, Systems: systems}
	for _, figure := range s.figures {
		row := benchRow{Figure: figure, Unit: s.units[figure], Values: map[string]spread{}, Ratios: map[string]spread{}}
		ours := s.values[figure][sysOurs]
		for system, theirs := range s.values[figure] {
			row.Values[system] = newSpread(theirs)
			if system == sysOurs || len(theirs) != len(ours) || slices.Contains(theirs, 0) {
				continue
			}
			ratios := make([]float64, len(ours))
			for i := range ours {
				ratios[i] = ours[i] / theirs[i]
			}
			row.Ratios[system] = newSpread(ratios)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// row finds a figure; ok is false where it was not measured.
func (t benchTable) row(figure string) (benchRow, bool) {
	i := slices.IndexFunc(t.Rows, func(r benchRow) bool { return r.Figure == figure })
	if i < 0 {
		return benchRow{}, false
	}
	return t.Rows[i], true
}

// markdown writes the table: a median with its range, and the ratios.
func (t benchTable) markdown(w io.Writer) {
	fmt.Fprintf(w, "### %s\n\n%s\n\n", t.Name, t.About)
	header := []string{"figure", "unit"}
	header = append(header, t.Systems...)
	for _, system := range t.Systems {
		if system != sysOurs {
			header = append(header, "× "+system)
		}
	}
	fmt.Fprintf(w, "| %s |\n|%s\n", strings.Join(header, " | "), strings.Repeat("---|", len(header)))
	for _, row := range t.Rows {
		cells := []string{row.Figure, row.Unit}
		for _, system := range t.Systems {
			cells = append(cells, row.Values[system].cell(row.has(system)))
		}
		for _, system := range t.Systems {
			if system != sysOurs {
				ratio, ok := row.Ratios[system]
				cells = append(cells, ratio.cell(ok))
			}
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	}
	fmt.Fprintln(w)
}

func (r benchRow) has(system string) bool { _, ok := r.Values[system]; return ok }

func (s spread) cell(measured bool) string {
	switch {
	case !measured:
		return ""
	case s.Min == s.Max:
		return number(s.Median)
	}
	return fmt.Sprintf("%s (%s – %s)", number(s.Median), number(s.Min), number(s.Max))
}
