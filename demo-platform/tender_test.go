package demoplatform

import (
	"math"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMoney(t *testing.T) {
	for f, want := range map[fen][2]string{
		0:              {"0.00", "0"},
		5:              {"0.05", "0.000005"},
		100:            {"1.00", "0.0001"},
		99_999_99:      {"99,999.99", "9.999999"},
		128_650_000_00: {"128,650,000.00", "12,865"},
		96_500_000:     {"965,000.00", "96.5"},
		-1_00:          {"-1.00", "-0.0001"},
		math.MinInt64:  {"-92,233,720,368,547,758.08", "-9,223,372,036,854.775808"},
		math.MaxInt64:  {"92,233,720,368,547,758.07", "9,223,372,036,854.775807"},
	} {
		if f.yuan() != want[0] || f.wan() != want[1] {
			t.Errorf("%d fen: %s yuan, %s wan, want %v", int64(f), f.yuan(), f.wan(), want)
		}
	}
}

// At every hour of more than a cycle the demo shows something of each stage worth looking at, and no schedule is out
// of order.
func TestTheDemoAlwaysHasOpenTenders(t *testing.T) {
	c, err := loadCatalogue()
	if err != nil {
		t.Fatal(err)
	}
	for hour := range (cycleDays + 8) * 24 {
		now := morning().Add(time.Duration(hour) * time.Hour)
		count, documents := map[stage]int{}, 0
		tenders := c.running(now)
		for i, tender := range tenders {
			at := tender.at(now)
			count[at]++
			if now.Before(tender.schedule.Documents) {
				documents++
			}
			if now.Before(tender.Published) {
				t.Fatalf("%v: %s is not published yet", now, tender.Number)
			}
			if !slices.IsSortedFunc([]time.Time{tender.Published, tender.Questions, tender.schedule.Documents, tender.Deadline, tender.Result}, time.Time.Compare) {
				t.Fatalf("%s is out of order: %+v", tender.Number, tender.schedule)
			}
			if i > 0 && slices.Index(stages(), tenders[i-1].at(now)) > slices.Index(stages(), at) {
				t.Fatalf("%v: the list is out of order at %s", now, tender.Number)
			}
			if hour%24 != 0 {
				continue
			}
			if found, ok := c.find(tender.Number, now.AddDate(0, 0, cycleDays)); !ok || !found.Deadline.Equal(tender.Deadline) {
				t.Fatalf("%v: %s is not found a cycle later", now, tender.Number)
			}
		}
		if count[stageOpen]+count[stageClosing] < 8 || documents < 5 || count[stageClosed] < 2 {
			t.Fatalf("%v: %v, documents of %d", now, count, documents)
		}
	}
}

func TestCatalogueRefusesWhatAPageCannotShow(t *testing.T) {
	c, err := loadCatalogue()
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*project){
		"region":        func(p *project) { p.Region = "mars" },
		"category":      func(p *project) { p.Category = "" },
		"method":        func(p *project) { p.Method = "dice" },
		"budget":        func(p *project) { p.Budget = 0 },
		"cycle":         func(p *project) { p.Days = cycleDays },
		"translation":   func(p *project) { p.Name.EN = "" },
		"qualification": func(p *project) { p.Qualifications = []string{"unknown"} },
	} {
		p := c.projects[0]
		if err := p.check(c.qualifications); err != nil {
			t.Fatal(err)
		}
		spoil(&p)
		if p.check(c.qualifications) == nil {
			t.Errorf("a wrong %s passes", name)
		}
	}
}

func TestRemaining(t *testing.T) {
	now := morning()
	for left, want := range map[time.Duration]remaining{
		-time.Hour:                  {},
		0:                           {},
		time.Second:                 {Minutes: 1},
		time.Minute:                 {Minutes: 1},
		59*time.Minute + 1:          {Hours: 1},
		25*time.Hour + time.Minute:  {Days: 1, Hours: 1, Minutes: 1},
		72*time.Hour - time.Second:  {Days: 3},
		closingWithin + time.Minute: {Days: 3, Minutes: 1},
	} {
		if got := until(now, now.Add(left)); got != want {
			t.Errorf("%v left: %+v, want %+v", left, got, want)
		}
	}
}

func TestSearch(t *testing.T) {
	site := newTestSite(t, "", nil, (&clock{at: morning()}).now)
	all := site.tenders.running(morning())
	for query, fits := range map[string]func(tender) bool{
		"":                       func(tender) bool { return true },
		"region=anhui":           func(x tender) bool { return x.Region == "anhui" },
		"region=mars&status=odd": func(tender) bool { return true },
		"category=goods&region=fujian": func(x tender) bool {
			return x.Category == "goods" && x.Region == "fujian"
		},
		"status=open":   func(x tender) bool { return morning().Before(x.Deadline) },
		"status=closed": func(x tender) bool { return !morning().Before(x.Result) },
		"q=" + url.QueryEscape("  医院 采购 "): func(x tender) bool {
			return strings.Contains(x.Name.ZH, "医院") && strings.Contains(x.Name.ZH, "采购")
		},
		"q=HOSPITAL":         func(x tender) bool { return strings.Contains(x.Name.EN+x.Buyer.EN, "Hospital") },
		"q=" + all[3].Number: func(x tender) bool { return x.Number == all[3].Number },
		"q=nothingofthekind": func(tender) bool { return false },
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, x := range all {
			if got := parseSearch(values).matches(x, morning()); got != fits(x) {
				t.Errorf("%q and %s: %v", query, x.Number, got)
			} else if got {
				found++
			}
		}
		if found == 0 && query != "q=nothingofthekind" {
			t.Errorf("%q finds nothing, which tests nothing", query)
		}
	}
}

func TestListPages(t *testing.T) {
	site := newTestSite(t, "", nil, (&clock{at: morning()}).now)
	v := newVisitor(t, site)
	seen := map[string]bool{}
	for _, page := range []string{"/", "/?page=2", "/?page=3", "/?page=4"} {
		body := v.page(page)
		for _, x := range site.tenders.running(morning()) {
			if strings.Contains(body, `href="`+x.Path()+`"`) {
				if seen[x.Number] {
					t.Errorf("%s stands on two pages", x.Number)
				}
				seen[x.Number] = true
			}
		}
	}
	if len(seen) != len(site.tenders.projects) {
		t.Errorf("%d of %d tenders are on the pages", len(seen), len(site.tenders.projects))
	}
	if body := v.page("/?page=999"); !strings.Contains(body, `href="/?page=4" aria-current="page"`) {
		t.Error("a page beyond the end is not the last one")
	}
	if body := v.page("/?q=" + url.QueryEscape(`<script>"x"`)); strings.Contains(body, "<script>\"x") || !strings.Contains(body, "没有符合条件的项目") {
		t.Error("what was searched for is not escaped, or the empty list not shown")
	}
	if body := v.page("/?region=anhui&category=works&page=1"); !strings.Contains(body, `href="/?category=works"`) || !strings.Contains(body, `href="/?category=goods&amp;region=anhui"`) {
		t.Error("a filter does not keep the others")
	}
}

func TestPaging(t *testing.T) {
	for _, c := range []struct {
		page, pages int
		want        []int
	}{
		{1, 1, []int{1}}, {1, 4, []int{1, 2, 0, 4}}, {5, 9, []int{1, 0, 4, 5, 6, 0, 9}}, {9, 9, []int{1, 0, 8, 9}},
	} {
		if got := (paging{Page: c.page, Pages: c.pages}).Numbers(); !slices.Equal(got, c.want) {
			t.Errorf("page %d of %d: %v, want %v", c.page, c.pages, got, c.want)
		}
	}
	if list, p := cut([]int{1, 2, 3}, 7, 2); !slices.Equal(list, []int{3}) || p != (paging{Page: 2, Pages: 2, Total: 3}) {
		t.Errorf("%v %+v", list, p)
	}
	if list, p := cut([]int(nil), 1, 2); len(list) != 0 || p.Pages != 1 {
		t.Errorf("%v %+v", list, p)
	}
}

func TestMasks(t *testing.T) {
	for name, want := range map[string]string{"": "", "张": "张*", "张三": "张*", "欧阳明月": "欧***", "A very long name": "A***"} {
		if got := maskName(name); got != want {
			t.Errorf("%q is masked as %q", name, got)
		}
	}
	if got := inFours("5C1E09A47"); got != "5C1E 09A4 7" {
		t.Error(got)
	}
	for agent, want := range map[string]string{
		"": "", "curl/8": "",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605 Version/17.0 Safari/604": "Safari / iOS",
		"Mozilla/5.0 (Windows NT 10.0) Chrome/130 Safari/537 Edg/130":                                    "Edge / Windows",
		"Mozilla/5.0 (Linux; Android 14) Chrome/130 Mobile MicroMessenger/8.0":                           "WeChat / Android",
	} {
		if got := device(agent); got != want {
			t.Errorf("%q is %q, want %q", agent, got, want)
		}
	}
}

func TestCellsAreHarmless(t *testing.T) {
	site := newTestSite(t, "", nil, (&clock{at: morning()}).now)
	v := newVisitor(t, site)
	who := zhang()
	who.Organisation = `=HYPERLINK("https://evil.example")`
	v.signedIn(site, who)
	if rows := text(t, v.get("/account/records.csv")); !strings.Contains(rows, `"'=HYPERLINK(`) {
		t.Errorf("a name is exported as a formula: %s", rows)
	}
	for cell, want := range map[string]string{
		"=1+1": "'=1+1", "@x": "'@x", "-2": "'-2", "+3": "'+3", "": "", "张三": "张三", "5C1E09A4": "5C1E09A4", "12345678901234567890": "'12345678901234567890",
	} {
		if got := harmless(cell); got != want {
			t.Errorf("%q becomes %q", cell, got)
		}
	}
	for word, want := range map[string]string{"/a/root.pem": "/a/root.pem", "a b": "'a b'", "it's": `'it'\''s'`, "": "''", "中": "'中'"} {
		if got := shellWord(word); got != want {
			t.Errorf("%q becomes %q", word, got)
		}
	}
}
