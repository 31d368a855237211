package redisstore

import (
	"net/url"
	"sync"

	"github.com/bidseal/bidseal/protocol"
)

// keys names what the store keeps. All keys of one platform carry the hash tag
// {p:platform} and share a slot of a cluster, so that one script reaches them.
type keys string // the configured prefix

// Keys without a platform.
func (k keys) id() string                    { return string(k) + ":id" }
func (k keys) platforms() string             { return string(k) + ":platforms" }           // set
func (k keys) index(cid protocol.CID) string { return string(k) + ":cid:" + cid.String() } // -> platform
func (k keys) nonce(nonce string) string     { return string(k) + ":nonce:" + nonce }
func (k keys) hit(key string) string         { return string(k) + ":hit:" + key }   // hash
func (k keys) channel(node string) string    { return string(k) + ":node:" + node } // pub/sub

// of returns a key of a platform. The id is escaped, so that no brace of its own
// ends the tag.
func (k keys) of(platform, what string) string {
	return string(k) + ":{p:" + url.PathEscape(platform) + "}:" + what
}

func (k keys) rev(platform string) string   { return k.of(platform, "rev") }   // the newest
func (k keys) feed(platform string) string  { return k.of(platform, "feed") }  // sorted set: cid by rev
func (k keys) due(platform string) string   { return k.of(platform, "due") }   // sorted set: cid by due, all that are not terminal
func (k keys) ended(platform string) string { return k.of(platform, "ended") } // sorted set: cid by time, all that are terminal

func (k keys) challenge(platform string, cid protocol.CID) string { // hash: rev, op, record
	return k.of(platform, "c:"+cid.String())
}

func (k keys) parts(platform string, cid protocol.CID) string { // hash: name -> data
	return k.of(platform, "part:"+cid.String())
}

// watchers are sorted sets of nodes by the time of their newest registration.
func (k keys) watchers(platform string) string { return k.of(platform, "watch") }

func (k keys) challengeWatchers(platform string, cid protocol.CID) string {
	return k.of(platform, "watch:"+cid.String())
}

// transition are the KEYS of a script that moves state.
func (k keys) transition(platform string, cid protocol.CID) []string {
	return []string{k.rev(platform), k.feed(platform), k.due(platform), k.ended(platform), k.challenge(platform, cid),
		k.parts(platform, cid), k.challengeWatchers(platform, cid), k.watchers(platform)}
}

// homes remembers which platform a cid belongs to, so that a read takes one round
// trip. The newest entries are kept, at least half of the limit.
type homes struct {
	limit int
	mu    sync.Mutex
	young map[protocol.CID]string
	old   map[protocol.CID]string
}

const maxHomes = 1 << 16

func newHomes(limit int) *homes { return &homes{limit: limit, young: map[protocol.CID]string{}} }

func (h *homes) get(cid protocol.CID) (platform string, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if platform, ok = h.young[cid]; !ok {
		platform, ok = h.old[cid]
	}
	return platform, ok
}

func (h *homes) put(cid protocol.CID, platform string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.young) >= h.limit/2 {
		h.old, h.young = h.young, map[protocol.CID]string{}
	}
	h.young[cid] = platform
}
