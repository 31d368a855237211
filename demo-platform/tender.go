package demoplatform

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
)

//go:embed data/tenders.json
var tenderData embed.FS

// bilingual is a text of the data, as against a text of the site (see language.go).
type bilingual struct {
	ZH string `json:"zh"`
	EN string `json:"en"`
}

// in returns the text in the language.
func (b bilingual) in(lang language) string {
	if lang == english {
		return b.EN
	}
	return b.ZH
}

// project is what stays the same each time a tender comes round.
type project struct {
	ID             string    `json:"id"`
	Name           bilingual `json:"name"`
	Buyer          bilingual `json:"buyer"`
	Region         string    `json:"region"`
	Category       string    `json:"category"`
	Method         string    `json:"method"`
	Budget         fen       `json:"budget_fen"`
	Phase          int       `json:"phase"`
	Days           int       `json:"days"`
	Hour           int       `json:"hour"`
	Scope          bilingual `json:"scope"`
	Qualifications []string  `json:"qualifications"`
	Contact        bilingual `json:"contact"`
	Phone          string    `json:"phone"`
}

// tender is a project in one of its cycles.
type tender struct {
	project
	schedule
	Number       string
	Requirements []bilingual
}

// catalogue holds the projects. It does not change after it was read.
type catalogue struct {
	projects       []project
	qualifications map[string]bilingual
}

// regions, categories and methods are the values that the data and the filters know, in the order shown.
func regions() []string {
	return []string{"shanghai", "jiangsu", "zhejiang", "anhui", "fujian", "jiangxi", "shandong"}
}

func categories() []string { return []string{"works", "goods", "services"} }

func methods() []string { return []string{"open", "negotiation", "inquiry", "single"} }

// loadCatalogue reads the embedded projects and refuses what a page could not show.
func loadCatalogue() (*catalogue, error) {
	raw, err := fs.ReadFile(tenderData, "data/tenders.json")
	if err != nil {
		return nil, fmt.Errorf("read the tenders: %w", err)
	}
	var file struct {
		Qualifications map[string]bilingual `json:"qualifications"`
		Tenders        []project            `json:"tenders"`
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&file); err != nil {
		return nil, fmt.Errorf("read the tenders: %w", err)
	}
	seen := map[string]bool{}
	for _, p := range file.Tenders {
		if err := p.check(file.Qualifications); err != nil {
			return nil, fmt.Errorf("tender %q: %w", p.ID, err)
		}
		if seen[p.ID] {
			return nil, fmt.Errorf("tender %q stands there twice", p.ID)
		}
		seen[p.ID] = true
	}
	return &catalogue{projects: file.Tenders, qualifications: file.Qualifications}, nil
}

func (p project) check(qualifications map[string]bilingual) error {
	switch {
	case p.ID == "" || p.Phone == "":
		return fmt.Errorf("a text is missing")
	case !slices.Contains(regions(), p.Region):
		return fmt.Errorf("region %q is unknown", p.Region)
	case !slices.Contains(categories(), p.Category):
		return fmt.Errorf("category %q is unknown", p.Category)
	case !slices.Contains(methods(), p.Method):
		return fmt.Errorf("method %q is unknown", p.Method)
	case p.Budget <= 0:
		return fmt.Errorf("budget of %d fen", p.Budget)
	case p.Phase < 0 || p.Phase >= cycleDays || p.Days < 5 || p.Days > cycleDays-7 || p.Hour < 8 || p.Hour > 16:
		return fmt.Errorf("phase %d, %d days, %d h do not fit a cycle of %d days", p.Phase, p.Days, p.Hour, cycleDays)
	}
	for _, text := range []bilingual{p.Name, p.Buyer, p.Scope, p.Contact} {
		if text.ZH == "" || text.EN == "" {
			return fmt.Errorf("a text is missing")
		}
	}
	for _, code := range p.Qualifications {
		if q := qualifications[code]; q.ZH == "" || q.EN == "" {
			return fmt.Errorf("qualification %q is unknown", code)
		}
	}
	return nil
}

// letters of a category in a project number: 工程 GC, 货物 HW, 服务 FW.
func letters(category string) string {
	return map[string]string{"works": "GC", "goods": "HW", "services": "FW"}[category]
}

func (c *catalogue) tender(p project, s schedule) tender {
	t := tender{
		project: p, schedule: s,
		Number: "HD-" + letters(p.Category) + "-" + s.Published.Format("20060102") + "-" + p.ID,
	}
	for _, code := range p.Qualifications {
		t.Requirements = append(t.Requirements, c.qualifications[code])
	}
	return t
}

// running returns every tender as it stands at the time: first what closes soonest, last what ended longest ago.
func (c *catalogue) running(now time.Time) []tender {
	tenders := make([]tender, 0, len(c.projects))
	for _, p := range c.projects {
		s, _ := plan{p.Phase, p.Days, p.Hour}.current(now)
		tenders = append(tenders, c.tender(p, s))
	}
	order := func(t tender) int { return slices.Index(stages(), t.at(now)) }
	slices.SortStableFunc(tenders, func(a, b tender) int {
		if byStage := cmp.Compare(order(a), order(b)); byStage != 0 {
			return byStage
		}
		if a.at(now) == stageEvaluating || a.at(now) == stageClosed {
			a, b = b, a
		}
		return cmp.Or(a.Deadline.Compare(b.Deadline), strings.Compare(a.ID, b.ID))
	})
	return tenders
}

// find returns the tender with the number, of the running cycle or the one before it.
func (c *catalogue) find(number string, now time.Time) (tender, bool) {
	for _, p := range c.projects {
		running, before := plan{p.Phase, p.Days, p.Hour}.current(now)
		for _, s := range []schedule{running, before} {
			if t := c.tender(p, s); t.Number == number {
				return t, true
			}
		}
	}
	return tender{}, false
}
