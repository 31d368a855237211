package relay

import (
	"context"
	"net"
	"net/http"
	"slices"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay/wire"
	"github.com/gin-gonic/gin"
)

// handshakes are those of the two kinds of WebSocket.
type handshakes struct{ feed, page *wire.Handshake }

func newHandshakes() handshakes {
	return handshakes{feed: wire.NewHandshake(protocol.FeedSubprotocol), page: wire.NewHandshake(protocol.WatchSubprotocol)}
}

// upgrade takes the connection over. The handler returns right after it, so that
// what the HTTP server holds for a request is freed.
func (r *Relay) upgrade(c *gin.Context, h *wire.Handshake) (net.Conn, bool) {
	if !h.Wanted(c.Request) {
		r.refuse(c, protocol.Errorf(protocol.CodeMalformed, "want a WebSocket of subprotocol %s", h.Subprotocol()))
		return nil, false
	}
	if n := r.metrics.connections.Add(1); n > int64(r.limits.Connections) || r.draining.Load() {
		r.metrics.connections.Add(-1)
		r.refuse(c, &protocol.Error{Code: protocol.CodeOverloaded, Detail: "no more connections", RetryAfter: 5})
		return nil, false
	}
	taken, err := h.Take(c.Writer, c.Request)
	if err != nil {
		r.metrics.connections.Add(-1)
		c.Abort() // the handshake has answered
		return nil, false
	}
	return taken, true
}

// adopt puts a connection on the wheel and counts the goroutine that serves it.
func (r *Relay) adopt(c *wire.Conn) bool {
	r.inflight.Add(1)
	if r.wheel.Add(c) {
		return true
	}
	r.inflight.Done()
	c.Shut(wire.CloseDrain, "draining")
	r.metrics.connections.Add(-1)
	return false
}

func (r *Relay) onFeedSocket(c *gin.Context) {
	p, _, err := r.asPlatform(c, 0)
	if err != nil {
		r.refuse(c, err)
		return
	}
	if ws, ok := r.upgrade(c, r.handshakes.feed); ok {
		f := &feedConn{Conn: wire.Conn{Net: ws, Limits: &r.wire}, relay: r, platform: p}
		if r.adopt(&f.Conn) {
			go r.serveFeed(f)
		}
	}
}

func (r *Relay) onWatchSocket(c *gin.Context) {
	origin, err := r.pageOrigin(c)
	if err != nil {
		r.refuse(c, err)
		return
	}
	if ws, ok := r.upgrade(c, r.handshakes.page); ok {
		p := &pageConn{Newest: wire.Newest{Conn: wire.Conn{Net: ws, Limits: &r.wire}}, relay: r}
		if r.adopt(&p.Conn) {
			go r.servePage(p, origin)
		}
	}
}

// pageOrigin reads the Origin, empty if the caller is not a browser. At this
// point only origins that no platform has are refused; the challenge's platform
// is known after the first frame.
func (r *Relay) pageOrigin(c *gin.Context) (string, error) {
	values := c.Request.Header.Values("Origin")
	if len(values) == 0 {
		return "", nil
	}
	ok, err := r.knownOrigin(c.Request.Context(), values[0])
	if err != nil {
		return "", r.storeError(c.Request.Context(), err)
	}
	if len(values) != 1 || !ok {
		return "", protocol.Errorf(protocol.CodeOriginRefused, "pages of this origin may not watch")
	}
	return values[0], nil
}

func (r *Relay) knownOrigin(ctx context.Context, origin string) (bool, error) {
	if slices.Contains(r.cfg.Origins, origin) {
		return true, nil
	}
	all, err := r.origins.get(ctx, struct{}{})
	return slices.Contains(all, origin), err
}

// allOrigins lists the origins of all platforms.
func allOrigins(d Directory) func(context.Context, struct{}) ([]string, error) {
	return func(ctx context.Context, _ struct{}) ([]string, error) {
		platforms, err := d.Platforms(ctx)
		var all []string
		for _, p := range platforms {
			if !p.Blocked {
				all = append(all, p.Origins...)
			}
		}
		return all, err
	}
}

// cors lets pages of known origins read answers of the long-poll. No cookie and
// no other credential is involved.
func cors(c *gin.Context, origin string) {
	c.Header("Vary", "Origin")
	if origin != "" {
		c.Header("Access-Control-Allow-Origin", origin)
	}
}

func (r *Relay) onWatchOptions(c *gin.Context) {
	origin, err := r.pageOrigin(c)
	if err != nil {
		r.refuse(c, err)
		return
	}
	cors(c, origin)
	c.Header("Access-Control-Allow-Methods", "POST")
	c.Header("Access-Control-Allow-Headers", "Content-Type")
	c.Header("Access-Control-Max-Age", "600")
	c.Status(http.StatusNoContent)
}

// onWatch is the long-poll beside the WebSocket.
func (r *Relay) onWatch(c *gin.Context) {
	origin, err := r.pageOrigin(c)
	if err != nil {
		r.refuse(c, err)
		return
	}
	cors(c, origin)
	raw, err := r.readBody(c, wire.MaxMessage)
	if err != nil {
		r.refuse(c, err)
		return
	}
	var b protocol.WatchBody
	if err := protocol.DecodeJSON(raw, &b); err != nil {
		r.refuse(c, err)
		return
	}
	wait, err := waitOf(b.Wait)
	if err != nil {
		r.refuse(c, err)
		return
	}
	ctx := c.Request.Context()
	var found Challenge
	err = r.await(ctx, topic{cid: b.CID}, r.limits.WatchesPerCID, wait, func() (bool, error) {
		var err error
		found, err = r.watched(ctx, b, origin)
		return found.Rev > b.After, err
	})
	r.answer(c, watchView(found, r.now()), err)
}
