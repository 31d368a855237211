package relay

import (
	"fmt"
	"runtime"
	"time"

	"github.com/bidseal/bidseal/protocol"
)

// Limits bound everything a caller can make the relay hold or do. A zero value
// takes the default of DefaultLimits.
type Limits struct {
	Connections     int           // WebSockets of all kinds
	Waiters         int           // long-polls at a time
	OpenPerPlatform int           // challenges that are not terminal, per platform
	CallsPerDevice  int           // calls of one device per RateWindow
	WrongClaims     int           // wrong claim keys of one device per RateWindow
	WatchesPerCID   int           // pages that watch one challenge on this node, long-polls included
	FeedsPerKey     int           // feed WebSockets of one platform on this node
	RateWindow      time.Duration // of the two rates above
	Verifications   int           // concurrent signature verifications
	Queue           int           // calls that may wait for one of them; the excess is shed
	OpenBox         int           // bytes of an open box
	CachedCerts     int           // verified certificates and passes kept in memory
	BodyTimeout     time.Duration // to read one body
	WriteTimeout    time.Duration // to write one frame
	FirstFrame      time.Duration // until a WebSocket's first frame
	PingEvery       time.Duration // between pings of one connection
	SweepEvery      time.Duration // between runs of the sweeper
	KeepEnded       time.Duration // until a terminal challenge is purged
	LookupTTL       time.Duration // how long platforms and deny entries are believed
}

// DefaultLimits are those of a node with 1 GiB of memory.
func DefaultLimits() Limits {
	procs := runtime.GOMAXPROCS(0)
	return Limits{
		Connections: 100_000, Waiters: 20_000, OpenPerPlatform: 20_000, CallsPerDevice: 600, WrongClaims: 10,
		WatchesPerCID: 8, FeedsPerKey: 64, RateWindow: time.Minute, Verifications: procs, Queue: 256 * procs,
		OpenBox: 64 << 10, CachedCerts: 8192, BodyTimeout: 20 * time.Second, WriteTimeout: 10 * time.Second,
		FirstFrame: 5 * time.Second, PingEvery: 30 * time.Second, SweepEvery: time.Second,
		KeepEnded: time.Hour, LookupTTL: 5 * time.Second,
	}
}

// minPing keeps a turn of the ping wheel longer than its ticks.
const minPing = 100 * time.Millisecond

// orDefault puts the default where v is zero; a negative value is refused by check.
func orDefault[T int | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	for _, f := range []struct {
		v   *int
		def int
	}{
		{&l.Connections, d.Connections}, {&l.Waiters, d.Waiters}, {&l.OpenPerPlatform, d.OpenPerPlatform},
		{&l.CallsPerDevice, d.CallsPerDevice}, {&l.WrongClaims, d.WrongClaims}, {&l.WatchesPerCID, d.WatchesPerCID},
		{&l.FeedsPerKey, d.FeedsPerKey}, {&l.Verifications, d.Verifications}, {&l.Queue, d.Queue},
		{&l.OpenBox, d.OpenBox}, {&l.CachedCerts, d.CachedCerts},
	} {
		orDefault(f.v, f.def)
	}
	for _, f := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&l.RateWindow, d.RateWindow}, {&l.BodyTimeout, d.BodyTimeout}, {&l.WriteTimeout, d.WriteTimeout},
		{&l.FirstFrame, d.FirstFrame}, {&l.PingEvery, d.PingEvery}, {&l.SweepEvery, d.SweepEvery},
		{&l.KeepEnded, d.KeepEnded}, {&l.LookupTTL, d.LookupTTL},
	} {
		orDefault(f.v, f.def)
	}
	return l
}

func (l Limits) check() error {
	if l.OpenBox > protocol.MaxJSON {
		return fmt.Errorf("limits: open box of %d bytes is beyond %d", l.OpenBox, protocol.MaxJSON)
	}
	if l.PingEvery < minPing {
		return fmt.Errorf("limits: pings every %s, at least %s apart", l.PingEvery, minPing)
	}
	for _, v := range []int{l.Connections, l.Waiters, l.OpenPerPlatform, l.CallsPerDevice, l.WrongClaims, l.WatchesPerCID,
		l.FeedsPerKey, l.Verifications, l.Queue, l.OpenBox, l.CachedCerts} {
		if v < 0 {
			return fmt.Errorf("limits: a negative number")
		}
	}
	for _, v := range []time.Duration{l.RateWindow, l.BodyTimeout, l.WriteTimeout, l.FirstFrame, l.PingEvery, l.SweepEvery, l.KeepEnded, l.LookupTTL} {
		if v <= 0 {
			return fmt.Errorf("limits: a negative duration")
		}
	}
	return nil
}
