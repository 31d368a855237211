package redisstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
	"github.com/redis/go-redis/v9"
)

// head are the arguments that all transitions start with.
func (s *Store) head(c relay.Challenge, record []byte) ([]any, error) {
	op, err := randomText()
	if err != nil {
		return nil, err
	}
	due := "+inf"
	if at := c.Progress.Due(); at != 0 {
		due = strconv.FormatInt(at, 10)
	}
	return []any{s.micros(), op, c.CID.String(), c.Platform, s.keys.channel(""), record, due}, nil
}

// verdict is a script's reply: a word, then a rev and a record if there are any.
type verdict struct {
	word   string
	rev    int64
	record []byte
}

func (s *Store) transition(ctx context.Context, script *redis.Script, c relay.Challenge, args []any) (verdict, error) {
	if err := ctx.Err(); err != nil {
		return verdict{}, err
	}
	list, err := script.Run(ctx, s.client, s.keys.transition(c.Platform, c.CID), args...).StringSlice()
	if err != nil {
		return verdict{}, err
	}
	v := verdict{}
	switch len(list) {
	case 3:
		v.record = []byte(list[2])
		fallthrough
	case 2:
		if v.rev, err = strconv.ParseInt(list[1], 10, 64); err != nil {
			return verdict{}, fmt.Errorf("rev %q: %w", list[1], err)
		}
		fallthrough
	case 1:
		v.word = list[0]
		return v, nil
	}
	return verdict{}, fmt.Errorf("a script answered %d values", len(list))
}

// Create stores a new challenge.
func (s *Store) Create(ctx context.Context, c relay.Challenge, request []byte, maxOpen int) (relay.Challenge, bool, error) {
	stored, created, err := s.create(ctx, c, request, maxOpen)
	if err != nil {
		return relay.Challenge{}, false, fmt.Errorf("create challenge: %w", err)
	}
	return stored, created, nil
}

func (s *Store) create(ctx context.Context, c relay.Challenge, request []byte, maxOpen int) (relay.Challenge, bool, error) {
	record, err := c.Encode()
	if err != nil {
		return relay.Challenge{}, false, err
	}
	args, err := s.head(c, record)
	if err != nil {
		return relay.Challenge{}, false, err
	}
	if err := s.enter(ctx, c.CID, c.Platform); err != nil {
		return relay.Challenge{}, false, err
	}
	v, err := s.transition(ctx, s.scripts.create, c, append(args, maxOpen, relay.PartRequest, request))
	if err != nil {
		return relay.Challenge{}, false, err
	}
	switch v.word {
	case "created":
		c.Rev = v.rev
		return c, true, nil
	case "full":
		return relay.Challenge{}, false, relay.ErrFull
	}
	old, err := relay.DecodeChallenge(c.CID, c.Platform, v.rev, v.record)
	if err != nil {
		return relay.Challenge{}, false, err
	}
	if !bytes.Equal(old.CreateDigest, c.CreateDigest) {
		return relay.Challenge{}, false, relay.ErrExists
	}
	return old, false, nil
}

// enter writes what lies in other slots than the challenge, before it: whose the
// cid is, and that the platform is one to sweep. If the rest never follows,
// the index entry is dropped later.
func (s *Store) enter(ctx context.Context, cid protocol.CID, platform string) error {
	var owner *redis.StatusCmd
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.SAdd(ctx, s.keys.platforms(), platform)
		owner = s.putOnce(ctx, p, s.keys.index(cid), platform, MaxKept)
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	switch was, err := owner.Result(); {
	case err != nil && !errors.Is(err, redis.Nil):
		return err
	case err == nil && was != platform:
		return relay.ErrExists
	}
	s.homes.put(cid, platform)
	return nil
}

// Get reads a challenge.
func (s *Store) Get(ctx context.Context, cid protocol.CID) (c relay.Challenge, err error) {
	err = s.at(ctx, cid, func(platform string) error {
		var err error
		c, err = decode(cid, platform, s.client.HMGet(ctx, s.keys.challenge(platform, cid), "rev", "record"))
		return err
	})
	if err != nil {
		return relay.Challenge{}, fmt.Errorf("read challenge: %w", err)
	}
	return c, nil
}

// decode reads the fields rev and record of a challenge.
func decode(cid protocol.CID, platform string, cmd *redis.SliceCmd) (relay.Challenge, error) {
	fields, err := cmd.Result()
	if err != nil {
		return relay.Challenge{}, err
	}
	if len(fields) != 2 || fields[0] == nil {
		return relay.Challenge{}, relay.ErrNotFound
	}
	text, okRev := fields[0].(string)
	record, okRecord := fields[1].(string)
	rev, err := strconv.ParseInt(text, 10, 64)
	if !okRev || !okRecord || err != nil {
		return relay.Challenge{}, fmt.Errorf("challenge %s is damaged", cid)
	}
	return relay.DecodeChallenge(cid, platform, rev, []byte(record))
}

// Part reads bytes beside a challenge.
func (s *Store) Part(ctx context.Context, cid protocol.CID, name string) (data []byte, err error) {
	err = s.at(ctx, cid, func(platform string) error {
		var err error
		data, err = s.client.HGet(ctx, s.keys.parts(platform, cid), name).Bytes()
		return missing(err)
	})
	if err != nil {
		return nil, fmt.Errorf("read part %s: %w", name, err)
	}
	return data, nil
}

// Swap is the compare-and-swap.
func (s *Store) Swap(ctx context.Context, rev int64, next relay.Challenge, parts ...relay.Part) (relay.Challenge, error) {
	stored, err := s.swap(ctx, rev, next, parts)
	if err != nil {
		return relay.Challenge{}, fmt.Errorf("swap challenge: %w", err)
	}
	return stored, nil
}

func (s *Store) swap(ctx context.Context, rev int64, next relay.Challenge, parts []relay.Part) (relay.Challenge, error) {
	record, err := next.Encode()
	if err != nil {
		return relay.Challenge{}, err
	}
	args, err := s.head(next, record)
	if err != nil {
		return relay.Challenge{}, err
	}
	ended := ""
	if next.Progress.State.Terminal() {
		ended = strconv.FormatInt(next.ChangedAt, 10)
	}
	args = append(args, rev, ended)
	for _, p := range parts {
		args = append(args, p.Name, p.Data)
	}
	v, err := s.transition(ctx, s.scripts.swap, next, args)
	if err != nil {
		return relay.Challenge{}, err
	}
	switch v.word {
	case "missing":
		return relay.Challenge{}, relay.ErrNotFound
	case "conflict":
		return relay.Challenge{}, relay.ErrConflict
	}
	next.Rev = v.rev
	return next, nil
}

// Feed reads a platform's challenges beyond a rev. What moves between the two
// reads is left out: it comes again with a rev that is greater than all that the
// first read saw.
func (s *Store) Feed(ctx context.Context, platform string, after int64, limit int) ([]relay.Challenge, error) {
	var page []relay.Challenge
	for len(page) < limit {
		listed, err := s.client.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{Key: s.keys.feed(platform), ByScore: true,
			Start: "(" + strconv.FormatInt(after, 10), Stop: "+inf", Count: int64(limit - len(page))}).Result()
		if err != nil {
			return nil, fmt.Errorf("read feed: %w", err)
		}
		if len(listed) == 0 {
			break
		}
		still, err := s.readAll(ctx, platform, listed)
		if err != nil {
			return nil, fmt.Errorf("read feed: %w", err)
		}
		page = append(page, still...)
		after = int64(listed[len(listed)-1].Score)
		if len(still) == len(listed) && len(page) < limit {
			break // that was all
		}
	}
	return page, nil
}

// readAll reads the listed challenges that still have the listed rev.
func (s *Store) readAll(ctx context.Context, platform string, listed []redis.Z) ([]relay.Challenge, error) {
	cids := make([]protocol.CID, len(listed))
	reads := make([]*redis.SliceCmd, len(listed))
	for i, z := range listed {
		var err error
		if cids[i], err = member(z); err != nil {
			return nil, err
		}
	}
	if _, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, cid := range cids {
			reads[i] = p.HMGet(ctx, s.keys.challenge(platform, cid), "rev", "record")
		}
		return nil
	}); err != nil {
		return nil, err
	}
	list := make([]relay.Challenge, 0, len(listed))
	for i, cid := range cids {
		c, err := decode(cid, platform, reads[i])
		if errors.Is(err, relay.ErrNotFound) || err == nil && c.Rev != int64(listed[i].Score) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

// member is the cid of an entry of one of the sorted sets.
func member(z redis.Z) (protocol.CID, error) {
	text, ok := z.Member.(string)
	if !ok {
		return protocol.CID{}, errors.New("an index holds something else than text")
	}
	return protocol.ParseCID(text)
}
