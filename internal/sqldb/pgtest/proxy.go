//go:build postgres

package pgtest

import (
	"bytes"
	"context"
	"net"
	"net/url"
	"sync"
	"testing"
)

// Proxy stands between a client and the server and cuts connections.
type Proxy struct {
	target   string
	listener net.Listener

	mu    sync.Mutex
	cut   *Cut
	count int
	open  map[net.Conn]struct{}
}

// Cut says when a connection is cut.
type Cut struct {
	// At is what the client sends then, "commit\x00" for example.
	At string
	// Answered lets it reach the server, and cuts when the server answers: what
	// was asked for has happened, and the client does not hear of it. Otherwise it
	// never arrives.
	Answered bool
}

// NewProxy listens in front of a database and returns the URL through it.
func NewProxy(t testing.TB, address string) (*Proxy, string) {
	t.Helper()
	u, err := url.Parse(address)
	check(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	p := &Proxy{target: u.Host, listener: l, open: map[net.Conn]struct{}{}}
	u.Host = l.Addr().String()
	go p.accept()
	t.Cleanup(func() {
		l.Close()
		p.CutAll()
	})
	return p, u.String()
}

// Next cuts the first connection on which c comes about, and no other.
func (p *Proxy) Next(c Cut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = &c
}

// Cuts counts the connections that were cut by Next.
func (p *Proxy) Cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// CutAll cuts all connections.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		c.Close()
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.open[client], p.open[server] = struct{}{}, struct{}{}
		p.mu.Unlock()
		armed := make(chan struct{}) // closed when the next answer is not to arrive
		go p.pump(client, server, func(b []byte) bool { return p.asked(b, armed) })
		go p.pump(server, client, func([]byte) bool {
			select {
			case <-armed:
				return false
			default:
				return true
			}
		})
	}
}

// asked looks at what a client sends and reports whether it goes on.
func (p *Proxy) asked(b []byte, armed chan struct{}) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut == nil || !bytes.Contains(b, []byte(p.cut.At)) {
		return true
	}
	answered := p.cut.Answered
	p.cut = nil
	p.count++
	if answered {
		close(armed)
	}
	return answered
}

func (p *Proxy) pump(from, to net.Conn, pass func([]byte) bool) {
	defer func() {
		from.Close()
		to.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, from)
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if !pass(buffer[:n]) {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
