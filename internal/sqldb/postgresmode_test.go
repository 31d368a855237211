//go:build postgres

package sqldb

import (
	"bytes"
	"database/sql"
	"testing"
	"time"

	"github.com/bidseal/bidseal/internal/sqldb/pgtest"
)

// TestQueryModes: behind a pooler of connections a URL may ask for queries without preparation, in which the values say
// by themselves of which type they are.
func TestQueryModes(t *testing.T) {
	location := pgtest.Database(t)
	for _, mode := range []string{"cache_statement", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			db := open(t, Source{Location: with(t, location, "default_query_exec_mode", mode), Component: "modes"})
			if err := db.Migrate(t.Context(), "a", files(`CREATE TABLE v (i BIGINT, s TEXT, b BYTEA, yes BOOLEAN, f DOUBLE PRECISION, at TIMESTAMPTZ);`)); err != nil {
				t.Fatal(err)
			}
			moment := time.Unix(1_800_000_000, 0)
			err := db.Update(t.Context(), func(tx *sql.Tx) error {
				for _, number := range []any{7, int64(7), int32(7), uint8(7), uint32(7)} {
					if _, err := tx.ExecContext(t.Context(), `DELETE FROM v`); err != nil {
						return err
					}
					if _, err := tx.ExecContext(t.Context(), `INSERT INTO v VALUES ($1, $2, $3, $4, $5, $6)`, number, "文", []byte{0, 1}, true, 1.5, moment); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			var i int64
			var s string
			var b []byte
			var yes bool
			var f float64
			var at time.Time
			if err := db.Reader().QueryRowContext(t.Context(), `SELECT i, s, b, yes, f, at FROM v WHERE i = $1 AND s = $2`, 7, "文").Scan(&i, &s, &b, &yes, &f, &at); err != nil {
				t.Fatal(err)
			}
			if i != 7 || s != "文" || !bytes.Equal(b, []byte{0, 1}) || !yes || f != 1.5 || !at.Equal(moment) {
				t.Errorf("read %d %q %x %t %v %s", i, s, b, yes, f, at)
			}
		})
	}
}
