package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
)

// asBinary makes the test binary behave as bidseal, so that tests can kill one.
const asBinary = "BIDSEAL_TEST_AS_BINARY"

func TestMain(m *testing.M) {
	if os.Getenv(asBinary) != "" {
		main()
	}
	os.Exit(m.Run())
}

// readyLine is what these tests read of the ready line.
type readyLine struct {
	Platform string       `json:"platform"`
	Relay    string       `json:"relay"`
	CA       string       `json:"ca"`
	App      string       `json:"app"`
	Root     string       `json:"root"`
	Phones   []readyPhone `json:"phones"`
}

// readyPhone is one of its phones.
type readyPhone struct {
	State        string `json:"state"`
	PasswordFile string `json:"password_file"`
	Organisation string `json:"organisation"`
	Role         string `json:"role"`
}

// demoProcess is a demo in a process of its own.
type demoProcess struct {
	cmd   *exec.Cmd
	ready readyLine
}

func startDemo(t *testing.T, data string) *demoProcess {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "demo", "--port", "0", "--data", data, "--json")
	cmd.Env = append(os.Environ(), asBinary+"=1")
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &demoProcess{cmd: cmd}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		_ = cmd.Wait()
		t.Fatalf("no ready line: %v\n%s", err, log.String())
	}
	if err := json.Unmarshal(line, &p.ready); err != nil {
		t.Fatalf("ready line %s: %v", line, err)
	}
	return p
}

// end sends a signal and waits; it returns the exit code, -1 where the signal killed it.
func (p *demoProcess) end(t *testing.T, signal os.Signal) int {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait() // its error repeats the exit code
	return p.cmd.ProcessState.ExitCode()
}

// visitor is a browser's HTTP side on the bidding site.
type visitor struct {
	t      *testing.T
	http   *http.Client
	origin string
}

func newVisitor(t *testing.T, origin string) *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t: t, http: &http.Client{Jar: jar, Timeout: time.Minute}, origin: origin}
}

// page is what a test reads of the waiting page's answers.
type page struct {
	ID     string `json:"id"`
	State  string `json:"state"`
	Next   string `json:"next"`
	Code   string `json:"code"`
	Frames []struct {
		Link string `json:"link"`
	} `json:"frames"`
}

// call posts to one of the waiting page's endpoints.
func (v *visitor) call(endpoint, id string) (int, page) {
	v.t.Helper()
	body := "{}"
	if id != "" {
		body = `{"id":"` + id + `"}`
	}
	req, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, v.origin+"/bidseal/animated/"+endpoint, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Origin", v.origin)
	resp, err := v.http.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	var p page
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
		v.t.Fatalf("%s: %s: %v", endpoint, resp.Status, err)
	}
	return resp.StatusCode, p
}

func (v *visitor) get(path string) string {
	v.t.Helper()
	resp, err := v.http.Get(v.origin + path)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return string(body)
}

// until asks for the state until it is the wanted one.
func (v *visitor) until(id, want string) {
	v.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		_, p := v.call("state", id)
		if p.State == want {
			return
		}
		if p.State == "failed" || p.State == "expired" || time.Now().After(deadline) {
			v.t.Fatalf("state %s, want %s", p.State, want)
		}
	}
}

// scan has a demo phone approve the page's code in this process.
func scan(t *testing.T, phone readyPhone, link string) {
	t.Helper()
	code, out, errOut := bidsealRun(t, "phone", "--state", phone.State, "scan", link, "--password-file", phone.PasswordFile, "--approve", "--json")
	if code != cli.ExitOK {
		t.Fatalf("scan: exit %d\n%s\n%s", code, out, errOut)
	}
}

// TestDemoKilledBetweenResultAndAck kills everything but the phone with
// SIGKILL after the phone has its 200 and before the platform acknowledged: the
// platform gets the result once, and the ledger holds it once.
func TestDemoKilledBetweenResultAndAck(t *testing.T) {
	data := filepath.Join(t.TempDir(), "demo")
	demo := startDemo(t, data)
	v := newVisitor(t, demo.ready.Platform)
	status, p := v.call("start", "")
	if status != http.StatusOK || len(p.Frames) == 0 {
		t.Fatalf("start: %d %+v", status, p)
	}
	scan(t, demo.ready.Phones[0], p.Frames[0].Link)
	v.until(p.ID, "done") // verified, not yet committed; a kill during the verification costs the lease's 30 s, which sdk tests by its clock
	if code := demo.end(t, syscall.SIGKILL); code != -1 {
		t.Fatalf("exit code %d after SIGKILL", code)
	}

	again := startDemo(t, data)
	if again.ready.Platform != demo.ready.Platform {
		t.Fatalf("the demo moved from %s to %s", demo.ready.Platform, again.ready.Platform)
	}
	v.until(p.ID, "done")
	if status, got := v.call("finish", p.ID); status != http.StatusOK || got.Next == "" {
		t.Fatalf("finish: %d %+v", status, got)
	}
	if status, got := v.call("finish", p.ID); status == http.StatusOK {
		t.Fatalf("finished twice: %+v", got)
	}
	if account := v.get("/account"); !strings.Contains(account, "张伟") {
		t.Error("the account page does not name the holder")
	}
	checkDemoEvidence(t, v, again.ready.Root)
	if code := again.end(t, syscall.SIGTERM); code != cli.ExitOK {
		t.Errorf("exit code %d after SIGTERM", code)
	}

	code, out, errOut := bidsealRun(t, "relay", "verify-log", "--json", "--config", filepath.Join(data, "relay", "relay.toml"))
	var log struct {
		Entries int `json:"entries"`
	}
	if err := json.Unmarshal([]byte(out), &log); err != nil || code != cli.ExitOK || log.Entries != 1 {
		t.Fatalf("verify-log: exit %d, %s, %s", code, out, errOut)
	}
}

// checkDemoEvidence has the command judge the file of the only sign-in, with the root alone: it has a timestamp, taken
// before anything was killed.
func checkDemoEvidence(t *testing.T, v *visitor, root string) {
	t.Helper()
	_, rest, _ := strings.Cut(v.get("/account"), "/account/evidence/")
	cid, _, _ := strings.Cut(rest, `"`)
	file := filepath.Join(t.TempDir(), "evidence.json")
	if err := os.WriteFile(file, []byte(v.get("/account/evidence/"+cid)), 0o600); err != nil {
		t.Fatal(err)
	}
	var report bidseal.Report
	code, out, errOut := bidsealRun(t, "evidence", "verify", file, "--trust", root, "--json")
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != cli.ExitOK {
		t.Fatalf("evidence verify: exit %d, %v\n%s\n%s", code, err, out, errOut)
	}
	if stamp := report.Timestamp; stamp == nil || stamp.Late || stamp.Time.Sub(report.Signed).Abs() > time.Minute {
		t.Errorf("the timestamp of the evidence is %+v", stamp)
	}
}

// TestDemoForeignBrowserCannotFinish has another browser, with its own cookie,
// try to collect a result that is not its own.
func TestDemoForeignBrowserCannotFinish(t *testing.T) {
	demo := startDemo(t, filepath.Join(t.TempDir(), "demo"))
	mine, other := newVisitor(t, demo.ready.Platform), newVisitor(t, demo.ready.Platform)
	_, p := mine.call("start", "")
	other.call("start", "")
	scan(t, demo.ready.Phones[2], p.Frames[0].Link)
	mine.until(p.ID, "done")
	if status, got := other.call("finish", p.ID); status != http.StatusForbidden || got.Code != string(protocol.CodeCookieMismatch) {
		t.Fatalf("another browser: %d %+v", status, got)
	}
	if status, _ := mine.call("finish", p.ID); status != http.StatusOK {
		t.Fatalf("own browser: %d", status)
	}
	if code := demo.end(t, syscall.SIGTERM); code != cli.ExitOK {
		t.Errorf("exit code %d after SIGTERM", code)
	}
}

func TestDemoKeepsItsAddresses(t *testing.T) {
	data := filepath.Join(t.TempDir(), "demo")
	demo := startDemo(t, data)
	for name, got := range map[string]string{"platform": demo.ready.Platform, "relay": demo.ready.Relay, "ca": demo.ready.CA, "app": demo.ready.App} {
		if !strings.HasPrefix(got, "http://127.0.0.1:") {
			t.Errorf("%s is at %q", name, got)
		}
	}
	if len(demo.ready.Phones) != 3 || demo.ready.Phones[0].Role != "admin" || demo.ready.Phones[1].Role != "user" || demo.ready.Phones[2].Organisation != "" {
		t.Errorf("phones: %+v", demo.ready.Phones)
	}
	if code, _, stderr := bidsealRun(t, "demo", "--port", "0", "--data", data); code != cli.ExitFailed || !strings.Contains(stderr, "another demo runs") {
		t.Errorf("a second demo on the same data: exit %d, %s", code, stderr)
	}
	if code := demo.end(t, syscall.SIGTERM); code != cli.ExitOK {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	if code, _, stderr := bidsealRun(t, "demo", "--port", "18400", "--data", data); code != cli.ExitFailed || !strings.Contains(stderr, "was made for") {
		t.Errorf("other ports on the same data: exit %d, %s", code, stderr)
	}
}
