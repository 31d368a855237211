package server

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/listing"
	"github.com/bidseal/bidseal/ca/transparency"
	"github.com/bidseal/bidseal/protocol"
	"github.com/gin-gonic/gin"
)

// headLife is how long a signed head is given out again: asking for heads does not
// make the authority sign without end.
const headLife = 10 * time.Second

// heads keeps the signed heads that were given out last.
type heads struct {
	mu    sync.Mutex
	audit audit.Head
	tree  *transparency.Head
}

// listingRoutes mounts what the public may verify.
func (s *Server) listingRoutes(e *gin.Engine) {
	e.GET(caapi.PathAuditHead, s.limited, s.onAuditHead)
	e.GET(caapi.PathTreeHead, s.limited, s.onTreeHead)
	e.GET(caapi.PathTreeEntries, s.limited, s.onTreeEntries)
	e.GET(caapi.PathTreeProof, s.limited, s.bounded(s.slots), s.onTreeProof)
	e.GET(caapi.PathTreeConsistency, s.limited, s.bounded(s.slots), s.onTreeConsistency)
}

// fresh reports whether what was signed at a time in Unix milliseconds is given
// out again.
func (s *Server) fresh(at int64) bool {
	age := s.a.Now().Sub(time.UnixMilli(at))
	return at != 0 && age >= 0 && age < headLife
}

func (s *Server) onAuditHead(c *gin.Context) {
	s.heads.mu.Lock()
	defer s.heads.mu.Unlock()
	if !s.fresh(s.heads.audit.At) {
		head, err := s.a.Audit.Head(c.Request.Context())
		if err != nil {
			s.refuse(c, err)
			return
		}
		s.heads.audit = head
	}
	s.publish(c, s.heads.audit, headLife)
}

func (s *Server) onTreeHead(c *gin.Context) {
	s.heads.mu.Lock()
	defer s.heads.mu.Unlock()
	if s.heads.tree == nil || !s.fresh(s.heads.tree.At) {
		head, err := s.a.Listing.Head(c.Request.Context())
		if err != nil {
			s.refuse(c, err)
			return
		}
		s.heads.tree = head
	}
	s.publish(c, s.heads.tree, headLife)
}

// publish writes an answer that caches may keep.
func (s *Server) publish(c *gin.Context, v any, life time.Duration) {
	raw, err := protocol.EncodeJSON(v)
	if err != nil {
		s.refuse(c, err)
		return
	}
	c.Header("Cache-Control", fmt.Sprintf("public, max-age=%d", int(life.Seconds())))
	c.Data(http.StatusOK, "application/json", raw)
}

// immutable is how long a cache may keep what never changes.
const immutable = 24 * time.Hour

func (s *Server) onTreeEntries(c *gin.Context) {
	start, err := number(c, "start", 0, transparency.MaxSize)
	if err != nil {
		s.refuse(c, err)
		return
	}
	limit, err := number(c, "limit", 64, caapi.MaxTreeEntries)
	if err != nil || limit == 0 {
		s.refuse(c, protocol.Errorf(protocol.CodeMalformed, "limit: 1 to %d", caapi.MaxTreeEntries))
		return
	}
	leaves, size, err := s.a.Listing.Entries(c.Request.Context(), start, int(limit))
	if err != nil {
		s.refuse(c, err)
		return
	}
	page := caapi.TreeEntries{V: caapi.Version, Start: start, Leaves: leaves, Size: size}
	if page.Leaves == nil {
		page.Leaves = []protocol.Bytes{}
	}
	s.publish(c, page, headLife)
}

func (s *Server) onTreeProof(c *gin.Context) {
	which, serial := listing.Listed{Certificate: c.Query("certificate"), Release: c.Query("release")}, c.Query("serial")
	given := 0
	for _, name := range []string{which.Certificate, serial, which.Release} {
		if name != "" {
			given++
		}
		if len(name) > 64 {
			given = -1
			break
		}
	}
	size, err := number(c, "size", 0, transparency.MaxSize)
	if err != nil || given != 1 {
		s.refuse(c, protocol.Errorf(protocol.CodeMalformed, "one of certificate, serial and release, and at most a size"))
		return
	}
	if serial != "" {
		if which.Certificate, err = s.a.Status.Digest(c.Request.Context(), serial); err != nil {
			s.refuse(c, err)
			return
		}
	}
	proof, err := s.a.Listing.Proof(c.Request.Context(), which, size)
	if err != nil {
		s.refuse(c, err)
		return
	}
	s.publish(c, proof, headLife)
}

func (s *Server) onTreeConsistency(c *gin.Context) {
	first, err := number(c, "first", 0, transparency.MaxSize)
	if err != nil {
		s.refuse(c, err)
		return
	}
	second, err := number(c, "second", 0, transparency.MaxSize)
	if err != nil {
		s.refuse(c, err)
		return
	}
	proof, err := s.a.Listing.Consistency(c.Request.Context(), first, second)
	if err != nil {
		s.refuse(c, err)
		return
	}
	s.publish(c, proof, immutable)
}

// number reads a query parameter: decimal digits, at most most.
func number(c *gin.Context, name string, absent, most uint64) (uint64, error) {
	text, given := c.GetQuery(name)
	if !given {
		return absent, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > most || strconv.FormatUint(n, 10) != text {
		return 0, protocol.Errorf(protocol.CodeMalformed, "%s: a number up to %d", name, most)
	}
	return n, nil
}
