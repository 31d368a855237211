package relay

import (
	"context"

	"github.com/bidseal/bidseal/protocol"
	"github.com/gin-gonic/gin"
)

// phoneCall authenticates a phone's call about one challenge, reads the body
// into B and responds with what do returns.
func phoneCall[B, A any](r *Relay, c *gin.Context, limit int64, do func(context.Context, *phone, protocol.CID, B) (A, error)) {
	ph, raw, err := r.asPhone(c, limit)
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
	a, err := do(c.Request.Context(), ph, cid, body)
	r.answer(c, a, err)
}

func (r *Relay) onClaim(c *gin.Context) { phoneCall(r, c, maxSmallBody, r.claim) }

func (r *Relay) onOpen(c *gin.Context) {
	phoneCall(r, c, int64(maxSmallBody+2*r.limits.OpenBox), r.open)
}

func (r *Relay) onResult(c *gin.Context) { phoneCall(r, c, protocol.MaxRequestBody, r.result) }

func (r *Relay) onReject(c *gin.Context) { phoneCall(r, c, maxSmallBody, r.reject) }
