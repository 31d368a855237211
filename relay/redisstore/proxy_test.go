//go:build redis

package redisstore

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// fault is what happens to a connection as soon as data passes.
type fault int

const (
	pass       fault = iota
	cutReply         // the server did it; the answer never arrives
	cutRequest       // half of the request arrives, then nothing
)

// proxy stands between a store and its server and breaks connections.
type proxy struct {
	addr   string
	server string
	// about decides the fate of a request and of the answer that follows it.
	about atomic.Pointer[func(request []byte) fault]
	cuts  atomic.Int32

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newProxy(t testing.TB, server string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &proxy{addr: l.Addr().String(), server: server, conns: map[net.Conn]bool{}}
	t.Cleanup(func() { l.Close(); p.cutAll() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(client)
		}
	}()
	return p
}

// when sets what happens to requests.
func (p *proxy) when(about func(request []byte) fault) { p.about.Store(&about) }

// next breaks one request that holds a word.
func (p *proxy) next(word string, f fault) {
	var done atomic.Bool
	p.when(func(request []byte) fault {
		if bytes.Contains(bytes.ToLower(request), []byte(word)) && done.CompareAndSwap(false, true) {
			return f
		}
		return pass
	})
}

// cutAll breaks all connections there are.
func (p *proxy) cutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
}

func (p *proxy) keep(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = true
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer server.Close()
	p.keep(client)
	p.keep(server)
	var swallow atomic.Bool
	go func() {
		defer client.Close()
		defer server.Close()
		buffer := make([]byte, 64<<10)
		for {
			n, err := server.Read(buffer)
			if err != nil || swallow.Load() {
				return
			}
			if _, err := client.Write(buffer[:n]); err != nil {
				return
			}
		}
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		f := pass
		if about := p.about.Load(); about != nil {
			f = (*about)(buffer[:n])
		}
		switch f {
		case cutRequest:
			p.cuts.Add(1)
			_, _ = server.Write(buffer[:n/2])
			return
		case cutReply:
			p.cuts.Add(1)
			swallow.Store(true)
		}
		if _, err := io.Copy(server, bytes.NewReader(buffer[:n])); err != nil {
			return
		}
	}
}
