package server

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

// BoundedRoute is one bounded route that does what a test wants.
func BoundedRoute(slots int, do func()) http.Handler {
	s := &server{slots: make(chan struct{}, slots)}
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.POST("/", s.bounded(s.slots), func(c *gin.Context) { do() })
	return e
}

// Limiter bounds addresses.
type Limiter struct{ limits *limiter }

// NewLimiter is newLimiter.
func NewLimiter(limits Limits, now func() time.Time) Limiter { return Limiter{newLimiter(limits, now)} }

// Allow is allow.
func (l Limiter) Allow(address string) (retry int, ok bool) { return l.limits.allow(address) }

// Remembered is how many addresses are remembered.
func (l Limiter) Remembered() int { return max(l.limits.order.Len(), len(l.limits.known)) }
