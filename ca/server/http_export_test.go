package server

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/bidseal/bidseal/internal/httpapi"
	"github.com/gin-gonic/gin"
)

// BoundedRoute is one bounded route that does what a test wants.
func BoundedRoute(slots int, do func()) http.Handler {
	s := &Server{slots: make(chan struct{}, slots), api: httpapi.New(slog.New(slog.DiscardHandler))}
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
