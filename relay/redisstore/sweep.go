package redisstore

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"

	"github.com/bidseal/bidseal/protocol"
	"github.com/redis/go-redis/v9"
)

// entry is a challenge in one of a platform's indexes by time.
type entry struct {
	cid      protocol.CID
	platform string
	at       float64
}

// Due lists what the sweeper has to look at. A challenge whose index was lost, in
// a failover of another part of the Cluster, gets it back here.
func (s *Store) Due(ctx context.Context, now int64, limit int) ([]protocol.CID, error) {
	list, err := s.earliest(ctx, s.keys.due, "("+strconv.FormatInt(now, 10), limit)
	if err != nil {
		return nil, fmt.Errorf("list what is due: %w", err)
	}
	if len(list) == 0 {
		return nil, nil
	}
	if _, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, e := range list {
			p.SetNX(ctx, s.keys.index(e.cid), e.platform, MaxKept)
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("index what is due: %w", err)
	}
	cids := make([]protocol.CID, len(list))
	for i, e := range list {
		cids[i] = e.cid
	}
	return cids, nil
}

// earliest reads an index of all platforms up to an exclusive bound.
func (s *Store) earliest(ctx context.Context, index func(platform string) string, bound string, limit int) ([]entry, error) {
	platforms, err := s.client.SMembers(ctx, s.keys.platforms()).Result()
	if err != nil || len(platforms) == 0 {
		return nil, err
	}
	reads := make([]*redis.ZSliceCmd, len(platforms))
	if _, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, platform := range platforms {
			reads[i] = p.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{Key: index(platform), ByScore: true, Start: "-inf", Stop: bound, Count: int64(limit)})
		}
		return nil
	}); err != nil {
		return nil, err
	}
	var list []entry
	for i, platform := range platforms {
		for _, z := range reads[i].Val() {
			cid, err := member(z)
			if err != nil {
				return nil, err
			}
			list = append(list, entry{cid, platform, z.Score})
		}
	}
	slices.SortFunc(list, func(a, b entry) int { return cmp.Compare(a.at, b.at) })
	return list[:min(len(list), limit)], nil
}

// Purge forgets old terminal challenges. Nonces and counters go by themselves.
// What was purged before a failure is returned without the error, because the
// caller has to know.
func (s *Store) Purge(ctx context.Context, before int64, limit int) ([]protocol.CID, error) {
	bound := strconv.FormatInt(before, 10)
	list, err := s.earliest(ctx, s.keys.ended, "("+bound, limit)
	var gone []protocol.CID
	for _, e := range list {
		var went bool
		if went, err = s.purge(ctx, e, bound); err != nil {
			break
		}
		if went {
			gone = append(gone, e.cid)
		}
	}
	if err != nil && len(gone) == 0 {
		return nil, fmt.Errorf("purge: %w", err)
	}
	return gone, nil
}

// purge forgets one challenge, the index last: without a challenge it is harmless.
func (s *Store) purge(ctx context.Context, e entry, bound string) (went bool, err error) {
	n, err := s.scripts.purge.Run(ctx, s.client, []string{s.keys.feed(e.platform), s.keys.ended(e.platform), s.keys.challenge(e.platform, e.cid),
		s.keys.parts(e.platform, e.cid), s.keys.challengeWatchers(e.platform, e.cid)}, e.cid.String(), bound).Int()
	if err != nil || n == 0 {
		return false, err
	}
	if err := s.client.Unlink(ctx, s.keys.index(e.cid)).Err(); err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "forget an index", slog.Any("error", err))
	}
	return true, nil
}
