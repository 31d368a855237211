package core

import (
	"context"

	"github.com/bidseal/bidseal/protocol"
)

// pins remember under which root a platform was approved before, so that a
// platform that suddenly comes from another authority is noticed.
type pins struct {
	V         int            `json:"v"`
	Platforms map[string]pin `json:"platforms"` // by platform id
}

type pin struct {
	Root  protocol.Bytes `json:"root"`  // SM3 of the root certificate
	Since int64          `json:"since"` // Unix seconds
}

// Familiarity is what the phone remembers of a platform.
type Familiarity string

// What a phone may remember.
const (
	Known      Familiarity = "known"
	FirstTime  Familiarity = "first_time"
	KeyChanged Familiarity = "key_changed" // approved before under another root
)

func (c *Core) readPins(ctx context.Context) (pins, error) {
	p := pins{V: 1}
	_, err := readJSON(ctx, c.opt.Files, pinsFile, &p)
	if p.Platforms == nil {
		p.Platforms = map[string]pin{}
	}
	return p, err
}

func (c *Core) familiarity(ctx context.Context, who *platform) (Familiarity, error) {
	p, err := c.readPins(ctx)
	if err != nil {
		return "", err
	}
	switch known, ok := p.Platforms[who.identity.PlatformID]; {
	case !ok:
		return FirstTime, nil
	case !protocol.Equal(known.Root, who.root):
		return KeyChanged, nil
	}
	return Known, nil
}

// remember pins a platform that the person has approved.
func (c *Core) remember(ctx context.Context, who *platform) error {
	release, err := c.opt.Files.Lock(ctx, pinsFile)
	if err != nil {
		return err
	}
	defer release()
	p, err := c.readPins(ctx)
	if err != nil {
		return err
	}
	if known, ok := p.Platforms[who.identity.PlatformID]; ok && protocol.Equal(known.Root, who.root) {
		return nil
	}
	p.Platforms[who.identity.PlatformID] = pin{Root: who.root, Since: c.now().Unix()}
	return writeJSON(ctx, c.opt.Files, pinsFile, p)
}
