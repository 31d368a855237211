package demoplatform

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// choice is one value of a filter.
type choice struct {
	Key     string // of its text
	Path    string
	Current bool
}

// filter is a row of choices.
type filter struct {
	Key     string // of its label
	Choices []choice
}

// listPage is what the list shows.
type listPage struct {
	Search  search
	Filters []filter
	Tenders []listed
	Paging  paging
	Paths   []string // of each page, from 1; index 0 is unused
	Open    int      // tenders that take bids
	Closing int      // of these, the ones that close soon
	Today   int      // bids opened today
}

// listed is a tender as the list shows it.
type listed struct {
	tender
	Stage stage
}

func (s *Site) listTenders(w http.ResponseWriter, r *http.Request) {
	now := s.now()
	wanted := parseSearch(r.URL.Query())
	shown := listPage{Filters: filters(wanted)}
	var fitting []listed
	for _, t := range s.tenders.running(now) {
		at := t.at(now)
		switch at {
		case stageClosing:
			shown.Open++
			shown.Closing++
		case stageOpen:
			shown.Open++
		}
		if sameDay(now, t.Deadline) {
			shown.Today++
		}
		if wanted.matches(t, now) {
			fitting = append(fitting, listed{tender: t, Stage: at})
		}
	}
	shown.Tenders, shown.Paging = cut(fitting, wanted.Page, pageSize)
	wanted.Page = shown.Paging.Page
	shown.Search = wanted
	shown.Paths = make([]string, shown.Paging.Pages+1)
	for n := range shown.Paths {
		to := wanted
		to.Page = n
		shown.Paths[n] = to.path()
	}
	s.render(w, r, http.StatusOK, "list", "list.title", shown)
}

func sameDay(a, b time.Time) bool {
	return a.In(beijing()).Format(time.DateOnly) == b.In(beijing()).Format(time.DateOnly)
}

// filters lays out the rows; each choice keeps the others and starts at the first page.
func filters(wanted search) []filter {
	row := func(label, prefix string, values []string, current string, with func(*search, string)) filter {
		f := filter{Key: label}
		for _, value := range append([]string{""}, values...) {
			to := wanted
			to.Page = 1
			with(&to, value)
			key := "filter.all"
			if value != "" {
				key = prefix + value
			}
			f.Choices = append(f.Choices, choice{Key: key, Path: to.path(), Current: value == current})
		}
		return f
	}
	return []filter{
		row("filter.region", "region.", regions(), wanted.Region, func(s *search, v string) { s.Region = v }),
		row("filter.category", "category.", categories(), wanted.Category, func(s *search, v string) { s.Category = v }),
		row("filter.status", "stage.", []string{"open", "closing", "evaluating", "closed"}, string(wanted.Stage),
			func(s *search, v string) { s.Stage = stage(v) }),
	}
}

// step is a point of the timeline.
type step struct {
	Key  string // of its text
	At   time.Time
	Past bool
	Next bool
}

// tenderPage is what a tender's own page shows.
type tenderPage struct {
	listed
	Steps []step
	// Documents says whether the tender documents are available, Until how long.
	Documents bool
	Until     time.Time
	NoticeKB  string
	FileKB    string
}

func (s *Site) showTender(w http.ResponseWriter, r *http.Request) {
	now := s.now()
	t, ok := s.tenders.find(r.PathValue("number"), now)
	if !ok {
		s.notFound(w, r)
		return
	}
	texts := s.tables[chosen(r)]
	s.render(w, r, http.StatusOK, "tender", "tender.title", tenderPage{
		listed: listed{tender: t, Stage: t.at(now)}, Steps: timeline(t.schedule, now),
		Documents: now.Before(t.schedule.Documents), Until: t.schedule.Documents,
		NoticeKB: kilobytes(len(texts.notice(chosen(r), t))), FileKB: kilobytes(len(texts.documents(chosen(r), t))),
	})
}

// Path is the tender's own page.
func (t tender) Path() string { return "/tenders/" + t.Number }

// kilobytes writes a size as people know it from file lists, rounded up to a tenth.
func kilobytes(size int) string {
	tenths := (size*10 + 1023) / 1024
	return fmt.Sprintf("%d.%d KB", tenths/10, tenths%10)
}

func timeline(s schedule, now time.Time) []step {
	steps := []step{
		{Key: "step.published", At: s.Published}, {Key: "step.questions", At: s.Questions}, {Key: "step.documents", At: s.Documents},
		{Key: "step.deadline", At: s.Deadline}, {Key: "step.result", At: s.Result},
	}
	found := false
	for i := range steps {
		steps[i].Past = !now.Before(steps[i].At)
		steps[i].Next = !steps[i].Past && !found
		found = found || steps[i].Next
	}
	return steps
}

// notice is the public notice as a plain text file. Lines end as every editor on Windows shows them.
func (t table) notice(lang language, of tender) string {
	return t.file("file.notice", lang, of)
}

// documents is the file that a bidder gets after signing in.
func (t table) documents(lang language, of tender) string {
	var requirements strings.Builder
	for i, requirement := range of.Requirements {
		fmt.Fprintf(&requirements, "%d. %s\n", i+1, requirement.in(lang))
	}
	return t.file("file.documents", lang, of, "requirements", requirements.String())
}

func (t table) file(key string, lang language, of tender, more ...any) string {
	text := t.text(key, append([]any{
		"name", of.Name.in(lang), "number", of.Number, "buyer", of.Buyer.in(lang), "region", t.text("region." + of.Region),
		"method", t.text("method." + of.Method), "budget", t.text("money.yuan", "amount", of.Budget.yuan()), "scope", of.Scope.in(lang),
		"published", t.when(of.Published), "until", t.when(of.schedule.Documents), "deadline", t.when(of.Deadline),
		"contact", of.Contact.in(lang), "phone", of.Phone,
	}, more...)...)
	return strings.ReplaceAll(text, "\n", "\r\n")
}

func (s *Site) downloadNotice(w http.ResponseWriter, r *http.Request) {
	t, ok := s.tenders.find(r.PathValue("number"), s.now())
	if !ok {
		s.notFound(w, r)
		return
	}
	lang := chosen(r)
	s.attach(w, t.Number+"-notice.txt", "text/plain; charset=utf-8", []byte(s.tables[lang].notice(lang, t)))
}

// downloadDocuments hands out the tender documents while that is allowed. Both outcomes are records, once per session.
func (s *Site) downloadDocuments(w http.ResponseWriter, r *http.Request, current session) {
	now := s.now()
	t, ok := s.tenders.find(r.PathValue("number"), now)
	if !ok {
		s.notFound(w, r)
		return
	}
	result := resultDone
	if !now.Before(t.schedule.Documents) {
		result = resultRefused
	}
	_, err := s.records.add(usageRecord{
		ID: strings.Join([]string{actionDocument, current.Tag, t.Number, result}, "-"), Action: actionDocument, Result: result,
		At: now, Account: current.Account, Device: current.Device, Object: t.Number,
	}, nil)
	switch {
	case err != nil:
		s.fail(w, r, http.StatusInternalServerError, err)
	case result == resultRefused:
		s.forbidden(w, r)
	default:
		lang := chosen(r)
		s.attach(w, t.Number+"-documents.txt", "text/plain; charset=utf-8", []byte(s.tables[lang].documents(lang, t)))
	}
}

// attach sends a file to be saved. The name is ours and plain ASCII.
func (s *Site) attach(w http.ResponseWriter, name, kind string, body []byte) {
	header := w.Header()
	header.Set("Content-Type", kind)
	header.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	header.Set("Cache-Control", "no-store")
	s.write(w, body)
}
