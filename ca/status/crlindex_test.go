package status_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/ca/catest"
	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/internal/sqldb"
)

// TestListsReadRevokedCertificatesOnly: the query behind a list is answered from an index over revoked certificates. At a
// million issued and 20,000 revoked it cost a second of CPU without.
func TestListsReadRevokedCertificatesOnly(t *testing.T) {
	authority := catest.New(t, catest.Options{})
	db, err := sqldb.Open(t.Context(), sqldb.Source{Location: filepath.Join(authority.Dir, "ca.db")})
	must(t, err)
	defer db.Close()
	rows, err := db.Reader().QueryContext(t.Context(), `EXPLAIN QUERY PLAN `+status.RevokedQuery, "issuing-1", 1, 0)
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

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
