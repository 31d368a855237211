//go:build e2e

package widget_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/sdk/sdktest"
	"github.com/chromedp/chromedp"
)

// patience bounds one step in the browser.
const patience = 30 * time.Second

// site is a platform with a waiting page and nothing else.
type site struct {
	t   *testing.T
	env *sdktest.Env
	url string

	mu     sync.Mutex
	logins []*bidseal.Login
}

// openSite starts a platform and a browser that looks at its page.
func openSite(t *testing.T, options bidseal.LoginOptions, attributes string) (*site, *tab) {
	t.Helper()
	s := &site{t: t, env: sdktest.New(t)}
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.url = server.URL
	client := s.env.Client(func(c *bidseal.Config) { c.Origins = []string{server.URL} })
	mux.Handle("/bidseal/", http.StripPrefix("/bidseal", client.LoginHandler(bidseal.HandlerOptions{
		Login: func(*http.Request) (bidseal.LoginOptions, error) { return options, nil },
		OnLogin: func(w http.ResponseWriter, _ *http.Request, login *bidseal.Login) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.logins = append(s.logins, login)
			http.SetCookie(w, &http.Cookie{Name: "session", Value: "1", HttpOnly: true, Path: "/"})
			return nil
		},
		Next: func(*http.Request, *bidseal.Login) string { return "/welcome" }, Links: true,
	})))
	page := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			client.SecurePage(w.Header())
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprintf(w, `<!doctype html><html lang="zh-CN"><meta name="viewport" content="width=device-width"><title>登录</title>%s</html>`, body)
		}
	}
	mux.HandleFunc("GET /signin", page(`<script type="module" src="/bidseal/widget.js"></script><bidseal-qr base="/bidseal" `+attributes+`></bidseal-qr>`))
	mux.HandleFunc("GET /welcome", page("<h1>欢迎</h1>"))
	mux.HandleFunc("GET /frame", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `<!doctype html><iframe src="/signin" hidden></iframe>`)
	})
	b := openTab(t)
	return s, b
}

func (s *site) people() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, login := range s.logins {
		names = append(names, login.Person)
	}
	return names
}

// tab is a browser of its own.
type tab struct {
	t   *testing.T
	ctx context.Context
}

func openTab(t *testing.T) *tab {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true), chromedp.WindowSize(480, 720))
	allocated, stop := chromedp.NewExecAllocator(t.Context(), options...)
	ctx, closeTab := chromedp.NewContext(allocated)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Logf("close the browser: %v", err)
		}
		closeTab()
		stop()
	})
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(480, 720)); err != nil {
		t.Fatalf("start Chromium (Debian's package chromium is needed): %v", err)
	}
	return &tab{t: t, ctx: ctx}
}

func (b *tab) open(url string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		b.t.Fatalf("open %s: %v", url, err)
	}
}

func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("evaluate %s: %v", expression, err)
	}
	return value
}

func (b *tab) until(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	poll := chromedp.Poll[bool](expression, chromedp.WithPollingInterval(50*time.Millisecond), chromedp.WithPollingTimeout(patience))
	if _, err := chromedp.Run(ctx, poll); err != nil {
		shadow := eval[string](b, `document.querySelector("bidseal-qr")?.shadowRoot?.textContent ?? document.body.textContent`)
		b.t.Fatalf("wait until %s: %v\nthe element says: %s\npicture: %s", expression, err, shadow, b.shot("failed"))
	}
}

// arrive waits for a navigation, which ends whatever runs in the page.
func (b *tab) arrive(path string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		at, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.pathname`))
		if err == nil && at == path {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			b.t.Fatalf("waiting for %s: at %q, %v", path, at, err)
		}
	}
}

// element is the widget in the page.
const element = `document.querySelector("bidseal-qr")`

func (b *tab) state(want string) {
	b.t.Helper()
	b.until(element + `?.dataset.state === "` + want + `" && ` + element + `.shadowRoot.querySelector("[part=root]").dataset.state === "` + want + `"`)
}

func (b *tab) part(name string) string {
	b.t.Helper()
	return eval[string](b, element+`.shadowRoot.querySelector("[part~=`+name+`]").textContent`)
}

func (b *tab) click(kind string) {
	b.t.Helper()
	eval[bool](b, `(`+element+`.shadowRoot.querySelector("[part=action] .`+kind+`").click(), true)`)
}

func (b *tab) link() string {
	b.t.Helper()
	b.until(`!!` + element + `?.link`)
	return eval[string](b, element+`.link`)
}

// shot keeps a picture for a person to look at (go test -artifacts).
func (b *tab) shot(name string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatalf("screenshot: %v", err)
	}
	path := filepath.Join(b.t.ArtifactDir(), name+".png")
	if err := os.WriteFile(path, picture, 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSignIn(t *testing.T) {
	s, b := openSite(t, bidseal.LoginOptions{}, `lang="zh-CN"`)
	b.open(s.url + "/signin")
	b.state("waiting")
	first := b.link()
	b.shot("waiting")
	b.until(element + `.link !== "` + first + `"`) // the code moves
	scan, err := s.env.PhoneOf(sdktest.Holder{Person: "张三丰", Organisation: "示例建设有限公司"}).Scan(t.Context(), b.link())
	must(t, err)
	b.state("scanned")
	b.shot("scanned")
	must(t, scan.Approve(t.Context()))
	b.state("done")
	b.shot("done")
	if got := b.part("person"); got != "张**" {
		t.Errorf("masked name %q", got)
	}
	if got := s.people(); len(got) != 0 {
		t.Fatalf("signed in before the person said so: %v", got)
	}
	b.click("primary")
	b.arrive("/welcome")
	if got := s.people(); len(got) != 1 || got[0] != "张三丰" {
		t.Fatalf("signed in: %v", got)
	}
	if cookies := eval[string](b, `document.cookie`); cookies != "" {
		t.Errorf("a script can read %q", cookies)
	}
}

func TestDigitsOnThePage(t *testing.T) {
	s, b := openSite(t, bidseal.LoginOptions{Static: true}, `lang="en"`)
	b.open(s.url + "/signin")
	scan, err := s.env.Phone("张三").Scan(t.Context(), b.link())
	must(t, err)
	b.state("confirm")
	digits := b.part("digits")
	b.shot("confirm")
	if len(digits) != 2 {
		t.Fatalf("digits %q", digits)
	}
	must(t, scan.Digits(t.Context(), digits))
	b.state("scanned")
	must(t, scan.Approve(t.Context()))
	b.state("done")
	if text := b.part("hint"); !strings.Contains(text, "is this you?") {
		t.Errorf("hint %q", text)
	}
}

func TestNotMe(t *testing.T) {
	s, b := openSite(t, bidseal.LoginOptions{}, "")
	b.open(s.url + "/signin")
	first := b.link()
	must(t, s.env.Phone("王五").Approve(t.Context(), first))
	b.state("done")
	b.click("quiet")
	b.state("waiting")
	if b.link()[:60] == first[:60] {
		t.Error("the code is the old one")
	}
	if got := s.people(); len(got) != 0 {
		t.Fatalf("signed in: %v", got)
	}
}

func TestEnds(t *testing.T) {
	s, b := openSite(t, bidseal.LoginOptions{}, "")
	b.open(s.url + "/signin")
	must(t, s.env.Phone("张三").Reject(t.Context(), b.link(), protocol.RejectNotMe))
	b.state("rejected")
	b.shot("rejected")
	b.click("primary")
	b.state("waiting")

	link := b.link()
	_, err := s.env.Phone("张三").Scan(t.Context(), link)
	must(t, err)
	b.state("scanned")
	if code := protocol.CodeOf(s.env.Phone("王五").Approve(t.Context(), link)); code != protocol.CodeClaimedByOther {
		t.Fatalf("a second phone: %s", code)
	}
	b.until(`!` + element + `.shadowRoot.querySelector("[part=warning]").hidden`)
	b.shot("second")
}

func TestRenewsByItself(t *testing.T) {
	s, b := openSite(t, bidseal.LoginOptions{}, "")
	b.open(s.url + "/signin")
	first := b.link()
	s.env.Advance(protocol.PendingLimit + time.Second)
	b.until(element + `.link && ` + element + `.link.slice(0, 60) !== "` + first[:60] + `"`)
	b.state("waiting")
	if text := b.part("message"); !strings.Contains(text, "自动刷新") {
		t.Errorf("message %q", text)
	}
	b.shot("renewed")
}

// A page in somebody else's frame makes no code, and the browser refuses it anyway.
func TestHiddenFrame(t *testing.T) {
	s, b := openSite(t, bidseal.LoginOptions{}, "")
	b.open(s.url + "/frame")
	b.until(`document.readyState === "complete"`)
	if n := s.env.Relay.Calls("create"); n != 0 {
		t.Errorf("%d challenges were made in a frame", n)
	}
}
