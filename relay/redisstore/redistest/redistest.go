// Package redistest starts private Redis servers for tests: single ones, with
// TLS, behind Sentinels, and a Cluster. It needs redis-server and redis-cli of
// Redis 7, Debian package redis-server, and fails a test where they are missing.
package redistest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Server is a redis-server of a test's own. It keeps nothing on disk and ends
// with the test.
type Server struct {
	Addr string // host:port
	Port int
	Dir  string

	name string
	args []string
	cmd  *exec.Cmd
	gone chan struct{} // closed when the process has ended
}

// startTries is how often another process may take a free port first.
const startTries = 5

// Start starts a server on a free port of this machine and waits until it
// serves. In the arguments {port} and {dir} stand for what was chosen.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s := &Server{name: binary(t, "redis-server"), args: args, Dir: t.TempDir()}
	t.Cleanup(func() { s.Kill(t) })
	var log string
	var err error
	for range startTries {
		s.Port = FreePort(t)
		s.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port))
		if log, err = s.run(t); err == nil {
			return s
		}
	}
	t.Fatalf("redis-server does not start: %v\n%s", err, log)
	return nil
}

// FreePort is one that was free a moment ago.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func binary(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("this test needs %s, Debian package redis-server: %v", name, err)
	}
	return path
}

// run starts the process and reads its log until it is ready or gone.
func (s *Server) run(t testing.TB) (log string, err error) {
	t.Helper()
	args := []string{"--port", strconv.Itoa(s.Port), "--bind", "127.0.0.1", "--dir", s.Dir, "--save", "", "--appendonly", "no", "--daemonize", "no"}
	fill := strings.NewReplacer("{port}", strconv.Itoa(s.Port), "{dir}", s.Dir)
	first := 0
	if len(s.args) > 0 && !strings.HasPrefix(s.args[0], "--") { // a configuration file, as Sentinels need one
		args, first = append([]string{fill.Replace(s.args[0])}, args...), 1
	}
	for _, a := range s.args[first:] {
		args = append(args, fill.Replace(a))
	}
	s.cmd = exec.Command(s.name, args...) //nolint:gosec // a test's own server
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		log += lines.Text() + "\n"
		if strings.Contains(lines.Text(), "Ready to accept connections") || strings.Contains(lines.Text(), "Sentinel ID is") {
			s.gone = gone
			go func() {
				defer close(gone)
				for lines.Scan() {
				}
			}()
			return log, nil
		}
	}
	return log, fmt.Errorf("ended: %w", s.cmd.Wait())
}

// Kill is kill -9. A server that was killed may be killed again.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	if s.gone == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.gone
	_ = s.cmd.Wait()
	s.gone = nil
}

// Again starts a killed server on the same port: a new one, and an empty one
// unless its arguments keep data.
func (s *Server) Again(t testing.TB) {
	t.Helper()
	if log, err := s.run(t); err != nil {
		t.Fatalf("redis-server does not start again: %v\n%s", err, log)
	}
}

// Do runs one command by redis-cli and returns what it printed, without the last
// line feed.
func (s *Server) Do(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), binary(t, "redis-cli"), append([]string{"-p", strconv.Itoa(s.Port)}, args...)...).CombinedOutput() //nolint:gosec // a test's own server
	if err != nil {
		t.Fatalf("redis-cli %q: %v\n%s", args, err, out)
	}
	return strings.TrimSuffix(string(out), "\n")
}

// WaitFor runs a command until its answer holds what is wanted.
func (s *Server) WaitFor(t testing.TB, want string, args ...string) {
	t.Helper()
	s.Until(t, func(answer string) bool { return strings.Contains(answer, want) }, args...)
}

// Until runs a command until its answer will do. The deadline is that of the
// whole test.
func (s *Server) Until(t testing.TB, enough func(answer string) bool, args ...string) {
	t.Helper()
	for !enough(s.Do(t, args...)) {
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// Cluster starts three masters with a replica each and waits until every node
// sees all slots served.
func Cluster(t testing.TB) []*Server {
	t.Helper()
	servers, create := make([]*Server, 6), []string{"--cluster", "create"}
	for i := range servers {
		servers[i] = Start(t, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port", strconv.Itoa(FreePort(t)),
			"--cluster-node-timeout", "2000", "--repl-diskless-sync-delay", "0")
		create = append(create, servers[i].Addr)
	}
	create = append(create, "--cluster-replicas", "1", "--cluster-yes")
	if out, err := exec.CommandContext(t.Context(), binary(t, "redis-cli"), create...).CombinedOutput(); err != nil { //nolint:gosec // a test's own servers
		t.Fatalf("redis-cli --cluster create: %v\n%s", err, out)
	}
	for _, s := range servers {
		s.WaitFor(t, "cluster_known_nodes:6", "cluster", "info")
		s.WaitFor(t, "cluster_state:ok", "cluster", "info")
	}
	return servers
}

// Sentinel starts a server, a replica of it, and a Sentinel that watches it under
// the name "relay".
func Sentinel(t testing.TB) (sentinel, master, replica *Server) {
	t.Helper()
	master = Start(t)
	replica = Start(t, "--replicaof", "127.0.0.1 "+strconv.Itoa(master.Port), "--repl-diskless-sync-delay", "0")
	replica.WaitFor(t, "master_link_status:up", "info", "replication")
	file := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor relay 127.0.0.1 %d 1\nsentinel down-after-milliseconds relay 1000\nsentinel failover-timeout relay 3000\n", master.Port)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel = Start(t, file, "--sentinel")
	sentinel.WaitFor(t, "slaves=1", "info", "sentinel")
	return sentinel, master, replica
}

// Addrs are the addresses of servers.
func Addrs(servers ...*Server) []string {
	list := make([]string, len(servers))
	for i, s := range servers {
		list[i] = s.Addr
	}
	return list
}
