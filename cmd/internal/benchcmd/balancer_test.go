//go:build redis && postgres

package benchcmd

import (
	"bytes"
	"net"
	"sync"
	"testing"
)

// balancer is what stands before the nodes of a relay: each connection goes to
// the next node, or to another one where that is down. It can withhold a node's
// answers to results, so that a test kills the node while calls are under way that
// it has taken and nobody has heard of.
type balancer struct {
	listener net.Listener
	lost     chan struct{} // one for each answer that was withheld

	mu       sync.Mutex
	nodes    []string // addresses; empty while a node is down
	turn     int
	withhold int // index of a node, -1 for none
}

func newBalancer(t *testing.T, nodes int) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	b := &balancer{listener: l, lost: make(chan struct{}, 1<<16), nodes: make([]string, nodes), withhold: -1}
	go b.accept()
	t.Cleanup(func() { l.Close() })
	return b
}

func (b *balancer) origin() string { return "http://" + b.listener.Addr().String() }

// set names the address of a node, empty where it is down.
func (b *balancer) set(node int, address string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.nodes[node] = address
}

// mute withholds a node's answers to results, -1 for none's.
func (b *balancer) mute(node int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.withhold = node
}

func (b *balancer) muted(node int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.withhold == node
}

func (b *balancer) accept() {
	for {
		client, err := b.listener.Accept()
		if err != nil {
			return
		}
		go b.serve(client)
	}
}

// dial connects to the next node that is up.
func (b *balancer) dial() (conn net.Conn, node int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range b.nodes {
		b.turn++
		node = b.turn % len(b.nodes)
		if b.nodes[node] == "" {
			continue
		}
		if conn, err := net.Dial("tcp", b.nodes[node]); err == nil {
			return conn, node
		}
	}
	return nil, 0
}

func (b *balancer) serve(client net.Conn) {
	defer client.Close()
	server, node := b.dial()
	if server == nil {
		return
	}
	defer server.Close()
	asked := &lastRequest{}
	go func() {
		defer server.Close()
		defer client.Close()
		pump(client, server, func(p []byte) bool { asked.see(p); return true })
	}()
	pump(server, client, func([]byte) bool {
		if !asked.isResult() || !b.muted(node) {
			return true
		}
		b.lost <- struct{}{}
		return false
	})
}

// pump copies what pass lets through, until one side ends.
func pump(from, to net.Conn, pass func(p []byte) bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && pass(buffer[:n]) {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// lastRequest is what a connection was last used for.
type lastRequest struct {
	mu     sync.Mutex
	result bool
}

func (l *lastRequest) see(p []byte) {
	line, _, _ := bytes.Cut(p, []byte("\r\n"))
	if !bytes.HasSuffix(line, []byte(" HTTP/1.1")) {
		return // the rest of a body
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.result = bytes.HasPrefix(line, []byte("POST ")) && bytes.HasSuffix(line, []byte("/result HTTP/1.1"))
}

func (l *lastRequest) isResult() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.result
}
