package demoplatform

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// pageSize is how many tenders a page of the list shows.
const pageSize = 8

// maxQuery bounds what is searched for, in characters.
const maxQuery = 64

// search is what a visitor asks the list for. Unknown values of a filter count as none, so that an old link shows the
// list and no error.
type search struct {
	Text     string
	Region   string
	Category string
	Stage    stage
	Page     int // from 1
}

func parseSearch(query url.Values) search {
	s := search{Text: cleanQuery(query.Get("q")), Page: 1}
	if region := query.Get("region"); slices.Contains(regions(), region) {
		s.Region = region
	}
	if category := query.Get("category"); slices.Contains(categories(), category) {
		s.Category = category
	}
	if st := stage(query.Get("status")); slices.Contains(stages(), st) {
		s.Stage = st
	}
	s.Page = pageNumber(query)
	return s
}

// pageNumber reads ?page=, from 1; anything else is the first page.
func pageNumber(query url.Values) int {
	if page, err := strconv.Atoi(query.Get("page")); err == nil && page > 0 {
		return page
	}
	return 1
}

// cleanQuery makes valid, bounded text of what came in.
func cleanQuery(text string) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "")), " ")
	if utf8.RuneCountInString(text) > maxQuery {
		text = strings.TrimSpace(string([]rune(text)[:maxQuery]))
	}
	return text
}

// values writes the search as a query; with starts at the first page of a changed search.
func (s search) values() url.Values {
	query := url.Values{}
	for key, value := range map[string]string{"q": s.Text, "region": s.Region, "category": s.Category, "status": string(s.Stage)} {
		if value != "" {
			query.Set(key, value)
		}
	}
	if s.Page > 1 {
		query.Set("page", strconv.Itoa(s.Page))
	}
	return query
}

// path is the list's address for this search.
func (s search) path() string {
	if query := s.values().Encode(); query != "" {
		return "/?" + query
	}
	return "/"
}

// Filtered says whether the search leaves anything out.
func (s search) Filtered() bool {
	return s.Text != "" || s.Region != "" || s.Category != "" || s.Stage != ""
}

// matches reports whether the tender fits. Every word of the text must occur in its name, buyer or number.
func (s search) matches(t tender, now time.Time) bool {
	at := t.at(now)
	switch {
	case s.Region != "" && t.Region != s.Region,
		s.Category != "" && t.Category != s.Category,
		// What closes soon is open, too.
		s.Stage == stageOpen && at != stageOpen && at != stageClosing,
		s.Stage != "" && s.Stage != stageOpen && at != s.Stage:
		return false
	}
	hay := strings.ToLower(strings.Join([]string{t.Name.ZH, t.Name.EN, t.Buyer.ZH, t.Buyer.EN, t.Number}, "\n"))
	for _, word := range strings.Fields(strings.ToLower(s.Text)) {
		if !strings.Contains(hay, word) {
			return false
		}
	}
	return true
}

// paging is one page of a longer list.
type paging struct {
	Page, Pages, Total int
}

// cut returns the page of the list; a page beyond the end is the last one.
func cut[T any](list []T, page, size int) ([]T, paging) {
	pages := max(1, (len(list)+size-1)/size)
	page = min(max(page, 1), pages)
	start := (page - 1) * size
	return list[start:min(start+size, len(list))], paging{Page: page, Pages: pages, Total: len(list)}
}

// Before and After are the neighbouring pages; the caller knows whether there are any.
func (p paging) Before() int { return p.Page - 1 }
func (p paging) After() int  { return p.Page + 1 }

// Numbers are the pages to offer: the first, the last and those around this one; 0 stands for a gap.
func (p paging) Numbers() []int {
	var numbers []int
	for n := 1; n <= p.Pages; n++ {
		switch {
		case n == 1 || n == p.Pages || (n >= p.Page-1 && n <= p.Page+1):
			numbers = append(numbers, n)
		case numbers[len(numbers)-1] != 0:
			numbers = append(numbers, 0)
		}
	}
	return numbers
}
