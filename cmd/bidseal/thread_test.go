package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"image/png"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/catest"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/callsig"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
	"github.com/bidseal/bidseal/relay/sqlstore"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
	"github.com/skip2/go-qrcode"
)

const (
	threadPassword = "thread-password"
	threadApp      = "http://127.0.0.1:1" // nothing listens there; a code is only read
	threadName     = "示例电子交易平台"
)

// thread is the whole way of a login with real parts: the authority and the
// relay over HTTP, and the phone as its command line. The platform's side is
// written here with protocol alone, so that its SDK has a peer to agree with.
type thread struct {
	t         *testing.T
	authority *catest.CA
	platform  *catest.Platform
	relay     string
	ledger    crypto.Signer // the relay's
	dir       string
	client    *http.Client
	cut       atomic.Bool // results arrive at the relay, its answers are lost
}

func newThread(t *testing.T) *thread {
	t.Helper()
	th := &thread{t: t, authority: catest.New(t, catest.Options{}), dir: t.TempDir(), client: &http.Client{Timeout: time.Minute}}
	th.platform = th.authority.Platform(threadName, "https://bid.example.cn")
	store, err := sqlstore.Open(t.Context(), filepath.Join(th.dir, "relay.db"), time.Now)
	th.must(err)
	spki, err := protocol.MarshalKey(th.platform.APIKey.Public())
	th.must(err)
	th.must(store.PutPlatform(t.Context(), relay.Platform{ID: th.platform.ID, Name: threadName, ChainHash: make([]byte, 32), APIKey: spki,
		Origins: []string{"https://bid.example.cn"}, MaxKeep: 86400, Added: time.Now()}))
	key, err := sm2.GenerateKey(rand.Reader)
	th.must(err)
	th.ledger = key
	server := httptest.NewUnstartedServer(nil)
	th.relay = "http://" + server.Listener.Addr().String()
	r, err := relay.New(t.Context(), relay.Config{Origin: th.relay, Anchors: th.authority.Store(), PassKeys: []crypto.PublicKey{th.authority.Life.PassKey()},
		LedgerKey: th.ledger, State: store, Nonces: store, Counters: store, Outcomes: store, Directory: store, Bus: relay.NewLocalBus(), Clock: time.Now, Logger: slog.New(slog.DiscardHandler)})
	th.must(err)
	handler := r.Handler()
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if th.cut.Load() && strings.HasSuffix(req.URL.Path, "/result") {
			handler.ServeHTTP(httptest.NewRecorder(), req)
			panic(http.ErrAbortHandler)
		}
		handler.ServeHTTP(w, req)
	})
	server.Start()
	t.Cleanup(func() {
		r.Drain(context.WithoutCancel(t.Context()))
		server.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return th
}

func (th *thread) must(err error) {
	th.t.Helper()
	if err != nil {
		th.t.Fatal(err)
	}
}

// file writes a file into the test's folder.
func (th *thread) file(name string, data []byte) string {
	th.t.Helper()
	path := filepath.Join(th.dir, name)
	th.must(os.WriteFile(path, data, 0o600))
	return path
}

// scanLine is what these tests read of a scan's document.
type scanLine struct {
	OK           bool           `json:"ok"`
	State        protocol.State `json:"state"`
	PlatformName string         `json:"platform_name"`
	Stapled      bool           `json:"stapled"`
	Ledger       *struct {
		Index    uint64 `json:"index"`
		Verified bool   `json:"verified"`
	} `json:"ledger"`
}

// threadPhone is one command-line phone.
type threadPhone struct {
	th       *thread
	state    string
	password string // file
	signing  string // serial of the signing certificate
}

// enrol makes a phone with certificates.
func (th *thread) enrol(name string) *threadPhone {
	th.t.Helper()
	file := th.authority.Code(caapi.Subject{Kind: string(trust.Organisation), Name: name, Organisation: "示例建设有限公司",
		CreditCode: "91330100MA27XL0G0X", Role: trust.RoleAdmin}, 0)
	raw, err := json.Marshal(file)
	th.must(err)
	p := &threadPhone{th: th, state: filepath.Join(th.dir, "phone-"+name), password: th.file("password", []byte(threadPassword+"\n"))}
	var out struct {
		Certificates []struct {
			Use    string `json:"use"`
			Serial string `json:"serial"`
		} `json:"certificates"`
	}
	p.run(&out, cli.ExitOK, "enrol", "--code", th.file("code-"+name+".json", raw), "--relay", th.relay, "--app-origin", threadApp, "--password-file", p.password)
	if len(out.Certificates) != 2 {
		th.t.Fatalf("enrol: %+v", out)
	}
	p.signing = out.Certificates[0].Serial
	return p
}

// run runs a phone command with --json and decodes its document into v.
func (p *threadPhone) run(v any, want int, args ...string) {
	p.th.t.Helper()
	code, stdout, stderr := bidsealRun(p.th.t, append([]string{"phone", "--state", p.state, "--json"}, args...)...)
	if code != want {
		p.th.t.Fatalf("phone %s: exit code %d, want %d\n%s%s", args[0], code, want, stdout, stderr)
	}
	if err := json.Unmarshal([]byte(stdout), v); err != nil {
		p.th.t.Fatalf("phone %s: %v\n%s", args[0], err, stdout)
	}
}

func (p *threadPhone) scan(code string, flags ...string) scanLine {
	p.th.t.Helper()
	var out scanLine
	p.run(&out, cli.ExitOK, append([]string{"scan", code, "--password-file", p.password, "--approve"}, flags...)...)
	return out
}

func (p *threadPhone) refused(want protocol.Code, code string, flags ...string) {
	p.th.t.Helper()
	var out protocol.Problem
	p.run(&out, cli.ExitFailed, append([]string{"scan", code, "--password-file", p.password}, flags...)...)
	if out.Code != want {
		p.th.t.Fatalf("scan: %s, want %s (%s)", out.Code, want, out.Detail)
	}
}

// threadLogin is one login as the platform sees it.
type threadLogin struct {
	th      *thread
	request *protocol.Request
	ks      *protocol.KeySet
	e       *sm2.PrivateKey
	rh      []byte
	link    string
}

// login creates a challenge at the relay.
func (th *thread) login(policy protocol.Policy) *threadLogin {
	th.t.Helper()
	l := &threadLogin{th: th}
	secret, err := protocol.NewSecret()
	th.must(err)
	l.ks, err = protocol.Derive(secret)
	th.must(err)
	var e []byte
	l.e, e, err = protocol.NewEphemeral()
	th.must(err)
	nonce, err := protocol.Random(protocol.NonceSize)
	th.must(err)
	leaf, now := th.platform.Chain[0], time.Now().Unix()
	l.request = &protocol.Request{V: 1, CID: l.ks.CID, Kind: protocol.KindLogin, Platform: th.platform.ID, Key: protocol.KeyID(leaf.RawSubjectPublicKeyInfo),
		Nonce: nonce, IAT: now, EXP: now + 240, E: e, Display: []string{"登录示例电子交易平台"}, Policy: policy}
	raw, err := protocol.EncodeJSON(l.request)
	th.must(err)
	sr, err := protocol.SignRequest(th.platform.RequestKey, raw)
	th.must(err)
	boxR, err := protocol.SealRequest(l.ks, protocol.SealedRequest{Request: raw, Signature: sr, OCSP: th.authority.Staple(leaf),
		Chain: []protocol.Bytes{leaf.Raw, th.platform.Chain[1].Raw}})
	th.must(err)
	l.rh = protocol.Commit(raw, leaf.Raw)
	l.link, err = protocol.Payload{Secret: secret, RH16: l.rh[:16]}.Encode(threadApp)
	th.must(err)
	l.call(http.MethodPut, "", protocol.CreateBody{BoxR: boxR, HClaim: protocol.H(l.ks.KClaim), HWatch: protocol.H([]byte("watch")),
		Kind: protocol.KindLogin, TwoPhase: policy.TwoPhase, Deadlines: protocol.DefaultDeadlines(protocol.KindLogin)})
	return l
}

// call makes a platform's call.
func (l *threadLogin) call(method, action string, body any) protocol.ChallengeState {
	th := l.th
	th.t.Helper()
	var raw []byte
	if body != nil {
		var err error
		raw, err = protocol.EncodeJSON(body)
		th.must(err)
	}
	req, err := http.NewRequestWithContext(th.t.Context(), method, th.relay+"/v1/challenges/"+l.ks.CID.String()+action, bytes.NewReader(raw))
	th.must(err)
	th.must(callsig.Sign(req, th.platform.APIKey, th.platform.ID))
	res, err := th.client.Do(req)
	th.must(err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	th.must(err)
	if res.StatusCode != http.StatusOK {
		th.t.Errorf("%s %s: %d %s", method, action, res.StatusCode, answer)
	}
	var st protocol.ChallengeState
	th.must(protocol.DecodeJSON(answer, &st))
	return st
}

func (l *threadLogin) keys(seq uint32, kem []byte) *protocol.ClaimKeys {
	l.th.t.Helper()
	k, err := protocol.OpenClaim(l.ks, protocol.Context{CID: l.ks.CID, RH: l.rh, ClaimSeq: seq, E: l.request.E}, l.e, kem)
	l.th.must(err)
	return k
}

// judge waits for an open and answers it; the channel gives the digits it held.
func (l *threadLogin) judge(want string, triesLeft int) <-chan string {
	got := make(chan string, 1)
	go func() {
		st := l.call(http.MethodGet, "", nil)
		for st.State != protocol.StateOpened {
			if st.State.Terminal() {
				l.th.t.Errorf("the challenge ended: %s %s", st.State, st.Code)
				close(got)
				return
			}
			st = l.call(http.MethodGet, fmt.Sprintf("?after=%d&wait=25", st.Rev), nil)
		}
		k := l.keys(st.Open.ClaimSeq, st.Open.KEM)
		var open protocol.OpenBox
		if err := k.Open(protocol.BoxOpen, st.Open.Box, &open); err != nil {
			l.th.t.Error(err)
		}
		next, answer := protocol.StateReady, protocol.ReadyBox{Code: protocol.ReadyOK, TriesLeft: triesLeft}
		if open.Digits != want {
			next, answer = protocol.StateClaimed, protocol.ReadyBox{Code: protocol.ReadyMatch, TriesLeft: triesLeft - 1}
		}
		box, err := k.Seal(protocol.BoxReady, answer)
		if err != nil {
			l.th.t.Error(err)
		}
		l.call(http.MethodPut, "/ready", protocol.ReadyBody{ClaimSeq: st.Open.ClaimSeq, Next: next, Box: box})
		got <- open.Digits
	}()
	return got
}

// collect verifies the result as a platform does and returns the signer's serial.
func (l *threadLogin) collect() (serial string, statement *protocol.Statement) {
	th := l.th
	th.t.Helper()
	st := l.call(http.MethodGet, "", nil)
	if st.State != protocol.StateFulfilled {
		th.t.Fatalf("the challenge is %s %s", st.State, st.Code)
	}
	var box protocol.ResultBox
	th.must(l.keys(st.Result.ClaimSeq, st.Result.KEM).Open(protocol.BoxResult, st.Result.Box, &box))
	ders := make([][]byte, len(box.Chain))
	for i, der := range box.Chain {
		ders[i] = der
	}
	chain, err := trust.ParseChain(ders)
	th.must(err)
	v, err := th.authority.Store().Verify(chain, trust.VerifyOptions{Time: time.Now(), Usage: trust.Signing})
	th.must(err)
	statement, err = protocol.CheckStatement(box.Statement, box.Shown, protocol.Expected{Request: l.request, RH: l.rh, ClaimSeq: st.Result.ClaimSeq,
		PlatformName: threadName, Cert: chain[0].Raw})
	th.must(err)
	th.must(protocol.VerifyStatement(chain[0].PublicKey, box.Statement, box.Signature))
	status, err := trust.VerifyOCSP(box.OCSP, v.Leaf(), v.Issuer(), trust.OCSPOptions{Now: time.Now(), Skew: time.Minute})
	th.must(err)
	th.must(status.Err())
	l.call(http.MethodPost, "/ack", protocol.AckBody{Result: st.Result.Digest})
	return trust.SerialHex(chain[0].SerialNumber), statement
}

// picture is the code as a PNG file.
func (l *threadLogin) picture() string {
	l.th.t.Helper()
	q, err := qrcode.New(l.link, qrcode.Medium)
	l.th.must(err)
	var buf bytes.Buffer
	l.th.must(png.Encode(&buf, q.Image(300)))
	return l.th.file("code.png", buf.Bytes())
}

func TestThread(t *testing.T) {
	th := newThread(t)
	phone := th.enrol("张三")

	t.Run("login from a picture", func(t *testing.T) {
		th.t = t
		l := th.login(protocol.Policy{Match: protocol.MatchNone})
		out := phone.scan(l.picture())
		if !out.OK || out.PlatformName != threadName || !out.Stapled || out.Ledger == nil || !out.Ledger.Verified {
			t.Errorf("scan: %+v", out)
		}
		if serial, _ := l.collect(); serial != phone.signing {
			t.Errorf("signed by %s, want %s", serial, phone.signing)
		}
		phone.refused(protocol.CodeAlreadyEnded, l.link, "--approve")
	})
	t.Run("digits in a second run", func(t *testing.T) {
		th.t = t
		l := th.login(protocol.Policy{Match: protocol.MatchType, TwoPhase: true})
		phone.refused(protocol.CodeMatchRequired, l.link, "--approve")
		wrong := l.judge("42", 3)
		phone.refused(protocol.CodeMatchWrong, l.link, "--approve", "--match", "24")
		if got := <-wrong; got != "24" {
			t.Errorf("the platform saw %q", got)
		}
		right := l.judge("42", 2)
		phone.scan(l.link, "--match", "42")
		if got := <-right; got != "42" {
			t.Errorf("the platform saw %q", got)
		}
		if _, statement := l.collect(); statement.ClaimSeq < 2 {
			t.Errorf("claim %d", statement.ClaimSeq)
		}
	})
	t.Run("reject", func(t *testing.T) {
		th.t = t
		l := th.login(protocol.Policy{Match: protocol.MatchNone})
		var out scanLine
		phone.run(&out, cli.ExitOK, "scan", l.link, "--reject", "not_me")
		if st := l.call(http.MethodGet, "", nil); out.State != protocol.StateRejected || st.State != protocol.StateRejected || st.Code != "not_me" {
			t.Errorf("phone %s, relay %s %s", out.State, st.State, st.Code)
		}
	})
	t.Run("second phone", func(t *testing.T) {
		th.t = t
		other := th.enrol("李四")
		l := th.login(protocol.Policy{Match: protocol.MatchType, TwoPhase: true})
		phone.refused(protocol.CodeMatchRequired, l.link, "--approve")
		other.refused(protocol.CodeClaimedByOther, l.link, "--approve")
		if st := l.call(http.MethodGet, "", nil); st.SecondScans != 1 {
			t.Errorf("%d second scans", st.SecondScans)
		}
	})
	t.Run("wrong password", func(t *testing.T) {
		th.t = t
		l := th.login(protocol.Policy{Match: protocol.MatchNone})
		wrong := *phone
		wrong.password = th.file("wrong", []byte("not-the-password"))
		wrong.refused(protocol.CodePasswordWrong, l.link, "--approve")
		phone.scan(l.link)
		l.collect()
	})
	t.Run("answer lost after signing", func(t *testing.T) {
		th.t = t
		l := th.login(protocol.Policy{Match: protocol.MatchNone})
		th.cut.Store(true)
		phone.refused(protocol.CodeNetwork, l.link, "--approve")
		th.cut.Store(false)
		first := l.call(http.MethodGet, "", nil)
		out := phone.scan(l.link) // another process
		if !out.OK || out.Ledger == nil || !out.Ledger.Verified || out.Ledger.Index != first.Promise.Index {
			t.Errorf("scan: %+v, the relay's first promise is %+v", out, first.Promise)
		}
		l.collect()
	})
	t.Run("digits from stdin", func(t *testing.T) {
		th.t = t
		l := th.login(protocol.Policy{Match: protocol.MatchType, TwoPhase: true})
		right := l.judge("42", 3)
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{"phone", "--state", phone.state, "scan", l.link, "--approve", "--password-file", phone.password},
			strings.NewReader("4x\n42\n"), &stdout, &stderr)
		if code != cli.ExitOK || <-right != "42" {
			t.Fatalf("exit code %d\n%s%s", code, stdout.String(), stderr.String())
		}
		for _, want := range []string{"平台【" + threadName + "】请求【登录】", "登录示例电子交易平台", "数字不一致"} {
			if !strings.Contains(stderr.String(), want) {
				t.Errorf("%q was not shown:\n%s", want, stderr.String())
			}
		}
		if !strings.Contains(stdout.String(), "已完成：登录") {
			t.Errorf("stdout %q", stdout.String())
		}
	})
	t.Run("revoked certificate", func(t *testing.T) {
		th.t = t
		l := th.login(protocol.Policy{Match: protocol.MatchNone})
		serial, err := trust.ParseSerialHex(phone.signing)
		th.must(err)
		th.authority.Revoke(&smx509.Certificate{SerialNumber: serial})
		phone.refused(protocol.CodeCertRevoked, l.link, "--approve")
		if st := l.call(http.MethodGet, "", nil); st.State != protocol.StateFailed || st.Code != string(protocol.CodeCertRevoked) {
			t.Errorf("relay %s %s", st.State, st.Code)
		}
	})
}
