package wire

import (
	"net"
	"net/http"
	"slices"
	"sync"

	"github.com/gorilla/websocket"
)

// Buffers of a handshake, in bytes. They live as long as that takes.
const (
	readBuffer  = 256
	writeBuffer = 2048
)

// Handshake opens WebSockets of one subprotocol (RFC 6455, section 4.2). The caller
// has checked the origin of the page before.
type Handshake struct{ upgrader websocket.Upgrader }

// NewHandshake makes one. It is safe for concurrent use.
func NewHandshake(subprotocol string) *Handshake {
	return &Handshake{websocket.Upgrader{ReadBufferSize: readBuffer, WriteBufferSize: writeBuffer, WriteBufferPool: &sync.Pool{},
		Subprotocols: []string{subprotocol}, CheckOrigin: func(*http.Request) bool { return true }}}
}

// Subprotocol is the subprotocol of its connections.
func (h *Handshake) Subprotocol() string { return h.upgrader.Subprotocols[0] }

// Wanted reports whether the request asks for a WebSocket of the subprotocol.
func (h *Handshake) Wanted(r *http.Request) bool {
	return websocket.IsWebSocketUpgrade(r) && slices.Contains(websocket.Subprotocols(r), h.Subprotocol())
}

// Take answers the handshake and takes the connection over, or refuses it. The
// handler should return right after it, so that what the HTTP server holds for a
// request is freed.
func (h *Handshake) Take(w http.ResponseWriter, r *http.Request) (net.Conn, error) {
	ws, err := h.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return nil, err
	}
	return ws.NetConn(), nil // the library holds nothing that was read
}
