package cacmd

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/cmd/internal/cli"
)

// serveBriefly runs `ca serve` on free ports until do returns.
func serveBriefly(t *testing.T, do func(public, admin string), args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	ended := make(chan int, 1)
	var stderr strings.Builder
	go func() {
		ended <- cli.Execute(ctx, cli.NewRoot("bidseal", "", New()), append([]string{"ca", "serve", "--listen", "127.0.0.1:0", "--json"}, args...), strings.NewReader(""), in, &stderr)
		in.Close()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	var ready struct{ Listen, Admin string }
	if err == nil {
		err = json.Unmarshal([]byte(line), &ready)
	}
	if err != nil {
		cancel()
		<-ended
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	do(ready.Listen, ready.Admin)
	cancel()
	if code := <-ended; code != cli.ExitOK {
		t.Fatalf("exit code %d\n%s", code, stderr.String())
	}
}

// TestMetricsArePrivate: they stand on the operator's listener, where one is given,
// and never on the public one.
func TestMetricsArePrivate(t *testing.T) {
	data := filepath.Join(t.TempDir(), "ca")
	t.Setenv(caPassphraseEnv, "a passphrase for tests")
	if code, _, stderr := bidsealRun(t, "ca", "init", "--documentation-oids", "--data", data, "--base-url", "http://ca.example"); code != cli.ExitOK {
		t.Fatal(stderr)
	}
	check := func(address, path string, want int) {
		t.Helper()
		resp, err := http.Get("http://" + address + path) //nolint:noctx // a test
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
	serveBriefly(t, func(public, admin string) {
		check(public, "/metrics", http.StatusNotFound)
		if admin != "" {
			t.Errorf("metrics on %s, which nobody asked for", admin)
		}
	}, "--data", data)
	serveBriefly(t, func(public, admin string) {
		check(public, "/metrics", http.StatusNotFound)
		check(public, "/readyz", http.StatusOK)
		for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
			check(admin, path, http.StatusOK)
		}
		check(admin, "/v1/info", http.StatusNotFound)
	}, "--data", data, "--admin", "127.0.0.1:0")
}
