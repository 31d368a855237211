package core

import (
	"context"
	"slices"

	"github.com/bidseal/bidseal/protocol"
)

// pins remember under which root a platform was approved before, so that a
// platform that suddenly comes from another authority is noticed.
type pins struct {
	V         int   `json:"v"`
	Platforms []pin `json:"platforms"`
	protocol.Kept
}

type pin struct {
	Platform string         `json:"platform"` // id
	Root     protocol.Bytes `json:"root"`     // SM3 of the root certificate
	Since    int64          `json:"since"`    // Unix seconds
	protocol.Kept
}

// maxPins bounds the file; the oldest pin gives way.
const maxPins = 2000

// Familiarity is what the phone remembers of a platform.
type Familiarity string

// What a phone may remember.
const (
	Known      Familiarity = "known"
	FirstTime  Familiarity = "first_time"
	KeyChanged Familiarity = "key_changed" // approved before under another root
)

// find returns the place of a platform, -1 where it is not there.
func (p *pins) find(platform string) int {
	return slices.IndexFunc(p.Platforms, func(x pin) bool { return x.Platform == platform })
}

func (c *Core) familiarity(ctx context.Context, who *platform) (Familiarity, error) {
	var p pins
	if _, err := readJSON(ctx, c.opt.Files, pinsFile, &p); err != nil {
		return "", err
	}
	switch i := p.find(who.identity.PlatformID); {
	case i < 0:
		return FirstTime, nil
	case !protocol.Equal(p.Platforms[i].Root, who.root):
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
	p := pins{V: 1}
	if _, err := readJSON(ctx, c.opt.Files, pinsFile, &p); err != nil {
		return err
	}
	fresh := pin{Platform: who.identity.PlatformID, Root: who.root, Since: c.now().Unix()}
	switch i := p.find(fresh.Platform); {
	case i >= 0 && protocol.Equal(p.Platforms[i].Root, who.root):
		return nil
	case i >= 0:
		p.Platforms[i] = fresh
	default:
		p.Platforms = append(p.Platforms, fresh)
	}
	p.Platforms = p.Platforms[max(0, len(p.Platforms)-maxPins):]
	return writeJSON(ctx, c.opt.Files, pinsFile, p)
}
