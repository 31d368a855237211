package core

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/bidseal/bidseal/app/core/keys"
	"github.com/bidseal/bidseal/app/core/storage"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
)

// Options are the parts of a phone.
type Options struct {
	// Files is the phone's state. Required.
	Files storage.Files
	// Keys guards the certificate keys. Required.
	Keys keys.Provider
	// Transport carries calls. Required.
	Transport Transport
	// App is name and version of the application, signed in every statement.
	// Required.
	App string
	// Now is the phone's clock. Required.
	Now func() time.Time
	// Log takes what a developer may want to know; never secrets. Required.
	Log *slog.Logger
	// Pause waits between two attempts of a call; nil waits for real.
	Pause func(context.Context, time.Duration) error
}

// Core is one phone. It is safe for concurrent use.
type Core struct {
	opt    Options
	device *device

	mu       sync.Mutex
	settings *settings // nil until enrolled
	roots    *trust.Store
	pass     string
	offset   time.Duration // of the servers' clock from the phone's
}

// ClockWarning is the offset beyond which people are told that the phone's
// clock is wrong.
const ClockWarning = 5 * time.Minute

// Open reads the state of a phone. A phone without state is made: it has a
// device key from then on, and waits for Enrol.
func Open(ctx context.Context, opt Options) (*Core, error) {
	if opt.Files == nil || opt.Keys == nil || opt.Transport == nil || opt.Now == nil || opt.Log == nil || opt.App == "" {
		return nil, protocol.Errorf(protocol.CodeInternal, "phone: options are incomplete")
	}
	if opt.Pause == nil {
		opt.Pause = wait
	}
	c := &Core{opt: opt}
	var err error
	if c.device, err = openDevice(ctx, opt.Files); err != nil {
		return nil, classify(err)
	}
	if err := c.loadSettings(ctx); err != nil {
		return nil, classify(err)
	}
	pass, err := opt.Files.Read(ctx, passFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, classify(err)
	}
	c.pass = string(pass)
	if assisted, ok := opt.Keys.(keys.Assisted); ok {
		assisted.UseAssist(assistance{c})
	}
	return c, nil
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Device is the id by which relays and platforms know this phone.
func (c *Core) Device() string { return c.device.id }

// now is the phone's clock corrected by what the servers said.
func (c *Core) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opt.Now().Add(c.offset)
}

// ClockOffset is by how much the servers' clock differed from the phone's when
// one of them refused a call for it; 0 where none did.
func (c *Core) ClockOffset() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offset
}

// adjust takes the offset from a refusal with clock_skew.
func (c *Core) adjust(e *protocol.Error) error {
	if e.ServerTime <= 0 {
		return e
	}
	offset := time.UnixMilli(e.ServerTime).Sub(c.opt.Now())
	if offset.Abs() > protocol.MaxClockOffset {
		return protocol.Errorf(protocol.CodeClockWrong, "the server's clock differs by %s", offset.Truncate(time.Minute))
	}
	c.mu.Lock()
	c.offset = offset
	c.mu.Unlock()
	c.opt.Log.Warn("the phone's clock differs from the server's", "offset", offset.Truncate(time.Second).String())
	return nil
}

// classify makes every error one of the catalogue.
func classify(err error) *protocol.Error {
	var own *protocol.Error
	if errors.As(err, &own) {
		return own
	}
	return protocol.Errorf(protocol.CodeInternal, "%v", err)
}

// result is classify for a return value, which must not be a typed nil.
func result(err error) error {
	if err == nil {
		return nil
	}
	return classify(err)
}
