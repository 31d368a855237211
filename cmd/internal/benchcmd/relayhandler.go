package benchcmd

import (
	"net/http"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/gin-gonic/gin"
)

const plainPrefix = "/plain/"

// plainHandler is the handler without cryptography and state: it binds the same
// JSON and answers as many bytes as a completion does.
func plainHandler() http.Handler {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	promise := protocol.Promise{Index: 1 << 20, Salt: make([]byte, protocol.HashSize), Entry: make([]byte, protocol.HashSize), Head: make([]byte, protocol.HashSize), Signature: make([]byte, 71)}
	e.POST(plainPrefix+":cid", func(c *gin.Context) {
		var body protocol.ResultBody
		c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, protocol.MaxRequestBody)
		if err := c.ShouldBindJSON(&body); err != nil {
			c.Status(http.StatusBadRequest)
			return
		}
		c.JSON(http.StatusOK, protocol.ResultAnswer{State: protocol.StateFulfilled, Rev: time.Now().UnixMicro(), Promise: &promise})
	})
	return e
}
