// Package upgrade_test opens what earlier versions wrote and goes on with it.
package upgrade_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bidseal/bidseal/app/core"
	"github.com/bidseal/bidseal/app/core/keystore"
	"github.com/bidseal/bidseal/app/core/storage"
	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/catest"
	"github.com/bidseal/bidseal/ca/server"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
	"github.com/bidseal/bidseal/relay/sqlstore"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// What the generator used, see testdata/README.md.
const (
	archive      = "testdata/1d457d5.tar.gz"
	authorityURL = "http://127.0.0.1:8400"
	relayOrigin  = "http://127.0.0.1:8401"
	appOrigin    = "https://app.example.cn"
	password     = "fixture-password"
)

// world is a copy of the archive with today's authority and relay on it. Its
// clock stands still, ten seconds after the archive was written.
type world struct {
	t     *testing.T
	dir   string
	notes map[string]string
	now   time.Time

	authority *ca.Authority
	store     *sqlstore.Store
	ledgerKey crypto.Signer
	http      *http.Client
	keys      *keystore.Store // of the phone that was opened last
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	w.unpack()
	raw, err := os.ReadFile(w.path("notes.json"))
	w.must(err)
	w.must(json.Unmarshal(raw, &w.notes))
	written, err := time.Parse(time.RFC3339Nano, w.notes["instant"])
	w.must(err)
	w.now = written.Add(10 * time.Second)

	servers := map[string]*httptest.Server{"127.0.0.1:8400": httptest.NewUnstartedServer(nil), "127.0.0.1:8401": httptest.NewUnstartedServer(nil)}
	var dialer net.Dialer
	w.http = &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			server := servers[address]
			if server == nil {
				return nil, fmt.Errorf("nobody listens at %s", address)
			}
			return dialer.DialContext(ctx, network, server.Listener.Addr().String())
		}}}
	servers["127.0.0.1:8400"].Config.Handler = w.openAuthority()
	servers["127.0.0.1:8401"].Config.Handler = w.openRelay()
	for _, s := range servers {
		s.Start()
		t.Cleanup(s.Close)
	}
	t.Cleanup(w.http.CloseIdleConnections)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) path(parts ...string) string {
	return filepath.Join(append([]string{w.dir}, parts...)...)
}

func (w *world) clock() time.Time { return w.now }

func (w *world) unpack() {
	w.t.Helper()
	f, err := os.Open(archive)
	w.must(err)
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	w.must(err)
	for r := tar.NewReader(unzipped); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		w.must(err)
		if h.FileInfo().IsDir() {
			w.must(os.MkdirAll(w.path(h.Name), 0o700))
			continue
		}
		data, err := io.ReadAll(r)
		w.must(err)
		w.must(os.WriteFile(w.path(h.Name), data, 0o600))
	}
}

func (w *world) readJSON(name string, v any) {
	w.t.Helper()
	raw, err := os.ReadFile(w.path(name))
	w.must(err)
	w.must(protocol.DecodeJSON(raw, v))
}

// key reads a PKCS#8 key.
func (w *world) key(name string) crypto.Signer {
	w.t.Helper()
	raw, err := os.ReadFile(w.path(name))
	w.must(err)
	block, _ := pem.Decode(raw)
	key, err := smx509.ParsePKCS8PrivateKey(block.Bytes)
	w.must(err)
	return key.(crypto.Signer)
}

func (w *world) openAuthority() http.Handler {
	w.t.Helper()
	var err error
	w.authority, err = ca.Open(w.t.Context(), w.path("ca"), ca.Options{Passphrase: []byte(catest.Passphrase), Now: w.clock,
		Logger: slog.New(slog.DiscardHandler)})
	w.must(err)
	w.t.Cleanup(func() {
		if err := w.authority.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return ca.NewHandler(w.authority, server.Options{Concurrent: 64, Limits: server.Limits{PerSecond: -1}})
}

func (w *world) anchors() *trust.Store {
	w.t.Helper()
	anchors, err := trust.NewStore(w.authority.Folder.TrustAuthority())
	w.must(err)
	return anchors
}

func (w *world) openRelay() http.Handler {
	w.t.Helper()
	w.ledgerKey = w.key("relay/ledger.key.pem")
	var err error
	w.store, err = sqlstore.Open(w.t.Context(), w.path("relay", "relay.db"), w.clock)
	w.must(err)
	r, err := relay.New(w.t.Context(), relay.Config{Origin: relayOrigin, Anchors: w.anchors(), PassKeys: []crypto.PublicKey{w.authority.Life.PassKey()},
		LedgerKey: w.ledgerKey, State: w.store, Nonces: w.store, Counters: w.store, Outcomes: w.store, Directory: w.store, Bus: relay.NewLocalBus(), Clock: w.clock,
		Logger: slog.New(slog.DiscardHandler)})
	w.must(err)
	w.t.Cleanup(func() {
		r.Drain(context.WithoutCancel(w.t.Context()))
		if err := w.store.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return w.retimed(r.Handler())
}

// signatureTimes are the parts of a platform call's signature that depend on the machine's clock.
var signatureTimes = regexp.MustCompile(`;created=\d+;expires=\d+`)

// retimed signs a platform's calls again at the world's time: the library that the SDK signs them with reads the machine's
// clock (RFC 9421, the profile of internal/callsig).
func (w *world) retimed(next http.Handler) http.Handler {
	key := w.key("platform/api.key.pem").(*ecdsa.PrivateKey)
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if input, found := strings.CutPrefix(req.Header.Get("Signature-Input"), "sig1="); found {
			input = signatureTimes.ReplaceAllString(input, fmt.Sprintf(";created=%d;expires=%d", w.now.Unix(), w.now.Unix()+60))
			var base strings.Builder
			fmt.Fprintf(&base, "\"@method\": %s\n\"@authority\": %s\n\"@path\": %s\n\"@query\": ?%s\n", req.Method, req.Host, req.URL.EscapedPath(), req.URL.RawQuery)
			if digest := req.Header.Get("Content-Digest"); strings.Contains(input, `"content-digest"`) {
				fmt.Fprintf(&base, "\"content-digest\": %s\n", digest)
			}
			fmt.Fprintf(&base, "\"@signature-params\": %s", input)
			digest := sha256.Sum256([]byte(base.String()))
			r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
			if err != nil {
				w.t.Errorf("sign again: %v", err)
				return
			}
			signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
			req.Header.Set("Signature-Input", "sig1="+input)
			req.Header.Set("Signature", "sig1=:"+base64.StdEncoding.EncodeToString(signature)+":")
		}
		next.ServeHTTP(rw, req)
	})
}

// Do implements core.Transport.
func (w *world) Do(ctx context.Context, call core.Call) (core.Answer, error) {
	req, err := http.NewRequestWithContext(ctx, call.Method, call.URL, bytes.NewReader(call.Body))
	if err != nil {
		return core.Answer{}, err
	}
	for name, value := range call.Header {
		req.Header.Set(name, value)
	}
	res, err := w.http.Do(req)
	if err != nil {
		return core.Answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, core.MaxAnswer+1))
	if err != nil {
		return core.Answer{}, err
	}
	header := make(map[string]string, len(res.Header))
	for name := range res.Header {
		header[name] = res.Header.Get(name)
	}
	return core.Answer{Status: res.StatusCode, Header: header, Body: body}, nil
}

func (w *world) files(name string) *storage.Dir {
	w.t.Helper()
	files, err := storage.OpenDir(w.path(name))
	w.must(err)
	return files
}

func (w *world) keystore(name string) *keystore.Store {
	w.t.Helper()
	keys, err := keystore.New(w.files(name), keystore.KDF{Name: "argon2id", Time: 1, Memory: 1 << 10, Threads: 1})
	w.must(err)
	return keys
}

// phone opens a phone's folder; one that is not there is made.
func (w *world) phone(name string) *core.Core {
	w.t.Helper()
	w.keys = w.keystore(name)
	phone, err := core.Open(w.t.Context(), core.Options{Files: w.files(name), Keys: w.keys, Transport: w, App: "bidseal/upgrade", Now: w.clock,
		Log: slog.New(slog.DiscardHandler)})
	w.must(err)
	return phone
}

// config is what the platform's folder says.
func (w *world) config() bidseal.Config {
	w.t.Helper()
	config, err := bidseal.LoadConfig(w.path("platform"))
	w.must(err)
	config.Clock, config.HTTP = w.clock, w.http
	if files, ok := config.Store.(*bidseal.FileStore); ok {
		w.t.Cleanup(func() {
			if err := files.Close(); err != nil {
				w.t.Error(err)
			}
		})
	}
	return config
}

// client runs a platform's client until the test ends.
func (w *world) client(config bidseal.Config) *bidseal.Client {
	w.t.Helper()
	client, err := bidseal.New(config)
	w.must(err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := client.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			w.t.Errorf("run: %v", err)
		}
	})
	w.t.Cleanup(func() { cancel(); running.Wait() })
	return client
}

// challenge takes up a challenge of the archive.
func (w *world) challenge(client *bidseal.Client, note string) *bidseal.Challenge {
	w.t.Helper()
	ch, err := client.Challenge(w.t.Context(), w.notes[note])
	w.must(err)
	return ch
}

// approve scans a code and signs; digits are typed where there are any.
func (w *world) approve(phone *core.Core, payload, digits string) {
	w.t.Helper()
	s, err := phone.Scan(w.t.Context(), payload)
	w.must(err)
	defer s.Close()
	if digits != "" {
		w.must(s.EnterDigits(w.t.Context(), digits))
	}
	outcome, err := s.Approve(w.t.Context(), s.Review().Candidates[0].ID, []byte(password))
	w.must(err)
	if !outcome.PromiseVerified {
		w.t.Error("the ledger's promise does not verify")
	}
}

// wantLogin waits for the verified sign-in of a person.
func (w *world) wantLogin(ch *bidseal.Challenge, person string) {
	w.t.Helper()
	login, err := ch.Wait(w.t.Context())
	w.must(err)
	if login.Person != person {
		w.t.Errorf("signed in: %q, want %q", login.Person, person)
	}
	report, err := bidseal.Verifier{Anchors: w.anchors()}.VerifyEvidence(login.Evidence)
	w.must(err)
	if report.Holder.Person != person || report.Timestamp == nil {
		w.t.Errorf("evidence: %+v", report)
	}
}

// ledger verifies the relay's ledger, from an earlier head where one is given.
func (w *world) ledger(kept *relay.LedgerHead) relay.LedgerReport {
	w.t.Helper()
	report, err := relay.VerifyLedger(w.t.Context(), w.store, w.ledgerKey.Public(), kept)
	w.must(err)
	return report
}

// serials are the serial numbers in a phone's folder, newest first.
func (w *world) serials(phone *core.Core) string {
	w.t.Helper()
	certs, err := phone.Certificates(w.t.Context())
	w.must(err)
	var out []string
	for _, c := range certs {
		if c.Problem != "" {
			w.t.Errorf("certificate %s: %s", c.Serial, c.Problem)
		}
		out = append(out, c.Serial)
	}
	return strings.Join(out, " ")
}
