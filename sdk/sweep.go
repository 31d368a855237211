package bidseal

import (
	"context"
	"errors"
	"time"

	"github.com/bidseal/bidseal/protocol"
)

const (
	// sweepEvery is how often the Store is asked for what is due.
	sweepEvery = 2 * time.Second
	// sweepPage bounds the records looked at in one round.
	sweepPage = 256
	// maxOpen bounds the challenges of one platform that are open at a time.
	maxOpen = 100_000
	// expireEvery is how many rounds lie between two clearings of the Store.
	expireEvery = 150
	// giveUpAfter is how long after R.exp a challenge without any result is
	// waited for, if the relay cannot be reached.
	giveUpAfter = 2 * time.Minute
)

// sweep looks after what no event brings on, until ctx ends.
func (c *Client) sweep(ctx context.Context, f *feed) {
	for round := 1; ; round++ {
		c.logSweep(ctx, "read what is due", c.lookAtDue(ctx))
		c.hub.notifyAll() // another node may have brought something on that this one saw no event of
		c.logSweep(ctx, "save the feed's cursor", f.save(ctx))
		if round%expireEvery == 0 {
			c.logSweep(ctx, "clear the store", c.config.Store.Expire(ctx, c.config.Clock()))
		}
		if !c.pause(ctx, sweepEvery) {
			return
		}
	}
}

func (c *Client) logSweep(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil {
		c.config.Logger.WarnContext(ctx, what, "error", err)
	}
}

// lookAtAll looks at every challenge that the relay should know: it may have
// lost its store.
func (c *Client) lookAtAll(ctx context.Context) error {
	return c.lookAt(ctx, c.config.Clock().Add(retention), maxOpen, func(o *openChallenge) bool { return o.Registered })
}

// lookAtDue looks at the challenges that are due.
func (c *Client) lookAtDue(ctx context.Context) error {
	return c.lookAt(ctx, c.config.Clock(), sweepPage, func(*openChallenge) bool { return true })
}

func (c *Client) lookAt(ctx context.Context, due time.Time, limit int, which func(*openChallenge) bool) error {
	records, err := c.config.Store.List(ctx, due, limit)
	if err != nil {
		return err
	}
	for _, r := range records {
		o := &stored[openChallenge]{record: r}
		if err := c.vault.open(r, &o.v); err != nil {
			c.logSweep(ctx, "read a record", err)
			continue
		}
		if !which(&o.v) {
			continue
		}
		if err := c.look(ctx, o); err != nil && ctx.Err() == nil {
			c.log(ctx, "look after a challenge", o.v.CID, err)
			if err := c.postpone(ctx, o.v.CID); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// postpone sets the time of the next look.
func (c *Client) postpone(ctx context.Context, cid protocol.CID) error {
	_, err := c.change(ctx, cid, func(*openChallenge) (bool, error) { return true, nil })
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// look brings one challenge on.
func (c *Client) look(ctx context.Context, o *stored[openChallenge]) error {
	now := c.config.Clock()
	switch {
	case o.v.End != nil || o.v.Consumed:
		return c.settle(ctx, o)
	case now.After(o.v.unackedAt().Add(giveUpAfter)) && o.v.Verdict == nil:
		_, err := c.end(ctx, o.v.CID, ending{Code: protocol.CodeExpired})
		return err
	case o.v.Verdict != nil && now.After(o.v.unackedAt()):
		_, err := c.end(ctx, o.v.CID, ending{Code: protocol.CodeUnacked})
		return err
	case !o.v.Registered:
		_, err := c.register(ctx, o.v.CID)
		return err
	}
	s, err := c.ask(ctx, o.v.CID)
	if isGone(err) {
		return c.lost(ctx, o)
	}
	if err != nil {
		return err
	}
	if err := c.apply(ctx, s); err != nil {
		return err
	}
	return c.postpone(ctx, o.v.CID)
}

// lost ends a challenge that the relay has forgotten.
func (c *Client) lost(ctx context.Context, o *stored[openChallenge]) error {
	renew := o.v.Relay.State == protocol.StatePending || o.v.Relay.State == protocol.StateClaimed
	_, err := c.change(ctx, o.v.CID, func(o *openChallenge) (bool, error) {
		if o.End != nil || o.Consumed || o.Verdict != nil {
			return false, nil
		}
		o.End, o.Settled = &ending{Code: protocol.CodeRelayLost, Renew: renew}, true
		return true, nil
	})
	return err
}
