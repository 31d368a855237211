package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/registry"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/trust"
)

// TestPlatformRenewal: a platform of the command line from its application to a
// renewed certificate, which the SDK opens and a login uses.
func TestPlatformRenewal(t *testing.T) {
	l := newLife(t)
	dir := filepath.Join(l.dir, "platform")
	line := func(want int, v any, args ...string) {
		t.Helper()
		code, stdout, stderr := bidsealRun(t, append([]string{"platform", "--json"}, args...)...)
		if code != want {
			t.Fatalf("platform %v: exit code %d\n%s%s", args, code, stdout, stderr)
		}
		if err := json.Unmarshal([]byte(stdout), v); err != nil {
			t.Fatal(err)
		}
	}
	approve := func(id string) {
		t.Helper()
		if _, err := l.authority.Registry.ApprovePlatform(t.Context(), audit.Local("test"), registry.PlatformApproval{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	var state caapi.PlatformState
	line(cli.ExitOK, &state, "request", "--dir", dir, "--ca", l.authority.URL, "--name", threadName, "--organisation", "示例交易中心", "--contact", "ops@example.cn", "--origin", "https://bid.example.cn")
	approve(state.ID)
	var fetched struct{ Platform string }
	line(cli.ExitOK, &fetched, "fetch", "--dir", dir, "--relay", l.relay, "--app", threadApp, "--root", filepath.Join(l.authority.Dir, "root.pem"))

	old, err := bidseal.LoadConfig(dir)
	l.must(err)
	var again caapi.PlatformState
	line(cli.ExitOK, &state, "renew", "--dir", dir)
	line(cli.ExitOK, &again, "renew", "--dir", dir)
	if state.State != caapi.PlatformPending || again != state {
		t.Errorf("%+v, asked again %+v", state, again)
	}
	approve(state.ID)
	line(cli.ExitOK, &state, "renew", "--dir", dir)
	if state.Registration == nil || state.Registration.PlatformID != fetched.Platform {
		t.Fatalf("%+v", state)
	}
	fresh, err := bidseal.LoadConfig(dir)
	l.must(err)
	if old.Chain[0].Equal(fresh.Chain[0]) {
		t.Error("the configuration names the old certificate")
	}
	for _, config := range []bidseal.Config{old, fresh} {
		id, err := trust.ReadSubject(config.Chain[0], trust.DocumentationOIDs())
		l.must(err)
		if id.PlatformID != fetched.Platform || id.CommonName != threadName {
			t.Errorf("identity %+v", id)
		}
		if _, err := bidseal.New(config); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "renewal.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the renewal is still remembered: %v", err)
	}
	if code, _, _ := bidsealRun(t, "platform", "renew", "--dir", t.TempDir()); code != cli.ExitFailed {
		t.Errorf("a folder without a platform: exit code %d", code)
	}
}
