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

// Allow returns what counts one call of an address.
func Allow(limits Limits, now func() time.Time) func(address string) error {
	return (&Server{limits: limits.limiter(now)}).allow
}
