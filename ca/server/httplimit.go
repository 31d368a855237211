package server

import (
	"container/list"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/gin-gonic/gin"
	"golang.org/x/time/rate"
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
	if l.PerSecond == 0 {
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
	if math.IsNaN(l.PerSecond) || math.IsInf(l.PerSecond, 0) {
		return errors.New("calls per second")
	}
	return nil
}

// limiter holds one bucket for each address, the least recently used at the end.
type limiter struct {
	limits Limits
	now    func() time.Time
	mu     sync.Mutex
	order  *list.List // of *bucket
	known  map[netip.Prefix]*list.Element
}

type bucket struct {
	address netip.Prefix
	rate    *rate.Limiter
}

func newLimiter(limits Limits, now func() time.Time) *limiter {
	return &limiter{limits: limits.orDefault(), now: now, order: list.New(), known: make(map[netip.Prefix]*list.Element)}
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

// allow takes one token of an address, or says after how many seconds there is one.
func (l *limiter) allow(address string) (retryAfter int, ok bool) {
	if l.limits.PerSecond < 0 {
		return 0, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key := caller(address)
	element, known := l.known[key]
	if known {
		l.order.MoveToFront(element)
	} else {
		if l.order.Len() >= l.limits.Addresses {
			oldest := l.order.Back()
			delete(l.known, oldest.Value.(*bucket).address)
			l.order.Remove(oldest)
		}
		element = l.order.PushFront(&bucket{key, rate.NewLimiter(rate.Limit(l.limits.PerSecond), l.limits.Burst)})
		l.known[key] = element
	}
	if element.Value.(*bucket).rate.AllowN(l.now(), 1) {
		return 0, true
	}
	return max(1, int(math.Ceil(1/l.limits.PerSecond))), false
}

// limited refuses an address that calls too often.
func (s *Server) limited(c *gin.Context) {
	if retry, ok := s.limits.allow(c.ClientIP()); !ok {
		s.refuse(c, &protocol.Error{Code: protocol.CodeRateLimited, RetryAfter: retry})
		return
	}
	c.Next()
}
