// Package bench is what the sides of a measurement share: how a driver starts
// and orders a measured process, how a measured process answers, how both keep
// time, and how a process reads what it costs.
//
// A measured process is driven by one JSON line per order on stdin, answered by
// one on stdout, and ends with stdin. It knows nothing of what is compared.
package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
)

// Order is one line for a measured process; Do names it, the rest is its own.
type Order struct {
	Do     string `json:"do"`
	Count  int    `json:"count,omitempty"`  // of what Do is about
	Topics int    `json:"topics,omitempty"` // number i goes to topic i modulo Topics
	Path   string `json:"path,omitempty"`   // file to write
	Data   []byte `json:"data,omitempty"`
}

// Answer is the line that answers; Error is set where the order failed.
type Answer struct {
	Error string `json:"error,omitempty"`
	Addr  string `json:"addr,omitempty"` // host:port that serves, or takes triggers
	Usage
}

// Serve answers orders until in ends.
func Serve[O, A any](in io.Reader, out io.Writer, do func(O) (A, error), failed func(error) A) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	enc := json.NewEncoder(out)
	for lines.Scan() {
		var order O
		if err := json.Unmarshal(lines.Bytes(), &order); err != nil {
			return fmt.Errorf("order: %w", err)
		}
		answer, err := do(order)
		if err != nil {
			answer = failed(err)
		}
		if err := enc.Encode(answer); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
	return lines.Err()
}

// Failed is the Answer to an order that failed.
func Failed(err error) Answer { return Answer{Error: err.Error()} }

// Process is the driver's handle of a measured process.
type Process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// Start runs a binary as a measured process; it is killed when ctx ends.
func Start(ctx context.Context, errOut io.Writer, name string, args ...string) (*Process, error) {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // the benchmark's own binaries
	cmd.Stderr = errOut
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the measured process: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the measured process: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the measured process: %w", err)
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	return &Process{cmd: cmd, in: in, out: lines}, nil
}

// Order sends an order and waits for its answer.
func (p *Process) Order(o Order) (Answer, error) {
	var a Answer
	if err := p.Exchange(o, &a); err != nil {
		return a, fmt.Errorf("order %s: %w", o.Do, err)
	}
	if a.Error != "" {
		return a, fmt.Errorf("order %s: %s", o.Do, a.Error)
	}
	return a, nil
}

// Exchange sends any line and reads the answer's line.
func (p *Process) Exchange(order, answer any) error {
	if err := json.NewEncoder(p.in).Encode(order); err != nil {
		return err
	}
	if !p.out.Scan() {
		return fmt.Errorf("the measured process ended: %w", errors.Join(p.out.Err(), io.ErrUnexpectedEOF))
	}
	return json.Unmarshal(p.out.Bytes(), answer)
}

// Stop ends the process by closing its stdin and waits for it.
func (p *Process) Stop() error { return errors.Join(p.in.Close(), p.cmd.Wait()) }
