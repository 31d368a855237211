//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// The ways in which the demo site shows its code.
const (
	animated = "animated" // the usual one: no digits
	digits   = "digits"   // animated, and two digits are typed into the phone
	static   = "static"   // stands still, with digits
)

// qr is the element on the page, in JavaScript.
const qr = `document.querySelector("bidseal-qr")`

// signIn is a browser on the demo's sign-in page.
type signIn struct {
	*browser
	demo *demo
}

// signIn opens the sign-in page and waits for its code.
func (b *browser) signIn(d *demo, variant string) *signIn {
	b.t.Helper()
	b.open(d.Platform + "/signin?code=" + variant)
	s := &signIn{browser: b, demo: d}
	s.waiting()
	return s
}

// waiting waits until a code is on the screen.
func (s *signIn) waiting() {
	s.t.Helper()
	s.until("the code is shown", qr+`?.dataset.state === "waiting" && !!`+qr+`.link`)
}

// state waits until the element shows the state.
func (s *signIn) state(name string) {
	s.t.Helper()
	s.until("the page shows "+name, fmt.Sprintf(`%s?.dataset.state === %q`, qr, name))
}

// part reads what a person sees in one part of the element.
func (s *signIn) part(name string) string {
	s.t.Helper()
	return strings.TrimSpace(eval[string](s.browser, fmt.Sprintf(`%s.shadowRoot.querySelector("[part~=%s]")?.textContent ?? ""`, qr, name)))
}

// partSays waits until a part of the element holds a text.
func (s *signIn) partSays(name, text string) {
	s.t.Helper()
	s.until(name+" says "+text, fmt.Sprintf(`(%s?.shadowRoot.querySelector("[part~=%s]")?.textContent ?? "").includes(%q)`, qr, name, text))
}

// press clicks the element's button of a kind: primary, quiet or plain.
func (s *signIn) press(kind string) {
	s.t.Helper()
	button := chromedp.JSPath(fmt.Sprintf(`%s.shadowRoot.querySelector("button.%s")`, qr, kind))
	s.do("press "+kind, chromedp.Click(button, chromedp.NodeVisible))
}

// link is the text of the code on the screen, which the demo site lets people copy.
func (s *signIn) link() string {
	s.t.Helper()
	return eval[string](s.browser, qr+`.link`)
}

// picture takes a screenshot of the whole page and returns its file.
func (s *signIn) picture(name string) string {
	s.t.Helper()
	_, path := s.screenshot(name)
	return path
}

// enter answers "is this you?" with yes and waits for the account page.
func (s *signIn) enter() {
	s.t.Helper()
	s.state("done")
	button := chromedp.JSPath(qr + `.shadowRoot.querySelector("button.primary")`)
	ask(s.browser, "enter", chromedp.WaitEvent(page.LoadEventFired, nil, chromedp.Click(button, chromedp.NodeVisible)))
	if path := eval[string](s.browser, `location.pathname`); path != "/account" {
		s.t.Fatalf("the sign-in led to %s", path)
	}
	s.noComplaints()
}

// signedIn tells whether this browser has a session: without one the account page sends to the sign-in.
func (b *browser) signedIn(d *demo) bool {
	b.t.Helper()
	b.open(d.Platform + "/account")
	return eval[string](b, `location.pathname`) == "/account"
}

// reply is what an endpoint of the waiting page answered.
type reply struct {
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body"`
}

// code is the stable code of a refusal.
func (r reply) code() string {
	var problem struct{ Code string }
	if json.Unmarshal(r.Body, &problem) != nil {
		return ""
	}
	return problem.Code
}

// post calls an endpoint below the element's base from within the page, with the browser's own cookies and origin.
func (s *signIn) post(endpoint string, body any) reply {
	s.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	call := fmt.Sprintf(`fetch(%s.getAttribute("base") + "/%s", {method: "POST", headers: {"Content-Type": "application/json"}, body: %q})
		.then(async (answer) => ({status: answer.status, body: await answer.json()}))`, qr, endpoint, text)
	return ask(s.browser, "call "+endpoint, chromedp.Evaluate[reply](call, chromedp.EvalAwaitPromise))
}

// passes waits on the browser's clock, without which nothing can grow old there.
func (b *browser) passes(what string, time time.Duration) {
	b.t.Helper()
	since := eval[float64](b, `performance.now()`)
	b.untilWithin(time+patience, what, fmt.Sprintf(`performance.now() - %f > %d`, since, time.Milliseconds()))
}
