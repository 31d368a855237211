package relay_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
	"github.com/bidseal/bidseal/relay/sqlstore"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, want protocol.Code) *protocol.Error {
	t.Helper()
	var own *protocol.Error
	if !errors.As(err, &own) || own.Code != want {
		t.Fatalf("got %v, want %s", err, want)
	}
	return own
}

// clock is real time plus an offset that tests move.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *clock) advance(d time.Duration) { c.offset.Add(int64(d)) }

// authority issues the certificates of a test.
type authority struct {
	cert *smx509.Certificate
	key  crypto.Signer
}

func newSM2(t testing.TB) *sm2.PrivateKey {
	t.Helper()
	key, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	return key
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key := newSM2(t)
	c := &smx509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, SubjectKeyId: []byte("root"),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: true,
		KeyUsage: smx509.KeyUsageCertSign | smx509.KeyUsageCRLSign}
	der, err := smx509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	must(t, err)
	cert, err := trust.ParseCertificate(der)
	must(t, err)
	return &authority{cert, key}
}

// person issues a signing certificate.
func (a *authority) person(t testing.TB, name string, notAfter time.Time) (crypto.Signer, []byte) {
	t.Helper()
	key := newSM2(t)
	c := &smx509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, SubjectKeyId: []byte(name),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: notAfter, KeyUsage: smx509.KeyUsageDigitalSignature | smx509.KeyUsageContentCommitment}
	der, err := smx509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	must(t, err)
	return key, der
}

// world is a relay on a real listener with everything around it.
type world struct {
	t         testing.TB
	clock     *clock
	authority *authority
	passKey   *sm2.PrivateKey
	ledgerKey *sm2.PrivateKey
	path      string
	store     *sqlstore.Store
	state     string // address of the state where the database does not hold it
	shut      func() error
	relay     *relay.Relay
	server    *httptest.Server
	origin    string
	platform  *platform
	elsewhere string                          // address of a relay in another process
	front     func(http.Handler) http.Handler // stands before the relay of the next start
	stopped   bool
}

type option func(*relay.Config)

func newWorld(t testing.TB, options ...option) *world {
	t.Helper()
	w := &world{t: t, clock: &clock{}, authority: newAuthority(t), passKey: newSM2(t), ledgerKey: newSM2(t),
		path: newEnds(t), state: newState(t)}
	w.start(options...)
	t.Cleanup(w.stop)
	w.platform = w.newPlatform("p1", "https://bid.example.cn")
	return w
}

func (w *world) start(options ...option) {
	w.t.Helper()
	store, err := sqlstore.Open(w.t.Context(), w.path, w.clock.now)
	must(w.t, err)
	state, bus, shut, err := openState(w.state, store, w.clock)
	must(w.t, err)
	anchors, err := trust.NewStore(trust.DocumentationAuthority(w.authority.cert))
	must(w.t, err)
	w.server = httptest.NewUnstartedServer(nil)
	if w.origin == "" {
		w.origin = "http://" + w.server.Listener.Addr().String()
	}
	cfg := relay.Config{Origin: w.origin, Anchors: anchors, PassKeys: []crypto.PublicKey{w.passKey.Public()}, LedgerKey: w.ledgerKey,
		State: state, Nonces: state, Counters: state, Outcomes: store, Directory: store, Bus: bus, Clock: w.clock.now, Logger: slog.New(slog.DiscardHandler),
		Limits: relay.Limits{LookupTTL: time.Nanosecond}}
	for _, o := range options {
		o(&cfg)
	}
	r, err := relay.New(w.t.Context(), cfg)
	must(w.t, err)
	w.store, w.shut, w.relay, w.stopped, w.elsewhere = store, shut, r, false, ""
	w.server.Config.Handler = r.Handler()
	if w.front != nil {
		w.server.Config.Handler = w.front(r.Handler())
	}
	w.server.Start()
}

func (w *world) stop() {
	if w.stopped {
		return
	}
	w.stopped = true
	w.relay.Drain(context.Background())
	w.server.CloseClientConnections()
	w.server.Close()
	if err := errors.Join(w.shut(), w.store.Close()); err != nil {
		w.t.Error(err)
	}
}

// restart is what a new process finds: the same file and origin. The address is
// another one, callers reach it through dial.
func (w *world) restart() {
	w.stop()
	w.start()
}

// do sends a call to wherever the relay listens now.
func (w *world) do(req *http.Request) (*http.Response, error) {
	u := *req.URL // req.Host stays what the caller knows the relay by
	u.Host = w.elsewhere
	if u.Host == "" {
		u.Host = w.server.Listener.Addr().String()
	}
	req.URL = &u
	return w.server.Client().Do(req)
}

// answer decodes an answer or the problem of a refusal.
func answer(resp *http.Response, v any) error {
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		var p protocol.Problem
		if err := protocol.DecodeJSON(raw, &p); err != nil {
			return fmt.Errorf("status %d with %q", resp.StatusCode, raw)
		}
		if p.Status != resp.StatusCode || resp.Header.Get("Content-Type") != protocol.ProblemType {
			return fmt.Errorf("problem %v with status %d", p, resp.StatusCode)
		}
		return p.Err()
	}
	if v == nil {
		return nil
	}
	return protocol.DecodeJSON(raw, v)
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	if v == nil {
		return nil
	}
	raw, err := protocol.EncodeJSON(v)
	must(t, err)
	return raw
}

// platform is the test's own RFC 9421 signer: it shares no code with the relay
// or its library.
type platform struct {
	w     *world
	id    string
	key   *ecdsa.PrivateKey
	alter func(*signing) // for tests of refusals
}

// signing is what goes into one signature.
type signing struct {
	components       []string
	created, expires int64
	nonce, keyID     string
	tag              string
	authority        string
	digest           string
	extra            string
}

func (w *world) newPlatform(id string, origins ...string) *platform {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(w.t, err)
	spki, err := protocol.MarshalKey(key.Public())
	must(w.t, err)
	must(w.t, w.store.PutPlatform(w.t.Context(), relay.Platform{ID: id, Name: "示例", ChainHash: make([]byte, 32), APIKey: spki, Origins: origins, MaxKeep: 86400, Added: time.Now()}))
	return &platform{w: w, id: id, key: key}
}

func randomText(t testing.TB, n int) string {
	t.Helper()
	b, err := protocol.Random(n)
	must(t, err)
	return base64.StdEncoding.EncodeToString(b)
}

// request makes a signed request.
func (p *platform) request(method, path string, body []byte) *http.Request {
	t := p.w.t
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, p.w.origin+path, bytes.NewReader(body))
	must(t, err)
	p.sign(req, body)
	return req
}

func (p *platform) sign(req *http.Request, body []byte) {
	t := p.w.t
	t.Helper()
	now := p.w.clock.now().Unix()
	s := signing{components: []string{"@method", "@authority", "@path", "@query"}, created: now, expires: now + 30,
		nonce: randomText(t, 16), keyID: p.id, tag: protocol.SignatureTag, authority: strings.TrimPrefix(p.w.origin, "http://")}
	if len(body) > 0 {
		sum := sha256.Sum256(body)
		s.digest = "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
		s.components = append(s.components, "content-digest")
	}
	if p.alter != nil {
		p.alter(&s)
	}
	values := map[string]string{"@method": req.Method, "@authority": s.authority, "@path": req.URL.EscapedPath(),
		"@query": "?" + req.URL.RawQuery, "content-digest": s.digest, "date": req.Header.Get("Date")}
	var base, list strings.Builder
	for i, c := range s.components {
		name := fmt.Sprintf("%q", c)
		if bare, params, ok := strings.Cut(c, ";"); ok {
			name = fmt.Sprintf("%q;%s", bare, params)
			c = bare
		}
		fmt.Fprintf(&base, "%s: %s\n", name, values[c])
		if i > 0 {
			list.WriteByte(' ')
		}
		list.WriteString(name)
	}
	params := fmt.Sprintf(`(%s);created=%d;expires=%d;nonce="%s";keyid="%s"`, list.String(), s.created, s.expires, s.nonce, s.keyID)
	if s.tag != "" {
		params += fmt.Sprintf(`;tag="%s"`, s.tag)
	}
	params += s.extra
	base.WriteString(`"@signature-params": ` + params)
	sum := sha256.Sum256([]byte(base.String()))
	r, v, err := ecdsa.Sign(rand.Reader, p.key, sum[:])
	must(t, err)
	raw := append(r.FillBytes(make([]byte, 32)), v.FillBytes(make([]byte, 32))...)
	if s.digest != "" {
		req.Header.Set("Content-Digest", s.digest)
	}
	req.Header.Set("Signature-Input", "sig1="+params)
	req.Header.Set("Signature", "sig1=:"+base64.StdEncoding.EncodeToString(raw)+":")
}

func (p *platform) call(method, path string, body, out any) error {
	p.w.t.Helper()
	resp, err := p.w.do(p.request(method, path, encode(p.w.t, body)))
	must(p.w.t, err)
	return answer(resp, out)
}

// device is a phone.
type device struct {
	w     *world
	id    string
	key   *sm2.PrivateKey
	pass  string
	cert  []byte // signing certificate of its user
	user  crypto.Signer
	alter func(*protocol.Call)
}

func (w *world) newDevice(name string) *device {
	w.t.Helper()
	d := &device{w: w, key: newSM2(w.t)}
	d.user, d.cert = w.authority.person(w.t, name, time.Now().Add(time.Hour))
	spki, err := protocol.MarshalKey(d.key.Public())
	must(w.t, err)
	d.id = protocol.DeviceID(spki)
	d.renew(12 * time.Hour)
	return d
}

func (d *device) renew(life time.Duration) {
	d.w.t.Helper()
	spki, err := protocol.MarshalKey(d.key.Public())
	must(d.w.t, err)
	now := d.w.clock.now().Unix()
	d.pass, err = protocol.IssuePass(d.w.passKey, protocol.Pass{V: 1, Iss: "ca", Device: d.id, Alg: protocol.AlgSM2, Key: spki,
		Account: "a-" + d.id[:8], IAT: now, EXP: now + int64(life.Seconds())})
	must(d.w.t, err)
}

func (d *device) request(method, path string, body []byte) *http.Request {
	t := d.w.t
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, d.w.origin+path, bytes.NewReader(body))
	must(t, err)
	call := protocol.Call{Method: method, URL: d.w.origin + path, Body: body}
	if d.alter != nil {
		d.alter(&call)
	}
	proof, err := protocol.NewProof(d.key, d.pass, call, d.w.clock.now())
	must(t, err)
	req.Header.Set(protocol.HeaderPass, d.pass)
	req.Header.Set(protocol.HeaderProof, proof)
	return req
}

func (d *device) call(method, path string, body, out any) error {
	d.w.t.Helper()
	resp, err := d.w.do(d.request(method, path, encode(d.w.t, body)))
	must(d.w.t, err)
	return answer(resp, out)
}

// challenge is what the SDK knows of one.
type challenge struct {
	w      *world
	p      *platform
	cid    protocol.CID
	kClaim []byte
	watch  []byte
	body   protocol.CreateBody
	path   string
}

func (p *platform) newChallenge(kind protocol.Kind, twoPhase bool) *challenge {
	t := p.w.t
	t.Helper()
	s, err := protocol.NewSecret()
	must(t, err)
	ks, err := protocol.Derive(s)
	must(t, err)
	watch, err := protocol.Random(protocol.WatchSize)
	must(t, err)
	box, err := protocol.Random(600)
	must(t, err)
	return &challenge{w: p.w, p: p, cid: ks.CID, kClaim: ks.KClaim, watch: watch, path: "/v1/challenges/" + ks.CID.String(),
		body: protocol.CreateBody{BoxR: box, HClaim: protocol.H(ks.KClaim), HWatch: protocol.H(watch), Kind: kind, TwoPhase: twoPhase,
			Deadlines: protocol.DefaultDeadlines(kind)}}
}

// created makes a challenge at the relay.
func (p *platform) created(kind protocol.Kind, twoPhase bool) *challenge {
	p.w.t.Helper()
	c := p.newChallenge(kind, twoPhase)
	must(p.w.t, c.create(nil))
	return c
}

func (c *challenge) create(out *protocol.ChallengeState) error {
	c.w.t.Helper()
	if out == nil {
		out = &protocol.ChallengeState{}
	}
	return c.p.call(http.MethodPut, c.path, c.body, out)
}

func (c *challenge) claimBody() protocol.ClaimBody {
	c.w.t.Helper()
	id, err := protocol.Random(16)
	must(c.w.t, err)
	return protocol.ClaimBody{KClaim: c.kClaim, ClaimID: id}
}

func (c *challenge) claim(d *device, b protocol.ClaimBody) (protocol.ClaimAnswer, error) {
	c.w.t.Helper()
	var a protocol.ClaimAnswer
	return a, d.call(http.MethodPost, c.path+"/claim", b, &a)
}

func (c *challenge) claimed(d *device) protocol.ClaimAnswer {
	c.w.t.Helper()
	a, err := c.claim(d, c.claimBody())
	must(c.w.t, err)
	return a
}

// resultBody is a signed result with a box of the given size.
func (c *challenge) resultBody(d *device, seq uint32, size int, alter ...func(*protocol.Receipt)) protocol.ResultBody {
	t := c.w.t
	t.Helper()
	kem, err := protocol.Random(140)
	must(t, err)
	box, err := protocol.Random(size)
	must(t, err)
	return c.signResult(d, protocol.ResultBody{ClaimSeq: seq, KEM: kem, Box: box}, alter...)
}

func (c *challenge) signResult(d *device, b protocol.ResultBody, alter ...func(*protocol.Receipt)) protocol.ResultBody {
	t := c.w.t
	t.Helper()
	r := protocol.Receipt{V: 1, CID: c.cid, Kind: c.body.Kind, Platform: c.p.id, Cert: protocol.H(d.cert), Device: d.id, ClaimSeq: b.ClaimSeq,
		Result: protocol.ResultDigest(c.cid, b.ClaimSeq, b.KEM, b.Box), NOK: 1, IAT: c.w.clock.now().Unix()}
	for _, a := range alter {
		a(&r)
	}
	raw := encode(t, r) // signed by hand: SignReceipt refuses what tests need
	sig, err := protocol.Sign(d.user, protocol.ReceiptMessage(protocol.TagReceipt, raw))
	must(t, err)
	b.Receipt = protocol.SignedReceipt{Bytes: raw, Signature: sig, Chain: []protocol.Bytes{d.cert}}
	return b
}

func (c *challenge) deviceReceipt(d *device, seq uint32, reason string) protocol.SignedReceipt {
	t := c.w.t
	t.Helper()
	s, err := protocol.SignReceipt(d.key, protocol.TagReject, protocol.Receipt{V: 1, CID: c.cid, Kind: c.body.Kind, Platform: c.p.id, Device: d.id,
		ClaimSeq: seq, Reason: reason, IAT: c.w.clock.now().Unix()}, nil)
	must(t, err)
	return *s
}

func (c *challenge) result(d *device, b protocol.ResultBody) (protocol.ResultAnswer, error) {
	c.w.t.Helper()
	var a protocol.ResultAnswer
	return a, d.call(http.MethodPost, c.path+"/result", b, &a)
}

func (c *challenge) ack(digest []byte) (protocol.ChallengeState, error) {
	c.w.t.Helper()
	var s protocol.ChallengeState
	return s, c.p.call(http.MethodPost, c.path+"/ack", protocol.AckBody{Result: digest}, &s)
}

func (c *challenge) read() protocol.ChallengeState {
	c.w.t.Helper()
	var s protocol.ChallengeState
	must(c.w.t, c.p.call(http.MethodGet, c.path, nil, &s))
	return s
}

func (c *challenge) wantState(want protocol.State) protocol.ChallengeState {
	c.w.t.Helper()
	s := c.read()
	if s.State != want {
		c.w.t.Fatalf("state %s (%s), want %s", s.State, s.Code, want)
	}
	return s
}

func (p *platform) feed(store string, after int64) protocol.FeedPage {
	p.w.t.Helper()
	var page protocol.FeedPage
	q := url.Values{"after": {fmt.Sprint(after)}}
	if store != "" {
		q.Set("store", store)
	}
	must(p.w.t, p.call(http.MethodGet, "/v1/feed?"+q.Encode(), nil, &page))
	return page
}

func itoa(n int64) string { return fmt.Sprint(n) }
