package demoplatform

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// families are the keys that are put together from a value the code knows.
func families() map[string][]string {
	documents := []string{actionSignIn, actionSignOut, actionDocument}
	variants := []string{}
	for _, v := range signInVariants() {
		variants = append(variants, v.Name)
	}
	all := []string{}
	for _, s := range stages() {
		all = append(all, string(s))
	}
	return map[string][]string{
		"region.": regions(), "category.": categories(), "method.": methods(), "stage.": all,
		"deadline.": {"evaluating", "closed"}, "action.": documents, "result.": {resultDone, resultRefused}, "role.": {"admin", "user"},
		"demo.code.": variants, "demo.code.hint.": variants,
		"error.": {
			"notfound.title", "notfound.text", "notfound.next", "forbidden.title", "forbidden.text", "forbidden.next",
			"failed.title", "failed.text", "failed.next",
		},
	}
}

// usedKeys collects every key that templates and code name.
func usedKeys(t *testing.T) map[string]bool {
	t.Helper()
	used := map[string]bool{}
	for prefix, ends := range families() {
		for _, end := range ends {
			used[prefix+end] = true
		}
	}
	// A key is a quoted word with a dot in it, in a template or in Go.
	key := regexp.MustCompile(`"([a-z]+(?:\.[a-z]+)+)"`)
	for _, pattern := range []string{"*.go", "templates/*.html"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no files %s: %v", pattern, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range key.FindAllSubmatch(raw, -1) {
				if name := string(found[1]); !regexp.MustCompile(`\.(css|js|svg|html|json|jsonl)$`).MatchString(name) {
					used[name] = true
				}
			}
		}
	}
	return used
}

func TestEveryTextIsThereInBothLanguages(t *testing.T) {
	tables, err := loadTables()
	if err != nil {
		t.Fatal(err)
	}
	used := usedKeys(t)
	placeholder := regexp.MustCompile(`\{[a-z]+\}`)
	for lang, texts := range tables {
		for key := range used {
			if texts[key] == "" {
				t.Errorf("%s: %q is used and has no text", lang, key)
			}
		}
		for key := range texts {
			if !used[key] {
				t.Errorf("%s: %q is not used", lang, key)
			}
		}
	}
	zh, en := tables[chinese], tables[english]
	if left, right := slices.Sorted(maps.Keys(zh)), slices.Sorted(maps.Keys(en)); !slices.Equal(left, right) {
		t.Errorf("the languages have different keys")
	}
	for key := range zh {
		left, right := placeholder.FindAllString(zh[key], -1), placeholder.FindAllString(en[key], -1)
		slices.Sort(left)
		slices.Sort(right)
		if key == "file.notice" || key == "file.documents" {
			left, right = slices.Compact(left), slices.Compact(right)
		}
		if !slices.Equal(left, right) {
			t.Errorf("%q fills in %v in Chinese and %v in English", key, left, right)
		}
	}
	if regexp.MustCompile(`\p{Han}`).MatchString(strings.Join(slices.Collect(maps.Values(en)), "")) {
		t.Error("an English text has Chinese characters")
	}
}

func TestLanguageSwitch(t *testing.T) {
	site := newTestSite(t, "", nil, (&clock{at: morning()}).now)
	v := newVisitor(t, site)
	if page := v.page("/?region=anhui"); !strings.Contains(page, `<html lang="zh-CN">`) || !strings.Contains(page, `href="/?lang=en&amp;region=anhui"`) {
		t.Error("the site does not start in Chinese, or its switch loses the search")
	}
	answer := v.get("/?lang=en&region=anhui")
	if to := answer.Header.Get("Location"); to != "/?region=anhui" {
		t.Errorf("the switch leads to %q", to)
	}
	page := v.page("/?region=anhui")
	if !strings.Contains(page, `<html lang="en">`) || !strings.Contains(page, "Qinglan County") || !strings.Contains(page, "CNY ") {
		t.Error("the site is not in English")
	}
	if answer := v.get("/?lang=xx"); answer.StatusCode != 200 {
		t.Errorf("an unknown language: %s", answer.Status)
	}
	v.get("/signin?lang=zh")
	if page := v.page("/"); !strings.Contains(page, `<html lang="zh-CN">`) {
		t.Error("the site does not come back to Chinese")
	}
}

func TestTexts(t *testing.T) {
	texts := table{"a": "{x} of {y}, {x}"}
	if got := texts.text("a", "x", 1, "y", "two"); got != "1 of two, 1" {
		t.Error(got)
	}
	if got := texts.text("missing"); got != "[missing]" {
		t.Error(got)
	}
}
