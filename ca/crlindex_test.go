//go:build !postgres

package ca

import (
	"strings"
	"testing"
)

// TestListsReadRevokedCertificatesOnly: the query behind a list is answered from an index over revoked certificates. At a
// million issued and 20,000 revoked it cost a second of CPU without.
func TestListsReadRevokedCertificatesOnly(t *testing.T) {
	f := newFixture(t)
	rows, err := f.db.Reader().QueryContext(t.Context(), `EXPLAIN QUERY PLAN `+revokedQuery, "issuing-1", 1, 0)
	must(t, err)
	defer rows.Close()
	var plan []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		must(t, rows.Scan(&id, &parent, &unused, &detail))
		plan = append(plan, detail)
	}
	must(t, rows.Err())
	if said := strings.Join(plan, "; "); len(plan) != 1 || !strings.Contains(said, "ca_certificates_revoked") {
		t.Errorf("the plan is %q", said)
	}
}
