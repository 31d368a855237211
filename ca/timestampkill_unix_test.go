//go:build unix

package ca_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/trust"
)

const stampChildVariable = "BIDSEAL_TEST_STAMP"

// TestStampingChild is the process that TestTimestampSerialsSurviveKill kills: it
// stamps as fast as it can and says each serial number after the token was made.
func TestStampingChild(t *testing.T) {
	began, dir, told := strings.Cut(os.Getenv(stampChildVariable), " ")
	if !told {
		return
	}
	seconds, err := strconv.ParseInt(began, 10, 64)
	must(t, err)
	start := time.Now()
	now := func() time.Time { return time.Unix(seconds, 0).Add(time.Since(start)) }
	a, err := ca.OpenWith(t.Context(), dir, ca.Options{Passphrase: []byte(testPassphrase), Now: now, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))},
		ca.Seams{TimestampBlock: 3}) // so that most kills fall near the edge of a block
	must(t, err)
	f := &fixture{Authority: a, dir: dir}
	for {
		stamp, err := f.stamp(t, a)
		must(t, err)
		fmt.Printf("serial %s\n", trust.SerialHex(stamp.Info.Serial))
	}
}

// TestTimestampSerialsSurviveKill: two processes stamp on one folder and are
// killed with SIGKILL, again and again; no serial number is ever said twice.
func TestTimestampSerialsSurviveKill(t *testing.T) {
	f := newFixture(t)
	self, err := os.Executable()
	must(t, err)
	seen := make(map[string]bool)
	for round := range 4 {
		f.clock.add(time.Hour) // a child's clock goes on from here
		said := make(chan string)
		var children []*osexec.Cmd
		var readers sync.WaitGroup
		for range 2 {
			child := osexec.CommandContext(t.Context(), self, "-test.run=^TestStampingChild$", "-test.count=1")
			child.Dir, child.Env = filepath.Dir(f.dir), append(os.Environ(), fmt.Sprintf("%s=%d %s", stampChildVariable, f.clock.Now().Unix(), f.dir))
			out, err := child.StdoutPipe()
			must(t, err)
			must(t, child.Start())
			children = append(children, child)
			readers.Go(func() {
				for lines := bufio.NewScanner(out); lines.Scan(); {
					if serial, ok := strings.CutPrefix(lines.Text(), "serial "); ok && len(serial) >= 8 {
						said <- serial
					}
				}
			})
		}
		go func() { readers.Wait(); close(said) }()
		heard := 0
		for serial := range said {
			if seen[serial] {
				t.Errorf("serial number %s twice", serial)
			}
			seen[serial] = true
			if heard++; heard == 7+round { // what is under way now is cut off
				for _, child := range children {
					must(t, child.Process.Kill())
				}
			}
		}
		for _, child := range children {
			if err := child.Wait(); err == nil {
				t.Error("a child was not killed")
			}
		}
	}
	if len(seen) < 4*7 {
		t.Errorf("%d serial numbers", len(seen))
	}
	_, err = f.Audit.Verify(t.Context())
	must(t, err)
}
