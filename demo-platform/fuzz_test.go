package demoplatform

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

// Whatever a way back says, a browser that follows it stays on the site, and what was accepted once is accepted again.
func FuzzReturnPath(f *testing.F) {
	for _, seed := range []string{"/account", "//evil.example", "/\\evil", "/%2f/evil", "%2f", "https://evil", "/a?b=c#d", "/\t/evil", ""} {
		f.Add(seed)
	}
	origin, err := url.Parse(testOrigin)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path string) {
		got := returnPath(path, "/else")
		target, err := origin.Parse(got)
		if err != nil || target.Host != origin.Host || target.Scheme != origin.Scheme || target.User != nil {
			t.Fatalf("%q leads to %q: %v", path, got, err)
		}
		// Browsers read a backslash as a slash and drop tabs and line ends.
		if read := strings.NewReplacer("\\", "/", "\t", "", "\n", "", "\r", "").Replace(got); !strings.HasPrefix(read, "/") || strings.HasPrefix(read, "//") {
			t.Fatalf("%q leads to %q", path, got)
		}
		if again := returnPath(got, "/else"); len(got) <= maxReturnPath && again != got {
			t.Fatalf("%q becomes %q and then %q", path, got, again)
		}
		if decodeReturn(encodeReturn(got)) != got {
			t.Fatalf("%q does not survive its cookie", got)
		}
	})
}

// Whatever a list is asked for, the search is bounded, knows its own values and writes a link that asks for the same.
func FuzzSearch(f *testing.F) {
	for _, seed := range []string{"", "q=a&region=anhui&status=open&page=2", "page=-1", "q=%ff%00", "page=99999999999999999999"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		s := parseSearch(values)
		if s.Page < 1 || !utf8.ValidString(s.Text) || utf8.RuneCountInString(s.Text) > maxQuery {
			t.Fatalf("%q: %+v", query, s)
		}
		link, err := url.Parse(s.path())
		if err != nil || parseSearch(link.Query()) != s {
			t.Fatalf("%q: %+v, link %q: %v", query, s, s.path(), err)
		}
	})
}
