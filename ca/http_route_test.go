package ca

import (
	"net/http"

	"github.com/gin-gonic/gin"
)

// testRoute is one bounded route that does what a test wants.
func (s *server) testRoute(do func()) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.POST("/", s.bounded(s.slots), func(c *gin.Context) { do() })
	return e
}
