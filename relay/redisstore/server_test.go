//go:build redis

package redisstore

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

// TestMain keeps the client from writing about the connections that tests cut.
func TestMain(m *testing.M) {
	redis.SetLogger(&logging.VoidLogger{})
	os.Exit(m.Run())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// server is a redis-server of a test's own.
type server struct {
	addr string
	port int
	dir  string
	cmd  *exec.Cmd
}

// freePort is one that was free a moment ago.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// startTries is how often another process may take a free port first.
const startTries = 5

// startServer starts a redis-server, from Debian's package of that name, on a free
// port of this machine, and waits until it serves.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatalf("these tests need redis-server, Debian package redis-server: %v", err)
	}
	var log string
	for range startTries {
		port := freePort(t)
		s := &server{port: port, addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), dir: t.TempDir()}
		if log, err = s.run(t, binary, args); err == nil {
			return s
		}
	}
	t.Fatalf("redis-server does not start: %v\n%s", err, log)
	return nil
}

// run starts the process and reads its log until it is ready or gone.
func (s *server) run(t testing.TB, binary string, args []string) (log string, err error) {
	t.Helper()
	base := []string{"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--appendonly", "no", "--daemonize", "no"}
	for i, a := range args { // {port} and {dir} stand for what was chosen
		args[i] = strings.NewReplacer("{port}", strconv.Itoa(s.port), "{dir}", s.dir).Replace(a)
	}
	s.cmd = exec.Command(binary, append(base, args...)...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := s.cmd.StdoutPipe()
	must(t, err)
	must(t, s.cmd.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		log += lines.Text() + "\n"
		if strings.Contains(lines.Text(), "Ready to accept connections") || strings.Contains(lines.Text(), "Sentinel ID is") {
			drained := make(chan struct{})
			go func() {
				defer close(drained)
				for lines.Scan() {
				}
			}()
			t.Cleanup(func() {
				_ = s.cmd.Process.Kill()
				<-drained
				_ = s.cmd.Wait()
			})
			return log, nil
		}
	}
	return log, fmt.Errorf("ended: %w", s.cmd.Wait())
}

// client talks to the server beside the store.
func (s *server) client(t testing.TB) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: s.addr})
	t.Cleanup(func() { c.Close() })
	return c
}

// startCluster makes a Cluster of three masters and three replicas and waits
// until each node sees all slots and every master has its replica.
func startCluster(t testing.TB) []string {
	t.Helper()
	cli, err := exec.LookPath("redis-cli")
	if err != nil {
		t.Fatalf("these tests need redis-cli, Debian package redis-tools: %v", err)
	}
	var servers []*server
	var addrs []string
	for range 6 {
		s := startServer(t, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port", strconv.Itoa(freePort(t)),
			"--cluster-node-timeout", "2000", "--repl-diskless-sync-delay", "0")
		servers, addrs = append(servers, s), append(addrs, s.addr)
	}
	out, err := exec.Command(cli, append(append([]string{"--cluster", "create"}, addrs...), "--cluster-replicas", "1", "--cluster-yes")...).CombinedOutput()
	if err != nil {
		t.Fatalf("redis-cli --cluster create: %v\n%s", err, out)
	}
	for _, s := range servers {
		c := s.client(t)
		waitFor(t, s.addr+" to see the whole cluster", func() bool {
			info, err := c.ClusterInfo(t.Context()).Result()
			must(t, err)
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:6")
		})
	}
	return addrs
}

// waitFor asks until the answer is yes; the test's own deadline ends it.
func waitFor(t testing.TB, what string, yes func() bool) {
	t.Helper()
	for !yes() {
		if t.Context().Err() != nil {
			t.Fatalf("waiting for %s", what)
		}
	}
}

// openStore opens a store that a test closes by itself or not at all.
func openStore(t testing.TB, config Config) *Store {
	t.Helper()
	s, err := Open(config)
	must(t, err)
	t.Cleanup(func() { s.client.Close() })
	return s
}

// freshPrefix keeps tests on one server apart.
func freshPrefix(t testing.TB) string {
	t.Helper()
	id, err := randomText()
	must(t, err)
	return "t" + id[:12]
}

// passwordFile writes a password.
func passwordFile(t testing.TB, password string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(path, []byte(password+"\n"), 0o600))
	return path
}

// background outlives the test's context in clean-ups.
func background() context.Context { return context.Background() }
