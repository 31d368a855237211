package onboard_test

import (
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/catest"
	"github.com/bidseal/bidseal/ca/registry"
	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/sdk/onboard"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
)

// world is a real authority and a folder that applies there.
type world struct {
	t         *testing.T
	authority *catest.CA
	folder    onboard.Folder
	options   onboard.FetchOptions
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, authority: catest.New(t, catest.Options{}), folder: onboard.Folder{Dir: filepath.Join(t.TempDir(), "platform")}}
	key, err := sm2.GenerateKey(rand.Reader)
	w.must(err)
	spki, err := protocol.MarshalKey(key.Public())
	w.must(err)
	ledger := filepath.Join(t.TempDir(), "ledger.pem")
	w.must(os.WriteFile(ledger, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}), 0o600))
	w.options = onboard.FetchOptions{Relay: "http://127.0.0.1:1", App: "http://127.0.0.1:2", LedgerKeyFile: ledger, TrustFile: filepath.Join(w.authority.Dir, trust.FileName)}
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) request() *caapi.PlatformState {
	w.t.Helper()
	state, err := w.folder.Request(w.t.Context(), w.authority.URL, caapi.PlatformRequest{Name: "示例交易平台", Organisation: "示例交易中心", Contact: "ops@example.cn",
		Origins: []string{"https://bid.example.cn"}})
	w.must(err)
	return state
}

func (w *world) approve(id string) {
	w.t.Helper()
	_, err := w.authority.Registry.ApprovePlatform(w.t.Context(), audit.Local("test"), registry.PlatformApproval{ID: id})
	w.must(err)
}

// TestOnboard: keys, application, certificate, configuration, and the next certificate under the same id.
func TestOnboard(t *testing.T) {
	w := newWorld(t)
	first := w.request()
	if again := w.request(); again.ID != first.ID {
		t.Errorf("asked again: application %s, then %s", first.ID, again.ID)
	}
	if _, err := w.folder.Fetch(t.Context(), w.options); protocol.CodeOf(err) != protocol.CodeRequestPending {
		t.Errorf("before the approval: %v", err)
	}
	w.approve(first.ID)
	state, err := w.folder.State(t.Context())
	if err != nil || state.State != caapi.PlatformIssued {
		t.Errorf("approved: %+v, %v", state, err)
	}
	issued, err := w.folder.Fetch(t.Context(), w.options)
	w.must(err)
	old, err := bidseal.LoadConfig(w.folder.Dir)
	w.must(err)
	entries, err := os.ReadDir(w.folder.Dir)
	w.must(err)
	for _, entry := range entries {
		info, err := entry.Info()
		w.must(err)
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s can be read by others: %s", entry.Name(), info.Mode())
		}
	}

	// a renewal that a newer version began keeps what that version wrote
	remembered := filepath.Join(w.folder.Dir, "renewal.json")
	w.must(os.WriteFile(remembered, []byte(`{"v":1,"request_key":"request-new.key.pem","chain":"chain-new.pem","later":{"a":1}}`), 0o600))
	next, err := w.folder.Renew(t.Context(), "ops@example.cn")
	w.must(err)
	if raw, err := os.ReadFile(remembered); err != nil || !strings.Contains(string(raw), `"later":{"a":1}`) || !strings.Contains(string(raw), next.ID) {
		t.Errorf("the renewal is remembered as %s, %v", raw, err)
	}
	w.approve(next.ID)
	next, err = w.folder.Renew(t.Context(), "ops@example.cn")
	w.must(err)
	if next.Registration == nil || next.Registration.PlatformID != issued.PlatformID {
		t.Errorf("renewed: %+v", next)
	}
	fresh, err := bidseal.LoadConfig(w.folder.Dir)
	w.must(err)
	if fresh.Chain[0].Equal(old.Chain[0]) {
		t.Error("the configuration names the old certificate")
	}
}

// TestOnboardRefuses: each refusal has its code, and no configuration is left behind.
func TestOnboardRefuses(t *testing.T) {
	w := newWorld(t)
	if _, err := w.folder.Fetch(t.Context(), w.options); !errors.Is(err, onboard.ErrNoApplication) {
		t.Errorf("nothing was requested: %v", err)
	}
	if _, err := w.folder.Request(t.Context(), "http://127.0.0.1:1", caapi.PlatformRequest{}); protocol.CodeOf(err) != protocol.CodeNetwork {
		t.Errorf("no authority: %v", err)
	}
	state := w.request()
	w.approve(state.ID)
	foreign := w.options
	foreign.RootFiles = []string{filepath.Join(catest.New(t, catest.Options{}).Dir, "root.pem")}
	if _, err := w.folder.Fetch(t.Context(), foreign); protocol.CodeOf(err) != protocol.CodeMalformed {
		t.Errorf("a trust file and roots: %v", err)
	}
	foreign.TrustFile = ""
	if _, err := w.folder.Fetch(t.Context(), foreign); protocol.CodeOf(err) != protocol.CodePlatformUntrusted {
		t.Errorf("another authority's root: %v", err)
	}
	other := newWorld(t)
	other.request()
	theirs, err := os.ReadFile(filepath.Join(other.folder.Dir, "request.key.pem"))
	w.must(err)
	w.must(os.WriteFile(filepath.Join(w.folder.Dir, "request.key.pem"), theirs, 0o600))
	if _, err := w.folder.Fetch(t.Context(), w.options); protocol.CodeOf(err) != protocol.CodePlatformUntrusted {
		t.Errorf("another key: %v", err)
	}
	if _, err := os.Stat(filepath.Join(w.folder.Dir, onboard.ConfigFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a configuration was written: %v", err)
	}
}

// TestOnboardRejected: the applicant is told why.
func TestOnboardRejected(t *testing.T) {
	w := newWorld(t)
	state := w.request()
	w.must(w.authority.Registry.RejectPlatform(t.Context(), audit.Local("test"), state.ID, "keys could not be confirmed"))
	if _, err := w.folder.Fetch(t.Context(), w.options); protocol.CodeOf(err) != protocol.CodeForbidden {
		t.Errorf("rejected: %v", err)
	}
}
