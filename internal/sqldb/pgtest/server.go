//go:build postgres

package pgtest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Server is a running PostgreSQL.
type Server struct {
	// Port on the loopback.
	Port int

	dir, password string
	bin           string
	cmd           *osexec.Cmd
	alive         io.Closer     // what the watching shell reads; closed, it stops the server
	gone          chan struct{} // closed when the process has ended
}

// Debian's place for the server's programs; they are not in PATH.
const programs = "/usr/lib/postgresql/15/bin"

// nobody is the user and group that a server runs as where root starts it.
const nobody = 65534

// user is the role that tests connect as.
const user = "bidseal"

// startTries: a port may be taken between choosing it and listening.
const startTries = 5

// Start starts a server of its own for a test that stops it.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := newServer()
	check(t, err)
	t.Cleanup(s.remove)
	check(t, s.start())
	t.Cleanup(s.Stop)
	return s
}

// newServer makes the folder of a server.
func newServer() (*Server, error) {
	s := &Server{bin: programs}
	if _, err := os.Stat(filepath.Join(s.bin, "initdb")); err != nil {
		return nil, fmt.Errorf("package postgresql-15 of Debian is needed: %w", err)
	}
	secret := make([]byte, 16)
	if _, err := rand.Read(secret); err != nil {
		return nil, err
	}
	s.password = hex.EncodeToString(secret)
	var err error
	if s.dir, err = os.MkdirTemp("", "pgtest"); err != nil {
		return nil, err
	}
	if err := s.initialise(); err != nil {
		s.remove()
		return nil, err
	}
	return s, nil
}

func (s *Server) initialise() error {
	if os.Getuid() == 0 {
		if err := os.Chown(s.dir, nobody, nobody); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	cmd := s.command(ctx, "/bin/sh", "-c", `umask 077; cat >password; exec "$@"`, "sh", filepath.Join(s.bin, "initdb"), "-D", s.data(),
		"-U", user, "--pwfile=password", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
	cmd.Stdin = strings.NewReader(s.password + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) remove() { os.RemoveAll(s.dir) }

// command runs a program as an unprivileged user.
func (s *Server) command(ctx context.Context, name string, args ...string) *osexec.Cmd {
	cmd := osexec.CommandContext(ctx, name, args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"LC_ALL=C.UTF-8", "PATH=/usr/bin:/bin"}
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return cmd
}

// URL of a database of this server.
func (s *Server) URL(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(user), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)), Path: "/" + database}
	return u.String()
}

// Addr is host:port of the server.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

func (s *Server) start() error {
	var err error
	for range startTries {
		if s.Port, err = freePort(); err != nil {
			return err
		}
		if err = s.run(); err == nil {
			return nil
		}
	}
	return err
}

// watch runs the server until standard input ends: the pipe is held by the
// process that runs the tests, and closes with it however it ends.
const watch = `exec 3<&0
"$@" 2>&1 & server=$!
(cat <&3; kill -QUIT $server) >/dev/null 2>&1 &
wait $server`

// run starts the process and waits until it serves.
func (s *Server) run() error {
	args := []string{"-c", watch, "sh", filepath.Join(s.bin, "postgres"), "-D", s.data(), "-p", strconv.Itoa(s.Port)}
	for _, setting := range []string{
		"listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200", "fsync=off", "full_page_writes=off",
		"shared_buffers=32MB", "log_min_messages=warning", "logging_collector=off",
	} {
		args = append(args, "-c", setting)
	}
	cmd := s.command(context.Background(), "/bin/sh", args...)
	alive, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	gone := make(chan struct{})
	lines := bufio.NewScanner(out)
	var log bytes.Buffer
	for lines.Scan() {
		fmt.Fprintln(&log, lines.Text())
		if strings.Contains(lines.Text(), "ready to accept connections") {
			s.cmd, s.alive, s.gone = cmd, alive, gone
			go func() {
				defer close(gone)
				for lines.Scan() {
				}
				_ = cmd.Wait()
			}()
			return nil
		}
	}
	alive.Close()
	return fmt.Errorf("postgres does not start: %w\n%s", cmd.Wait(), log.Bytes())
}

// Stop is an immediate shutdown, as a crash is: connections are cut, what was not
// committed is undone, and the next start recovers from the log. A server that is
// stopped may be stopped again.
func (s *Server) Stop() {
	if s.gone == nil {
		return
	}
	s.alive.Close()
	<-s.gone
	s.gone = nil
}

// Again starts a stopped server on the same port, with its data.
func (s *Server) Again(t testing.TB) {
	t.Helper()
	if s.gone != nil {
		t.Fatal("pgtest: the server runs")
	}
	check(t, s.run())
}

// freePort is one that was free a moment ago.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
