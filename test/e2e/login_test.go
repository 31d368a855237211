//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// The page shows the code, the phone decodes it from the screenshot and signs, and the page is signed in.
func TestLogin(t *testing.T) {
	d := startDemo(t, "")
	admin := d.phone(0)
	for name, size := range map[string]viewport{"desktop": desktop, "mobile": mobile} {
		t.Run(name, func(t *testing.T) {
			b := openBrowser(t, size)
			if b.signedIn(d) {
				t.Fatal("a fresh browser is signed in")
			}
			page := b.signIn(d, animated)
			admin.mustScan(page.picture("code"))
			page.state("done")
			page.screenshot("is-this-you")
			// Masked until the person says that it is them.
			if name := page.part("person"); !strings.HasPrefix(name, "张") || name == admin.name {
				t.Errorf("the page asks %q", name)
			}
			page.enter()
			page.screenshot("account")
			body := b.text("main")
			for _, want := range []string{admin.name, admin.organisation, "9131 0000 MA1F L8QX 7C"} {
				if !strings.Contains(body, want) {
					t.Errorf("the account page does not say %q", want)
				}
			}
		})
	}
}

// Two digits from the page go into the phone.
func TestDigits(t *testing.T) {
	d := startDemo(t, "")
	page := openBrowser(t, desktop).signIn(d, static)
	code := page.picture("code")
	d.phone(2).scan(code, "--approve").refused(t, "match_required")
	page.state("confirm")
	page.screenshot("digits")
	d.phone(2).mustScan(code, "--match", page.part("digits"))
	page.enter()
	if body := page.text("main"); !strings.Contains(body, d.phone(2).name) {
		t.Errorf("the account page does not name %s", d.phone(2).name)
	}
}

// After three wrong pairs of digits the challenge is over, and no new code comes by itself.
func TestWrongDigits(t *testing.T) {
	d := startDemo(t, "")
	page := openBrowser(t, desktop).signIn(d, digits)
	code := page.picture("code")
	d.phone(0).scan(code, "--approve").refused(t, "match_required")
	page.state("confirm")
	right := page.part("digits")
	wrong := "00"
	if right == wrong {
		wrong = "01"
	}
	d.phone(0).scan(code, "--approve", "--match", wrong).refused(t, "match_wrong")
	page.partSays("hint", "2")
	d.phone(0).scan(code, "--approve", "--match", wrong).refused(t, "match_wrong")
	page.partSays("hint", "1")
	d.phone(0).scan(code, "--approve", "--match", wrong).refused(t, "match_failed")
	page.state("failed")
	page.screenshot("match-failed")
	if got := page.part("code"); !strings.Contains(got, "match_failed") {
		t.Errorf("the page names %q", got)
	}
	// The right ones come too late.
	if late := d.phone(0).scan(code, "--approve", "--match", right); late.exit != 1 {
		t.Errorf("a scan after the end: exit %d\n%s", late.exit, late.stdout)
	}
	if page.signedIn(d) {
		t.Error("the browser is signed in")
	}
}

func TestReject(t *testing.T) {
	d := startDemo(t, "")
	page := openBrowser(t, desktop).signIn(d, animated)
	before := page.picture("code")
	if got := d.phone(1).scan(before, "--reject", "not_me"); got.exit != 0 {
		t.Fatalf("reject: exit %d\n%s\n%s", got.exit, got.stdout, got.stderr)
	}
	page.state("rejected")
	page.screenshot("rejected")
	page.partSays("hint", "并非本人")
	page.press("primary")
	page.waiting()
	d.phone(1).mustScan(page.picture("new-code"))
	page.enter()
}

// The first phone wins; the other one is told so, and the page warns.
func TestSecondPhone(t *testing.T) {
	d := startDemo(t, "")
	page := openBrowser(t, desktop).signIn(d, digits)
	code := page.picture("code")
	d.phone(0).scan(code, "--approve").refused(t, "match_required")
	page.state("confirm")
	d.phone(1).scan(code, "--approve", "--match", page.part("digits")).refused(t, "claimed_by_other")
	page.partSays("warning", "另一部手机")
	page.screenshot("second-phone")
	d.phone(0).mustScan(code, "--match", page.part("digits"))
	page.enter()
	if body := page.text("main"); !strings.Contains(body, d.phone(0).name) {
		t.Errorf("the account is not %s's", d.phone(0).name)
	}
}

// A wrong password costs a try and nothing else; the same phone scans the same code again.
func TestWrongPassword(t *testing.T) {
	d := startDemo(t, "")
	page := openBrowser(t, desktop).signIn(d, animated)
	code := page.picture("code")
	d.phone(0).scanWith(secret(t, "not the password"), code, "--approve").refused(t, "password_wrong")
	page.state("scanned")
	page.screenshot("scanned")
	d.phone(0).mustScan(code)
	page.enter()
}

// The evidence of a sign-in is downloaded from the account page and verified offline, with nothing but the root given.
func TestEvidence(t *testing.T) {
	d := startDemo(t, "")
	page := openBrowser(t, desktop).signIn(d, animated)
	d.phone(0).mustScan(page.picture("code"))
	page.enter()
	text := ask(page.browser, "download the evidence", chromedp.Evaluate[string](
		`fetch(document.querySelector('a[href^="/account/evidence/"]').href).then((answer) => answer.text())`, chromedp.EvalAwaitPromise))
	verify := func(name, text string) answer {
		path := filepath.Join(t.TempDir(), name+".json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return command(t, "evidence", "verify", path, "--trust", d.Root, "--json")
	}
	if got := verify("evidence", text); got.exit != 0 || !strings.Contains(got.stdout, d.phone(0).name) {
		t.Errorf("exit %d\n%s\n%s", got.exit, got.stdout, got.stderr)
	}
	// One character of a byte string, somewhere in the middle, exchanged.
	at := len(text) / 2
	other := "A"
	if text[at] == 'A' {
		other = "B"
	}
	if got := verify("altered", text[:at]+other+text[at+1:]); got.exit != 1 || got.code() == "" {
		t.Errorf("altered: exit %d\n%s\n%s", got.exit, got.stdout, got.stderr)
	}
}

// The demo goes on where it ended: same authority, same phones, same records.
func TestDemoStartsAgain(t *testing.T) {
	first := startDemo(t, "")
	page := openBrowser(t, desktop).signIn(first, animated)
	first.phone(0).mustScan(page.picture("code"))
	page.enter()
	first.stop()

	again := startDemo(t, first.Data)
	page = openBrowser(t, desktop).signIn(again, animated)
	again.phone(0).mustScan(page.picture("code-again"))
	page.enter()
	if rows := eval[int](page.browser, `document.querySelectorAll("section.records tbody tr").length`); rows != 2 {
		t.Errorf("the account shows %d records, want both sign-ins", rows)
	}
}
