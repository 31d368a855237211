package server

import (
	"context"
	"net/http"

	"github.com/bidseal/bidseal/ca/assist"
	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/gin-gonic/gin"
)

// assistRoutes mounts the password assist.
func (s *Server) assistRoutes(e *gin.Engine) {
	service := s.a.Life.Passwords()
	for path, handle := range map[string]gin.HandlerFunc{
		assistapi.PathBegin:    assisted(s, service.Begin),
		assistapi.PathEvaluate: assisted(s, service.Evaluate),
		assistapi.PathProve:    assisted(s, service.Prove),
		assistapi.PathReset:    assisted(s, service.Reset),
	} {
		e.POST(path, s.limited, s.bounded(s.slots), handle)
		e.OPTIONS(path, func(c *gin.Context) { c.Status(http.StatusNoContent) })
	}
}

// assisted serves one method of the service.
func assisted[T any](s *Server, method func(context.Context, assist.Call) (*T, error)) gin.HandlerFunc {
	return func(c *gin.Context) {
		answer, err := method(c.Request.Context(), assist.Call{
			Path: c.Request.URL.RequestURI(), Body: c.MustGet(bodyKey).([]byte), Proof: c.GetHeader(protocol.HeaderProof),
		})
		s.answer(c, answer, err)
	}
}
