package status

import (
	"maps"
	"math/big"
	"slices"
)

// RevokedQuery is the query behind a list.
const RevokedQuery = revokedQuery

// ListName is the name of a list.
type ListName = crlName

// ParseListName is parseCRLName.
func ParseListName(text string) (ListName, bool) { return parseCRLName(text) }

// ListOf is crlOf.
func ListOf(issuer string, serial *big.Int, shards int) ListName {
	return crlOf(issuer, serial, shards)
}

// Holds is holds.
func (n crlName) Holds(serial *big.Int) bool { return n.holds(serial) }

// Of is the number of shards, 1 for the full list.
func (n crlName) Of() int { return n.of }

// RememberedAnswers are the names under which OCSP answers are remembered.
func (s *Status) RememberedAnswers() []string {
	s.ocsp.mu.Lock()
	defer s.ocsp.mu.Unlock()
	return slices.Collect(maps.Keys(s.ocsp.answers))
}
