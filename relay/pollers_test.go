package relay_test

import (
	"testing"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
)

// Every visitor of a sign-in page holds a watch secret. One of them must
// not suffice to take every waiting place: long-polls count like sockets.
func TestPollersOfOneChallengeAreBounded(t *testing.T) {
	w := newWorld(t, func(c *relay.Config) { c.Limits.WatchesPerCID = 1 })
	c := w.platform.created(protocol.KindLogin, false)
	ws := c.watchPage("https://bid.example.cn", protocol.WatchBody{CID: c.cid, Watch: c.watch})
	first := next[protocol.WatchState](t, ws)
	_, _, err := c.poll("https://bid.example.cn", protocol.WatchBody{CID: c.cid, Watch: c.watch, After: first.Rev, Wait: 1})
	wantCode(t, err, protocol.CodeRateLimited)
	_, _, err = c.poll("https://bid.example.cn", protocol.WatchBody{CID: c.cid, Watch: c.watch})
	must(t, err) // who does not wait takes no place
}
