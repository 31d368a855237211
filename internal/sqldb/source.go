package sqldb

import (
	"context"
	"strings"
)

// Source says which database to open.
type Source struct {
	// Location is the path of an SQLite file, or the URL of a PostgreSQL database:
	// postgres://user@host:port/name?sslmode=verify-full&sslrootcert=root.pem with
	// the parameters of libpq. Several hosts (host1,host2) are tried in turn until
	// one is the primary. sslmode is verify-full unless the URL says otherwise or
	// all hosts are this machine. A password in the URL is refused.
	//
	// Server settings may be added, too; these limits stand where they are not:
	// statement_timeout 30s, lock_timeout 10s and
	// idle_in_transaction_session_timeout 10s. synchronous_commit is on, or
	// remote_apply; everything weaker is refused.
	Location string
	// PasswordFile holds the password in its first line. It is read for each new
	// connection, so that a password changes without a restart. Without it
	// $PGPASSWORD and ~/.pgpass count, as everywhere with PostgreSQL.
	PasswordFile string
	// Component whose writers exclude each other, "ca" for example. Required for
	// PostgreSQL, where one database may serve several.
	Component string
	// Readers bounds the reading connections to PostgreSQL, of which a claim keeps
	// one: 2 at least; 0 chooses by processors.
	Readers int
	// Writers bounds the writing connections to PostgreSQL, 1 where 0. More serve
	// only Exec: Updates take turns.
	Writers int
}

// Server reports whether the location is a PostgreSQL URL and not a file.
func (s Source) Server() bool {
	return strings.HasPrefix(s.Location, "postgres://") || strings.HasPrefix(s.Location, "postgresql://")
}

// Open opens a database of either kind.
func Open(ctx context.Context, s Source) (*DB, error) {
	if s.Server() {
		return OpenPostgres(ctx, s)
	}
	return OpenSQLite(ctx, s.Location)
}
