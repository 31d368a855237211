//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// viewport is what a person looks at, in CSS pixels.
type viewport struct{ width, height int64 }

var (
	desktop = viewport{1280, 800}
	mobile  = viewport{390, 844}
)

// patience bounds one step in the browser on a slow machine; a step that works takes a fraction of it.
const patience = 30 * time.Second

// browser is one Chromium process with a profile of its own: nothing is shared with another browser of the test.
type browser struct {
	t          *testing.T
	ctx        context.Context
	complaints *complaints
}

// complaints are what scripts threw and what the pages' own content security policies refused.
type complaints struct {
	mu   sync.Mutex
	said []string
}

// listen collects from a tab until it closes.
func (c *complaints) listen(ctx context.Context) {
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.IsException() || strings.Contains(m.Text, "Content Security Policy") {
				c.mu.Lock()
				c.said = append(c.said, m.String())
				c.mu.Unlock()
			}
		}
	}()
}

// all returns the complaints so far.
func (c *complaints) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.said)
}

// noComplaints fails the test when a page made any.
func (b *browser) noComplaints() {
	b.t.Helper()
	for _, said := range b.complaints.all() {
		b.t.Errorf("the browser's console: %s", said)
	}
}

// openBrowser starts Chromium and ends it with the test.
func openBrowser(t *testing.T, size viewport) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, // CI runs as root, where Chromium refuses its sandbox
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("lang", "zh-CN"),
		chromedp.WindowSize(int(size.width), int(size.height)),
	)
	allocated, stop := chromedp.NewExecAllocator(t.Context(), options...)
	ctx, closeTab := chromedp.NewContext(allocated)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Logf("closing the browser: %v", err)
		}
		closeTab()
		stop()
	})
	// The first call binds the browser's life to its context, so it has no deadline of its own.
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(size.width, size.height)); err != nil {
		t.Fatalf("start Chromium (Debian's package chromium is needed): %v", err)
	}
	b := &browser{t: t, ctx: ctx, complaints: &complaints{}}
	b.complaints.listen(ctx)
	return b
}

// do runs steps within one patience and fails the test with a picture of the page when they do not come to an end.
func (b *browser) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.fatal(what, err)
	}
}

// ask runs one action and returns its value.
func ask[T any](b *browser, what string, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		b.fatal(what, err)
	}
	return value
}

// eval evaluates an expression in the page.
func eval[T any](b *browser, expression string) T {
	b.t.Helper()
	return ask(b, "evaluate "+expression, chromedp.Evaluate[T](expression))
}

func (b *browser) fatal(what string, err error) {
	b.t.Helper()
	shot := "no picture"
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if picture, shotErr := chromedp.Run(ctx, chromedp.CaptureScreenshot()); shotErr == nil {
		shot = keep(b.t, "failed", picture)
	}
	text, textErr := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`))
	if textErr != nil {
		text = textErr.Error()
	}
	b.t.Fatalf("%s: %v\npicture: %s\nthe page says:\n%s", what, err, shot, text)
}

// open loads a page.
func (b *browser) open(url string) {
	b.t.Helper()
	b.do("open "+url, chromedp.Navigate(url))
}

// text waits for the element to be seen and returns what a person reads there.
func (b *browser) text(selector string) string {
	b.t.Helper()
	return strings.TrimSpace(ask(b, "read "+selector, chromedp.Text(chromedp.CSS(selector), chromedp.NodeVisible)))
}

// until waits for a JavaScript expression to become true.
func (b *browser) until(what, expression string) {
	b.t.Helper()
	b.untilWithin(patience, what, expression)
}

// untilWithin is until for what takes its time by design, such as an expiry.
func (b *browser) untilWithin(limit time.Duration, what, expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, limit)
	defer cancel()
	poll := chromedp.Poll[bool](expression, chromedp.WithPollingInterval(100*time.Millisecond), chromedp.WithPollingTimeout(limit))
	if _, err := chromedp.Run(ctx, poll); err != nil {
		b.fatal("wait until "+what, err)
	}
}

// screenshot takes the whole viewport, keeps it under the name, and returns its PNG bytes and path.
func (b *browser) screenshot(name string) (picture []byte, path string) {
	b.t.Helper()
	picture = ask(b, "screenshot", chromedp.CaptureScreenshot())
	return picture, keep(b.t, name, picture)
}

// screenshotOf takes one element.
func (b *browser) screenshotOf(name, selector string) (picture []byte, path string) {
	b.t.Helper()
	picture = ask(b, "screenshot of "+selector, chromedp.Screenshot(chromedp.CSS(selector), chromedp.NodeVisible))
	return picture, keep(b.t, name, picture)
}

// keep writes a picture where `go test -artifacts` leaves it for a person to look at.
func keep(t *testing.T, name string, picture []byte) string {
	t.Helper()
	path := filepath.Join(t.ArtifactDir(), name+".png")
	if err := os.WriteFile(path, picture, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// decode reads a PNG and checks that it is one.
func decode(t *testing.T, picture []byte) image.Image {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(fmt.Errorf("a screenshot is no PNG: %w", err))
	}
	return img
}
