package server

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/bidseal/bidseal/internal/httpapi/limit"
	"github.com/gin-gonic/gin"
)

// Limits are the rates at which one address may call. Zero values take
// DefaultLimits. Questions for status (OCSP, revocation lists, certificates) are not
// counted: a relay asks them on behalf of everybody, and the slots for them bound
// what they cost.
type Limits struct {
	// PerSecond and Burst of one IPv4 address or one IPv6 /64. A negative rate is
	// no limit: where a proxy in front has one, or for measurements.
	PerSecond float64
	Burst     int
	// Addresses that are remembered; the one that called longest ago is forgotten
	// for a new one.
	Addresses int
	// TrustedProxies are addresses or prefixes (CIDR) of proxies whose
	// X-Forwarded-For is believed. None by default: the address is the connection's.
	TrustedProxies []string
}

// DefaultLimits let an office behind one address work, and a flood not.
func DefaultLimits() Limits { return Limits{PerSecond: 50, Burst: 200, Addresses: 1 << 16} }

func (l Limits) orDefault() Limits {
	d := DefaultLimits()
	if l.PerSecond == 0 || !isRate(l.PerSecond) {
		l.PerSecond = d.PerSecond
	}
	if l.Burst <= 0 {
		l.Burst = d.Burst
	}
	if l.Addresses <= 0 {
		l.Addresses = d.Addresses
	}
	return l
}

// Check says what is wrong with the limits.
func (l Limits) Check() error {
	for _, proxy := range l.TrustedProxies {
		_, err := netip.ParsePrefix(proxy)
		if _, plain := netip.ParseAddr(proxy); err != nil && plain != nil {
			return fmt.Errorf("trusted proxy %q is neither an address nor a prefix", proxy)
		}
	}
	if !isRate(l.PerSecond) {
		return errors.New("calls per second: not a number")
	}
	return nil
}

// isRate tells what a configuration can write for a rate and is none.
func isRate(perSecond float64) bool { return !math.IsNaN(perSecond) && !math.IsInf(perSecond, 0) }

// limiter counts the calls of addresses; nil where there is no limit.
func (l Limits) limiter(now func() time.Time) *limit.Limiter[netip.Prefix] {
	if l = l.orDefault(); l.PerSecond < 0 {
		return nil
	}
	limiter, err := limit.New[netip.Prefix](l.PerSecond, l.Burst, l.Addresses, now)
	if err != nil { // orDefault leaves nothing that is refused
		panic(err)
	}
	return limiter
}

// caller is what counts as one address: the 64-bit prefix of IPv6, because one
// network has 2^64 addresses.
func caller(address string) netip.Prefix {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{} // all that cannot be told apart are one
	}
	ip = ip.Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// allow counts one call of an address; see limit.Limiter.
func (s *Server) allow(address string) error {
	if s.limits == nil {
		return nil
	}
	return s.limits.Allow(caller(address))
}

// limited refuses an address that calls too often.
func (s *Server) limited(c *gin.Context) {
	if err := s.allow(c.ClientIP()); err != nil {
		s.refuse(c, err)
		return
	}
	c.Next()
}
