package demoplatform

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"strings"
	"testing"

	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/sdk/sdktest"
)

// waiting is what the waiting element reads of an answer.
type waiting struct {
	ID     string `json:"id"`
	State  string `json:"state"`
	Digits string `json:"digits"`
	Static bool   `json:"static"`
	Frames []struct {
		Link string `json:"link"`
	} `json:"frames"`
	Next string `json:"next"`
	Code string `json:"code"`
}

// until asks for the state as the element does until it is the wanted one.
func (v *visitor) until(base, id, state string) waiting {
	v.t.Helper()
	for {
		var seen waiting
		v.call(base+"/state", map[string]any{"id": id}, &seen)
		if seen.State == state {
			return seen
		}
		if err := v.t.Context().Err(); err != nil || seen.State == "failed" || seen.State == "expired" {
			v.t.Fatalf("state %q (%s), want %q", seen.State, seen.Code, state)
		}
	}
}

// signIn goes the whole way from the page to the session.
func (v *visitor) signIn(base string, scan func(link string)) waiting {
	v.t.Helper()
	var started waiting
	if answer := v.call(base+"/start", map[string]any{}, &started); answer.StatusCode != http.StatusOK {
		v.t.Fatalf("start: %s (%s)", answer.Status, started.Code)
	}
	if len(started.Frames) == 0 || started.Frames[0].Link == "" {
		v.t.Fatal("the demo got no link of the code")
	}
	scan(started.Frames[0].Link)
	v.until(base, started.ID, "done")
	var done waiting
	if answer := v.call(base+"/finish", map[string]any{"id": started.ID}, &done); answer.StatusCode != http.StatusOK {
		v.t.Fatalf("finish: %s (%s)", answer.Status, done.Code)
	}
	return done
}

func TestSignIn(t *testing.T) {
	env := sdktest.New(t)
	site := newTestSite(t, t.TempDir(), env.Client(), env.Clock.Now)
	v := newVisitor(t, site)

	answer := v.get("/account")
	if to := answer.Header.Get("Location"); to != "/signin?return=%2Faccount&why=needed" {
		t.Fatalf("a visitor without a session is sent to %q", to)
	}
	tender := site.tenders.running(env.Clock.Now())[0]
	page := v.page("/signin?return=" + tender.Path() + "%3Ffrom=list&why=needed")
	for _, want := range []string{`<bidseal-qr base="/bidseal/animated"`, `/bidseal/animated/widget.js`, "移动证书", "认准网址", testOrigin, "bidseal phone scan LINK"} {
		if !strings.Contains(page, want) {
			t.Errorf("the sign-in page lacks %q", want)
		}
	}
	relay := "ws" + strings.TrimPrefix(env.Relay.URL(), "http")
	if policy := v.get("/signin").Header.Get("Content-Security-Policy"); !strings.Contains(policy, " "+relay) || !strings.Contains(policy, "frame-ancestors 'none'") {
		t.Errorf("the policy %q does not let the element watch the relay alone", policy)
	}
	v.page("/signin?return=" + tender.Path() + "%3Ffrom=list")
	before := v.session()
	phone := env.PhoneOf(sdktest.Holder{Person: "张三丰", Organisation: "远景建设集团有限公司", CreditCode: "91330100MA2XQ4TL9B", Role: "admin"})
	done := v.signIn("/bidseal/animated", func(link string) {
		if err := phone.Approve(t.Context(), link); err != nil {
			t.Fatal(err)
		}
	})
	if done.Next != tender.Path()+"?from=list" {
		t.Errorf("the way back leads to %q", done.Next)
	}
	if v.session() == before || v.session() == "" {
		t.Error("the sign-in gave no new session id")
	}

	account := v.page("/account")
	serial := fmt.Sprintf("%X", phone.Certificate().SerialNumber.Bytes())
	for _, want := range []string{"张三丰", "远景建设集团有限公司", "9133 0100 MA2X Q4TL 9B", "证书管理员", "移动证书登录", "Chrome / Windows"} {
		if !strings.Contains(account, want) {
			t.Errorf("the account page lacks %q", want)
		}
	}
	if !strings.Contains(strings.ReplaceAll(account, " ", ""), serial) {
		t.Errorf("the account page lacks the serial %s", serial)
	}
	checkEvidence(t, v, env, serial)
}

// TestEvidenceIsStampedLater: a sign-in while the timestamp authority is down gets its token at the download, and keeps
// it.
func TestEvidenceIsStampedLater(t *testing.T) {
	env := sdktest.New(t)
	env.Authority.SetTimestampsDown(true)
	v := newVisitor(t, newTestSite(t, t.TempDir(), env.Client(), env.Clock.Now))
	v.page("/signin")
	phone := env.Phone("张三丰")
	v.signIn("/bidseal/animated", func(link string) {
		if err := phone.Approve(t.Context(), link); err != nil {
			t.Fatal(err)
		}
	})
	_, rest, _ := strings.Cut(v.page("/account"), "/account/evidence/")
	cid, _, _ := strings.Cut(rest, `"`)
	anchors, err := env.Authority.Anchors()
	if err != nil {
		t.Fatal(err)
	}
	verifier := bidseal.Verifier{Anchors: anchors}
	for i, step := range []struct{ down, stamped bool }{{true, false}, {false, true}, {true, true}} {
		env.Authority.SetTimestampsDown(step.down)
		report, err := verifier.VerifyEvidence([]byte(text(t, v.get("/account/evidence/"+cid))))
		if err != nil || (report.Timestamp != nil) != step.stamped {
			t.Errorf("download %d: %+v, %v", i, report, err)
		}
	}
}

// checkEvidence downloads the file of the only sign-in and has the SDK's offline verifier judge it.
func checkEvidence(t *testing.T, v *visitor, env *sdktest.Env, serial string) {
	t.Helper()
	page := v.page("/account")
	_, rest, _ := strings.Cut(page, "/account/evidence/")
	cid, _, _ := strings.Cut(rest, `"`)
	answer := v.get("/account/evidence/" + cid)
	if kind := answer.Header.Get("Content-Type"); answer.StatusCode != http.StatusOK || kind != "application/json" {
		t.Fatalf("evidence: %s, %s", answer.Status, kind)
	}
	if name := answer.Header.Get("Content-Disposition"); name != `attachment; filename="bidseal-evidence-`+cid[:8]+`.json"` {
		t.Errorf("the evidence is saved by %q", name)
	}
	anchors, err := env.Authority.Anchors()
	if err != nil {
		t.Fatal(err)
	}
	verifier := bidseal.Verifier{Anchors: anchors}
	report, err := verifier.VerifyEvidence([]byte(text(t, answer)))
	if err != nil {
		t.Fatalf("the evidence does not verify: %v", err)
	}
	if report.Holder.CertificateSerial != serial {
		t.Errorf("the evidence is of certificate %s, want %s", report.Holder.CertificateSerial, serial)
	}
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(text(t, v.get("/account/records.csv")), "\uFEFF"))).ReadAll()
	if err != nil || len(rows) != 2 || rows[1][1] != "移动证书登录" {
		t.Errorf("exported records: %q, %v", rows, err)
	}
}

func TestSignInWithDigits(t *testing.T) {
	env := sdktest.New(t)
	site := newTestSite(t, "", env.Client(), env.Clock.Now)
	v := newVisitor(t, site)
	if page := v.page("/signin?code=static"); !strings.Contains(page, `<bidseal-qr base="/bidseal/static"`) {
		t.Error("the choice of the static code is not taken")
	}
	var started waiting
	v.call("/bidseal/static/start", map[string]any{}, &started)
	if !started.Static {
		t.Error("the code is not static")
	}
	scan, err := env.Phone("李四").Scan(t.Context(), started.Frames[0].Link)
	if err != nil {
		t.Fatal(err)
	}
	shown := v.until("/bidseal/static", started.ID, "confirm")
	if len(shown.Digits) != 2 {
		t.Fatalf("digits %q", shown.Digits)
	}
	if err := scan.Digits(t.Context(), shown.Digits); err != nil {
		t.Fatal(err)
	}
	if err := scan.Approve(t.Context()); err != nil {
		t.Fatal(err)
	}
	v.until("/bidseal/static", started.ID, "done")
	var done waiting
	v.call("/bidseal/static/finish", map[string]any{"id": started.ID}, &done)
	if done.Next != accountWelcome {
		t.Errorf("a sign-in without a way back leads to %q", done.Next)
	}
	if page := v.page("/account"); !strings.Contains(page, "李四") || !strings.Contains(page, "自然人") {
		t.Error("the account page does not show the natural person")
	}
}

// A sign-in that is called for from elsewhere, or collected by another browser, opens nothing.
func TestSignInIsBoundToTheBrowser(t *testing.T) {
	env := sdktest.New(t)
	site := newTestSite(t, "", env.Client(), env.Clock.Now)
	v, thief := newVisitor(t, site), newVisitor(t, site)
	answer := v.do(http.MethodPost, "/bidseal/animated/start", "{}", func(r *http.Request) {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Origin", "https://evil.example")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
	})
	if answer.StatusCode != http.StatusForbidden {
		t.Errorf("a start from another site: %s", answer.Status)
	}
	var started, stolen waiting
	v.call("/bidseal/animated/start", map[string]any{}, &started)
	thief.call("/bidseal/animated/start", map[string]any{}, &stolen)
	if err := env.Phone("李四").Approve(t.Context(), started.Frames[0].Link); err != nil {
		t.Fatal(err)
	}
	v.until("/bidseal/animated", started.ID, "done")
	if answer := thief.call("/bidseal/animated/finish", map[string]any{"id": started.ID}, nil); answer.StatusCode == http.StatusOK || thief.session() != "" {
		t.Errorf("another browser collected the result: %s", answer.Status)
	}
	if answer := v.call("/bidseal/animated/finish", map[string]any{"id": started.ID}, nil); answer.StatusCode != http.StatusOK {
		t.Errorf("the browser itself: %s", answer.Status)
	}
}

// The platform's commit may be called again for one challenge.
func TestCommitIsIdempotent(t *testing.T) {
	site := newTestSite(t, t.TempDir(), nil, (&clock{at: morning()}).now)
	who := zhang()
	for range 3 {
		newVisitor(t, site).signedIn(site, who)
	}
	if own := site.records.of(who); len(own) != 1 {
		t.Errorf("%d records of one challenge", len(own))
	}
}

// Outside the demo there is one kind of code, and nothing of the demo on the page.
func TestNoDemoOutsideTheDemo(t *testing.T) {
	env := sdktest.New(t)
	site, err := New(Options{Client: env.Client(), Origin: testOrigin, Clock: env.Clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	v := newVisitor(t, site)
	page := v.page("/signin?code=static")
	for _, leaked := range []string{"仅演示", "演示环境</span>", "data-copy-command", "/bidseal/static"} {
		if strings.Contains(page, leaked) {
			t.Errorf("the page shows %q", leaked)
		}
	}
	if answer := v.call("/bidseal/static/start", map[string]any{}, nil); answer.StatusCode != http.StatusNotFound {
		t.Errorf("the static code is served outside the demo: %s", answer.Status)
	}
	var started waiting
	v.call("/bidseal/animated/start", map[string]any{}, &started)
	if len(started.Frames) == 0 || started.Frames[0].Link != "" {
		t.Error("the link of the code is given to pages outside the demo")
	}
}
