package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/relay"
)

const selectPlatform = `SELECT id, name, chain_digest, api_key, origins, max_open, max_keep, blocked, added FROM relay_platform `

func scanPlatform(row scanner) (relay.Platform, error) {
	var p relay.Platform
	var origins string
	var blocked, added int64
	if err := row.Scan(&p.ID, &p.Name, &p.ChainHash, &p.APIKey, &origins, &p.MaxOpen, &p.MaxKeep, &blocked, &added); err != nil {
		return relay.Platform{}, missing(err)
	}
	p.Blocked, p.Added = blocked != 0, time.UnixMilli(added).UTC()
	if err := json.Unmarshal([]byte(origins), &p.Origins); err != nil {
		return relay.Platform{}, fmt.Errorf("decode origins: %w", err)
	}
	return p, nil
}

// Platform reads a registered platform.
func (s *Store) Platform(ctx context.Context, id string) (relay.Platform, error) {
	p, err := scanPlatform(s.reads.row(ctx, selectPlatform+`WHERE id = $1`, id))
	if err != nil {
		return relay.Platform{}, fmt.Errorf("read platform: %w", err)
	}
	return p, nil
}

// Platforms lists all platforms.
func (s *Store) Platforms(ctx context.Context) ([]relay.Platform, error) {
	rows, err := s.reads.rows(ctx, selectPlatform+`ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("list platforms: %w", err)
	}
	defer rows.Close()
	var list []relay.Platform
	for rows.Next() {
		p, err := scanPlatform(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, rows.Err()
}

// PutPlatform adds a platform or replaces its registration.
func (s *Store) PutPlatform(ctx context.Context, p relay.Platform) error {
	origins, err := json.Marshal(p.Origins)
	if err != nil {
		return fmt.Errorf("encode origins: %w", err)
	}
	_, err = s.exec(ctx, `INSERT INTO relay_platform (id, name, chain_digest, api_key, origins, max_open, max_keep, blocked, added)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO UPDATE SET name = excluded.name, chain_digest = excluded.chain_digest,
			api_key = excluded.api_key, origins = excluded.origins, max_open = excluded.max_open, max_keep = excluded.max_keep`,
		p.ID, p.Name, []byte(p.ChainHash), []byte(p.APIKey), string(origins), p.MaxOpen, p.MaxKeep, b2i(p.Blocked), p.Added.UnixMilli())
	if err != nil {
		return fmt.Errorf("store platform: %w", err)
	}
	return nil
}

// BlockPlatform sets or lifts the block.
func (s *Store) BlockPlatform(ctx context.Context, id string, blocked bool) error {
	n, err := s.exec(ctx, `UPDATE relay_platform SET blocked = $1 WHERE id = $2`, b2i(blocked), id)
	if err == nil && n == 0 {
		err = relay.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("block platform: %w", err)
	}
	return nil
}

// Denied reports whether a device is on the deny list.
func (s *Store) Denied(ctx context.Context, device string) (bool, error) {
	var n int
	if err := s.reads.row(ctx, `SELECT count(*) FROM relay_denied_device WHERE device = $1`, device).Scan(&n); err != nil {
		return false, fmt.Errorf("read deny list: %w", err)
	}
	return n > 0, nil
}

// DenyDevice puts a device on the list or takes it off.
func (s *Store) DenyDevice(ctx context.Context, device, reason string, denied bool) error {
	var err error
	if denied {
		_, err = s.exec(ctx, `INSERT INTO relay_denied_device (device, reason, since) VALUES ($1, $2, $3) ON CONFLICT (device) DO UPDATE SET reason = excluded.reason`,
			device, reason, s.clock().UnixMilli())
	} else {
		_, err = s.exec(ctx, `DELETE FROM relay_denied_device WHERE device = $1`, device)
	}
	if err != nil {
		return fmt.Errorf("change deny list: %w", err)
	}
	return nil
}
