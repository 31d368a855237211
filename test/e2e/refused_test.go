//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// ca runs a command of the demo's authority, as its operator does beside the running demo.
func (d *demo) ca(args ...string) answer {
	d.t.Helper()
	all := append([]string{"ca", "--data", filepath.Join(d.Data, "ca"), "--password-file", filepath.Join(d.Data, "ca.passphrase"), "--json"}, args...)
	got := command(d.t, all...)
	if got.exit != 0 {
		d.t.Fatalf("bidseal %s: exit %d\n%s\n%s", strings.Join(all, " "), got.exit, got.stdout, got.stderr)
	}
	return got
}

// enrol makes a phone of a new person whose certificates live for validity.
func (d *demo) enrol(name string, validity time.Duration) *phone {
	d.t.Helper()
	dir := d.t.TempDir()
	p := &phone{t: d.t, name: name, state: filepath.Join(dir, "phone"), passwordFile: secret(d.t, "a password of the test")}
	code := filepath.Join(dir, "code.json")
	d.ca("enrolment-code", "--name", name, "--validity", validity.String(), "--out", code)
	got := command(d.t, "phone", "--state", p.state, "enrol", "--code", code, "--password-file", p.passwordFile,
		"--relay", d.Relay, "--app-origin", d.App, "--anchor", d.Root, "--json")
	if got.exit != 0 {
		d.t.Fatalf("enrol: exit %d\n%s\n%s", got.exit, got.stdout, got.stderr)
	}
	return p
}

// serials are the serial numbers of a phone's certificates.
func (p *phone) serials() []string {
	p.t.Helper()
	got := command(p.t, "phone", "--state", p.state, "certs", "--json")
	var doc struct {
		Certificates []struct{ Serial string }
	}
	if err := json.Unmarshal([]byte(got.stdout), &doc); err != nil || len(doc.Certificates) == 0 {
		p.t.Fatalf("certs: %v\n%s\n%s", err, got.stdout, got.stderr)
	}
	var serials []string
	for _, c := range doc.Certificates {
		serials = append(serials, c.Serial)
	}
	return serials
}

// A revoked certificate signs nothing that the platform believes.
func TestRevokedCertificate(t *testing.T) {
	d := startDemo(t, "")
	for _, serial := range d.phone(1).serials() {
		d.ca("revoke", "--serial", serial, "--reason", "keyCompromise")
	}
	page := openBrowser(t, desktop).signIn(d, animated)
	d.phone(1).scan(page.picture("code"), "--approve").refused(t, "cert_revoked")
	page.state("failed")
	page.screenshot("revoked")
	if code := page.part("code"); !strings.Contains(code, "cert_revoked") {
		t.Errorf("the page names %q", code)
	}
	if page.signedIn(d) {
		t.Error("the browser is signed in")
	}
}

// An expired certificate is not offered for signing.
func TestExpiredCertificate(t *testing.T) {
	d := startDemo(t, "")
	p := d.enrol("赵敏", 8*time.Second) // long enough for the enrolment itself on a busy machine
	page := openBrowser(t, desktop).signIn(d, animated)
	page.passes("the certificate expires", 10*time.Second)
	p.scan(page.picture("code"), "--approve").refused(t, "cert_expired")
	if page.signedIn(d) {
		t.Error("the browser is signed in")
	}
}

// A picture that was stored and forwarded is too old for an animated code; the page renews by itself.
func TestStaleFrame(t *testing.T) {
	t.Parallel() // it mostly waits
	d := startDemo(t, "")
	page := openBrowser(t, desktop).signIn(d, animated)
	old, link := page.picture("code"), page.link()
	page.passes("the picture grows stale", 22*time.Second)
	d.phone(0).scan(old, "--approve").refused(t, "frame_stale")
	page.partSays("message", "自动刷新")
	page.waiting()
	page.screenshot("renewed")
	if now := page.link(); sameChallenge(now, link) {
		t.Error("the page still shows the old challenge")
	}
	d.phone(0).mustScan(page.picture("new-code"))
	page.enter()
}

// sameChallenge compares what comes before the frame in two animated codes: both begin with the same digits then.
func sameChallenge(a, b string) bool {
	cut := strings.IndexByte(a, '#') + 60
	return len(a) == len(b) && a[:cut] == b[:cut]
}

// An unclaimed code expires after two minutes and is replaced by a new one.
func TestExpiryRenews(t *testing.T) {
	t.Parallel() // it mostly waits
	d := startDemo(t, "")
	page := openBrowser(t, desktop).signIn(d, static)
	old, link := page.picture("code"), page.link()
	page.untilWithin(150*time.Second, "the code is renewed", fmt.Sprintf(`%s.dataset.state === "waiting" && !!%s.link && %s.link !== %q`, qr, qr, qr, link))
	page.partSays("message", "自动刷新")
	d.phone(0).scan(old, "--approve").refused(t, "expired")
	code := page.picture("renewed")
	d.phone(0).scan(code, "--approve").refused(t, "match_required")
	page.state("confirm")
	d.phone(0).mustScan(code, "--match", page.part("digits"))
	page.enter()
}

// A result belongs to the browser that started the sign-in. Another one that learned the id gets nothing.
func TestResultOfAnotherBrowser(t *testing.T) {
	d := startDemo(t, "")
	page := openBrowser(t, desktop).signIn(d, animated)
	id := eval[string](page.browser, qr+`.view.id`)
	d.phone(0).mustScan(page.picture("code"))
	page.state("done")
	thief := openBrowser(t, desktop).signIn(d, animated)
	for _, endpoint := range []string{"finish", "state", "renew", "cancel"} {
		if got := thief.post(endpoint, map[string]string{"id": id}); got.Status < 400 || got.Status >= 500 || got.code() == "" {
			t.Errorf("%s by another browser: %d %s", endpoint, got.Status, got.Body)
		}
	}
	if thief.signedIn(d) {
		t.Error("the other browser is signed in")
	}
	// The rightful one is not disturbed.
	page.enter()
}

// A link that was copied out of a code and opened elsewhere, also in a hidden frame, claims nothing.
func TestCopiedLinkClaimsNothing(t *testing.T) {
	d := startDemo(t, "")
	page := openBrowser(t, desktop).signIn(d, static)
	code, link := page.picture("code"), page.link()
	lure := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, `<!doctype html><title>优惠</title><iframe id="hidden" src=%q style="display:none"></iframe><iframe id="shown" src=%q></iframe><p>加载完成</p>`, link, link)
	}))
	defer lure.Close()
	other := openBrowser(t, mobile)
	other.open(lure.URL)
	other.screenshot("lure")
	if refused := other.refusedFrames(); refused != 2 {
		t.Errorf("%d of 2 frames were refused", refused)
	}
	// Opened as a page of its own it explains itself and does nothing either.
	other.open(link)
	other.screenshot("link")
	if body := other.text("body"); !strings.Contains(body, "扫") {
		t.Errorf("the page of the link says %q", body)
	}
	if n := eval[int](other, `document.scripts.length`); n != 0 {
		t.Errorf("the page of the link has %d scripts", n)
	}
	if state := eval[string](page.browser, qr+`.dataset.state`); state != "waiting" {
		t.Errorf("the code was touched: the page shows %s", state)
	}
	// Nobody has claimed it: the phone comes first, and nobody else scanned.
	d.phone(0).scan(code, "--approve").refused(t, "match_required")
	page.state("confirm")
	if warning := page.part("warning"); warning != "" {
		t.Errorf("the page warns: %s", warning)
	}
	d.phone(0).mustScan(code, "--match", page.part("digits"))
	page.enter()
	// What noComplaints would find is seen here: the refused frames were complained about.
	if len(other.complaints.all()) == 0 {
		t.Error("the console of the luring page is silent")
	}
}

// refusedFrames counts the frames of the page whose address the browser refused to show there.
func (b *browser) refusedFrames() int {
	b.t.Helper()
	tree := ask(b, "list the frames", func(ctx context.Context, target *chromedp.Target) (page.GetFrameTreeResult, error) {
		return cdp.Call(ctx, target, page.GetFrameTree, cdp.Empty{})
	})
	refused := 0
	for _, child := range tree.FrameTree.ChildFrames {
		if child.Frame.URL == "chrome-error://chromewebdata/" {
			refused++
		}
	}
	return refused
}

// The sign-in page does not stand inside somebody else's page, which could cover it.
func TestSignInPageIsNotFramed(t *testing.T) {
	d := startDemo(t, "")
	lure := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, `<!doctype html><title>t</title><iframe src="%s/signin"></iframe>`, d.Platform)
	}))
	defer lure.Close()
	b := openBrowser(t, desktop)
	b.open(lure.URL)
	if b.refusedFrames() != 1 {
		t.Error("the sign-in page stands in the frame")
	}
}
