package relay

import (
	"context"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/gin-gonic/gin"
)

// platformCall authenticates a platform's call about one challenge, reads the
// body into B and responds with what do returns.
func platformCall[B any](r *Relay, c *gin.Context, limit int64, do func(context.Context, *platformKey, protocol.CID, B) (protocol.ChallengeState, error)) {
	p, raw, err := r.asPlatform(c, limit)
	if err != nil {
		r.refuse(c, err)
		return
	}
	var body B
	if err := protocol.DecodeJSON(raw, &body); err != nil {
		r.refuse(c, err)
		return
	}
	cid, err := challengeID(c)
	if err != nil {
		r.refuse(c, err)
		return
	}
	state, err := do(c.Request.Context(), p, cid, body)
	r.answer(c, state, err)
}

func (r *Relay) onCreate(c *gin.Context) {
	p, raw, err := r.asPlatform(c, protocol.MaxRequestBody)
	if err != nil {
		r.refuse(c, err)
		return
	}
	cid, err := challengeID(c)
	if err != nil {
		r.refuse(c, err)
		return
	}
	state, err := r.create(c.Request.Context(), p, cid, raw)
	r.answer(c, state, err)
}

func (r *Relay) onReady(c *gin.Context) { platformCall(r, c, protocol.MaxRequestBody, r.ready) }

func (r *Relay) onAck(c *gin.Context) { platformCall(r, c, maxSmallBody, r.ack) }

func (r *Relay) onCancel(c *gin.Context) {
	p, raw, err := r.asPlatform(c, maxSmallBody)
	if err != nil {
		r.refuse(c, err)
		return
	}
	if len(raw) != 0 {
		r.refuse(c, protocol.Errorf(protocol.CodeMalformed, "cancel has no body"))
		return
	}
	cid, err := challengeID(c)
	if err != nil {
		r.refuse(c, err)
		return
	}
	state, err := r.cancel(c.Request.Context(), p, cid)
	r.answer(c, state, err)
}

// onFail serves both sides, told apart by how they authenticate.
func (r *Relay) onFail(c *gin.Context) {
	if isPhone(c) {
		phoneCall(r, c, maxSmallBody, r.failByPhone)
		return
	}
	platformCall(r, c, maxSmallBody, r.failByPlatform)
}

// onRead serves both sides; with wait it is a long-poll.
func (r *Relay) onRead(c *gin.Context) {
	read, err := r.reader(c)
	if err != nil {
		r.refuse(c, err)
		return
	}
	cid, err := challengeID(c)
	if err != nil {
		r.refuse(c, err)
		return
	}
	values, err := query(c, "after", "wait")
	if err != nil {
		r.refuse(c, err)
		return
	}
	after, wait, err := cursor(values)
	if err != nil {
		r.refuse(c, err)
		return
	}
	ctx := c.Request.Context()
	var found Challenge
	err = r.await(ctx, topic{cid: cid}, 0, wait, func() (bool, error) {
		var err error
		found, err = read(ctx, cid)
		return found.Rev > after, err
	})
	if err != nil {
		r.refuse(c, err)
		return
	}
	state, err := r.full(ctx, found)
	r.answer(c, state, err)
}

// reader authenticates the caller and returns how it may read.
func (r *Relay) reader(c *gin.Context) (func(context.Context, protocol.CID) (Challenge, error), error) {
	if isPhone(c) {
		ph, _, err := r.asPhone(c, 0)
		return func(ctx context.Context, cid protocol.CID) (Challenge, error) { return r.readByPhone(ctx, ph, cid) }, err
	}
	p, _, err := r.asPlatform(c, 0)
	return func(ctx context.Context, cid protocol.CID) (Challenge, error) { return r.read(ctx, p, cid) }, err
}

// onFeed serves a page of a platform's feed; with wait it waits for an event.
func (r *Relay) onFeed(c *gin.Context) {
	p, _, err := r.asPlatform(c, 0)
	if err != nil {
		r.refuse(c, err)
		return
	}
	values, err := query(c, "store", "after", "limit", "wait")
	if err != nil {
		r.refuse(c, err)
		return
	}
	after, wait, err := cursor(values)
	if err != nil {
		r.refuse(c, err)
		return
	}
	limit, err := number(values, "limit")
	if err != nil {
		r.refuse(c, err)
		return
	}
	page, err := r.awaitFeed(c.Request.Context(), p, values.Get("store"), after, int(min(limit, protocol.MaxFeedPage)), wait)
	r.answer(c, page, err)
}

func (r *Relay) awaitFeed(ctx context.Context, p *platformKey, store string, after int64, limit int, wait time.Duration) (protocol.FeedPage, error) {
	var page protocol.FeedPage
	err := r.await(ctx, topic{platform: p.ID}, 0, wait, func() (bool, error) {
		var err error
		page, err = r.feed(ctx, p, store, after, limit)
		return len(page.Events) > 0, err
	})
	return page, err
}

func (r *Relay) onLedgerHead(c *gin.Context) {
	head, err := r.cfg.Outcomes.Head(c.Request.Context())
	if err != nil {
		err = r.storeError(c.Request.Context(), err)
	}
	r.answer(c, head, err)
}
