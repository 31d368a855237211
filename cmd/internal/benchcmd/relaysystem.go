package benchcmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/bidseal/bidseal/internal/bench"
)

// The systems that are compared.
const (
	sysOurs    = "bidseal"
	sysDefault = "centrifuge"
	sysTuned   = "centrifuge, tuned"
)

// systems starts them, one at a time.
type systems struct {
	dir    string
	peer   string // path of bench-peer; empty: the relay alone
	trust  benchTrust
	errOut io.Writer
	runs   int
}

func (s *systems) names() []string {
	if s.peer == "" {
		return []string{sysOurs}
	}
	return []string{sysOurs, sysDefault, sysTuned}
}

// session is one running system with its waiters.
type session struct {
	*bench.Process
	addr  string
	crowd *crowd
}

// setup is how a system is started.
type setup struct {
	memory bool // ours: challenges in memory
	redis  string
	ping   time.Duration
	fresh  bool // ours: a folder of its own, not that of the run
}

func (s *systems) start(ctx context.Context, name string, how setup) (*session, error) {
	var process *bench.Process
	order := bench.Order{Do: "start"}
	kind := subscriber()
	var err error
	if name == sysOurs {
		kind = pageWaiter()
		if order.Data, err = json.Marshal(s.trust); err != nil {
			return nil, err
		}
		process, err = s.startOurs(ctx, how)
	} else {
		args := []string{"-ping", how.ping.String()}
		if how.redis != "" {
			args = append(args, "-redis", how.redis)
		}
		if name == sysTuned {
			args = append(args, "-tuned")
		}
		process, err = bench.Start(ctx, s.errOut, s.peer, args...)
	}
	if err != nil {
		return nil, err
	}
	answer, err := process.Order(order)
	if err != nil {
		return nil, errors.Join(err, process.Stop())
	}
	return &session{Process: process, addr: answer.Addr, crowd: newCrowd(kind, answer.Addr)}, nil
}

func (s *systems) startOurs(ctx context.Context, how setup) (*bench.Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this binary: %w", err)
	}
	dir := filepath.Join(s.dir, "relay")
	if how.fresh || how.memory || how.redis != "" {
		s.runs++
		dir = filepath.Join(s.dir, fmt.Sprintf("relay-%d", s.runs))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder of the relay: %w", err)
	}
	args := []string{"relay-server", "--dir", dir, "--ping", how.ping.String()}
	if how.memory {
		args = append(args, "--memory")
	}
	if how.redis != "" {
		args = append(args, "--redis", how.redis)
	}
	return bench.Start(ctx, s.errOut, self, args...)
}

// stop ends the waiters and the process.
func (s *session) stop() error {
	s.crowd.close()
	return s.Stop()
}

// prepare makes what the waiters of ours wait for.
func (s *session) prepare(name string, count int) error {
	if name != sysOurs {
		return nil
	}
	_, err := s.Order(bench.Order{Do: "prepare", Count: count})
	return err
}
