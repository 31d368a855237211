package server

import (
	"net/http"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/internal/httpapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust/timestamp"
	"github.com/gin-gonic/gin"
)

// timestampRoutes mounts the timestamp authority. Its slots are those of
// questions for status: evidence hangs on both.
func (s *Server) timestampRoutes(e *gin.Engine) {
	e.POST(caapi.PathTimestamp, s.bounded(s.status), s.onTimestamp)
}

// onTimestamp: RFC 3161 3.4.
func (s *Server) onTimestamp(c *gin.Context) {
	body, _ := c.MustGet(bodyKey).([]byte)
	if len(body) > timestamp.MaxRequest || c.ContentType() != "application/timestamp-query" {
		s.refuse(c, protocol.Errorf(protocol.CodeMalformed, "want application/timestamp-query of at most %d bytes", timestamp.MaxRequest))
		return
	}
	answer, err := s.a.Life.Timestamp(c.Request.Context(), body)
	if err != nil {
		s.refuse(c, err)
		return
	}
	httpapi.Raw(c.Writer, http.StatusOK, "application/timestamp-reply", answer)
}
