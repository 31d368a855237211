package demoplatform

import (
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// everyPage is each page in each of its states.
func everyPage(t *testing.T) map[string]string {
	t.Helper()
	site := newTestSite(t, "", nil, (&clock{at: morning()}).now)
	pages := map[string]string{}
	for short := range languages() {
		visitor, owner := newVisitor(t, site), newVisitor(t, site)
		owner.signedIn(site, zhang())
		tenders := site.tenders.running(morning())
		for _, v := range []*named{{"visitor", visitor}, {"owner", owner}} {
			v.get("/?lang=" + short)
			paths := []string{"/", "/?q=zzz", "/?page=2&status=open", "/nothing", tenders[0].Path(), tenders[len(tenders)-1].Path(), "/?notice=signedout"}
			if v.name == "visitor" {
				paths = append(paths, "/signin?return=/account&why=expired", "/signin?code=static")
			} else {
				paths = append(paths, "/account?notice=welcome", "/account?page=9")
			}
			for _, path := range paths {
				answer := v.get(path)
				if answer.StatusCode != http.StatusOK && path != "/nothing" {
					t.Fatalf("GET %s: %s", path, answer.Status)
				}
				pages[fmt.Sprintf("%s %s %s", short, v.name, path)] = text(t, answer)
			}
		}
	}
	return pages
}

// named is a named browser.
type named struct {
	name string
	*visitor
}

// element is an opening tag as a page has it.
type element struct {
	tag  string
	attr map[string]string
}

// parse reads a page, checks that every element is closed in order, and returns them.
func parse(t *testing.T, name, page string) []element {
	t.Helper()
	void := map[string]bool{"meta": true, "link": true, "input": true, "br": true, "hr": true, "img": true}
	var all []element
	var stack []string
	for tokens := html.NewTokenizer(strings.NewReader(page)); ; {
		switch kind := tokens.Next(); kind {
		case html.ErrorToken:
			if len(stack) != 0 {
				t.Errorf("%s: not closed: %v", name, stack)
			}
			return all
		case html.StartTagToken, html.SelfClosingTagToken:
			token := tokens.Token()
			e := element{tag: token.Data, attr: map[string]string{}}
			for _, a := range token.Attr {
				if _, twice := e.attr[a.Key]; twice {
					t.Errorf("%s: <%s> has %s twice", name, e.tag, a.Key)
				}
				e.attr[a.Key] = a.Val
			}
			all = append(all, e)
			if kind == html.StartTagToken && !void[e.tag] {
				stack = append(stack, e.tag)
			}
		case html.EndTagToken:
			tag := tokens.Token().Data
			if len(stack) == 0 || stack[len(stack)-1] != tag {
				t.Errorf("%s: </%s> closes %v", name, tag, stack)
				return all
			}
			stack = stack[:len(stack)-1]
		}
	}
}

func TestPagesAreSoundHTML(t *testing.T) {
	for name, page := range everyPage(t) {
		if strings.Contains(page, "[") && regexp.MustCompile(`\[[a-z]+\.[a-z.]+\]`).MatchString(page) {
			t.Errorf("%s: a text is missing", name)
		}
		if strings.Contains(page, "ZgotmplZ") {
			t.Errorf("%s: a value was refused by the template", name)
		}
		ids, count, refers := map[string]bool{}, map[string]int{}, []string{}
		for _, e := range parse(t, name, page) {
			count[e.tag]++
			if id := e.attr["id"]; id != "" {
				if ids[id] {
					t.Errorf("%s: id %q twice", name, id)
				}
				ids[id] = true
			}
			for _, key := range []string{"for", "aria-labelledby", "aria-controls"} {
				if to := e.attr[key]; to != "" {
					refers = append(refers, to)
				}
			}
			checkElement(t, name, e)
		}
		for _, to := range refers {
			if !ids[to] {
				t.Errorf("%s: nothing has the id %q", name, to)
			}
		}
		for _, tag := range []string{"h1", "main", "title", "header"} {
			if count[tag] == 0 || tag != "header" && count[tag] != 1 {
				t.Errorf("%s: %d <%s>", name, count[tag], tag)
			}
		}
	}
}

// checkElement holds what the content security policy and screen readers need.
func checkElement(t *testing.T, name string, e element) {
	t.Helper()
	for key, value := range e.attr {
		if key == "style" || strings.HasPrefix(key, "on") {
			t.Errorf("%s: <%s %s>: the policy allows no such attribute", name, e.tag, key)
		}
		if (key == "href" || key == "src" || key == "action") && !strings.HasPrefix(value, "/") && !strings.HasPrefix(value, "#") {
			t.Errorf("%s: <%s %s=%q> leads away from the site", name, e.tag, key, value)
		}
	}
	switch {
	case e.tag == "style", e.tag == "script" && e.attr["src"] == "":
		t.Errorf("%s: <%s> within the page", name, e.tag)
	case e.tag == "svg" && e.attr["aria-hidden"] != "true":
		t.Errorf("%s: a picture that a screen reader stumbles over", name)
	case e.tag == "img" && e.attr["alt"] == "":
		t.Errorf("%s: a picture without words", name)
	case e.tag == "button" && e.attr["type"] == "":
		t.Errorf("%s: a button without a type", name)
	case e.tag == "nav" && e.attr["aria-label"] == "":
		t.Errorf("%s: a navigation without a name", name)
	}
}

// colours reads the tokens of one scheme.
func colours(css string) map[string]string {
	found := map[string]string{}
	for _, m := range regexp.MustCompile(`--bs-([a-z0-9-]+):\s*(#[0-9a-f]{6})\b`).FindAllStringSubmatch(css, -1) {
		found[m[1]] = m[2]
	}
	return found
}

// luminance is the relative luminance of WCAG 2.2 of a colour #rrggbb.
func luminance(t *testing.T, colour string) float64 {
	t.Helper()
	value, err := strconv.ParseUint(strings.TrimPrefix(colour, "#"), 16, 32)
	if err != nil {
		t.Fatalf("colour %q: %v", colour, err)
	}
	channel := func(shift uint) float64 {
		c := float64(value>>shift&0xff) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*channel(16) + 0.7152*channel(8) + 0.0722*channel(0)
}

func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	la, lb := luminance(t, a), luminance(t, b)
	return (max(la, lb) + 0.05) / (min(la, lb) + 0.05)
}

// Text keeps 4.5:1 and the borders of controls 3:1 in both schemes (WCAG 2.2, 1.4.3 and 1.4.11).
func TestContrast(t *testing.T) {
	raw, err := staticData.ReadFile("static/tokens.css")
	if err != nil {
		t.Fatal(err)
	}
	light, dark, ok := strings.Cut(string(raw), "@media (prefers-color-scheme: dark)")
	if !ok {
		t.Fatal("the tokens have no dark scheme")
	}
	schemes := map[string]map[string]string{"light": colours(light), "dark": colours(light)}
	for name, value := range colours(dark) {
		schemes["dark"][name] = value
	}
	for scheme, c := range schemes {
		for _, pair := range [][2]string{
			{"ink", "paper"}, {"ink", "surface"}, {"ink", "sunken"}, {"ink-2", "paper"}, {"ink-2", "surface"}, {"ink-2", "sunken"},
			{"ink-3", "paper"}, {"ink-3", "surface"}, {"ink-3", "sunken"}, {"blue", "paper"}, {"blue", "surface"}, {"ink", "blue-soft"},
			{"on-blue", "blue-fill"}, {"on-blue", "blue-press"}, {"green", "surface"}, {"green", "green-soft"}, {"amber", "paper"},
			{"amber", "surface"}, {"amber", "amber-soft"}, {"red", "surface"}, {"red", "paper"}, {"red", "red-soft"},
			{"on-band", "band"}, {"on-band", "band-2"}, {"on-band-2", "band"}, {"on-band-2", "band-2"}, {"paper", "ink"},
		} {
			if got := contrast(t, c[pair[0]], c[pair[1]]); got < 4.5 {
				t.Errorf("%s: %s on %s has %.2f:1", scheme, pair[0], pair[1], got)
			}
		}
		for _, ground := range []string{"paper", "surface"} {
			if got := contrast(t, c["line-strong"], c[ground]); got < 3 {
				t.Errorf("%s: borders on %s have %.2f:1", scheme, ground, got)
			}
		}
		if got := contrast(t, c["qr-ink"], c["qr-paper"]); got < 7 {
			t.Errorf("%s: the code has %.2f:1", scheme, got)
		}
	}
}

// A style sheet names only tokens that exist, and only the tokens name colours of the family.
func TestStylesUseTokens(t *testing.T) {
	raw, err := staticData.ReadFile("static/tokens.css")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"site.css", "pages.css"} {
		css, err := staticData.ReadFile("static/" + name)
		if err != nil {
			t.Fatal(err)
		}
		uses := regexp.MustCompile(`var\((--bs-[a-z0-9-]+)\)`).FindAllStringSubmatch(string(css), -1)
		if len(uses) == 0 {
			t.Errorf("%s uses no token", name)
		}
		for _, use := range uses {
			if !strings.Contains(string(raw), use[1]+":") {
				t.Errorf("%s uses the token %s, which does not exist", name, use[1])
			}
		}
	}
}
