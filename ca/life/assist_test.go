package life_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/bidseal/bidseal/ca/assist"
	"github.com/bidseal/bidseal/ca/catest"
	"github.com/bidseal/bidseal/internal/sqldb"
)

// What the password assist says to the log is in the chain.
func TestAssistIsAudited(t *testing.T) {
	authority := catest.New(t, catest.Options{})
	db, err := sqldb.Open(t.Context(), sqldb.Source{Location: filepath.Join(authority.Dir, "ca.db")})
	must(t, err)
	defer db.Close()
	for _, e := range []assist.Event{
		{Name: assist.Registered, Device: "d", Keystore: "k", Epoch: 1}, {Name: assist.Destroyed, Device: "d", Reason: "reissue"},
	} {
		must(t, db.Update(t.Context(), func(tx *sql.Tx) error { return authority.Life.AuditAssist(t.Context(), tx, e) }))
	}
	_, err = authority.Audit.Verify(t.Context())
	must(t, err)
	var n int
	must(t, db.Reader().QueryRowContext(t.Context(), `SELECT count(*) FROM ca_audit WHERE event IN ('password.registered', 'password.destroyed')`).Scan(&n))
	if n != 2 {
		t.Errorf("%d entries", n)
	}
}
