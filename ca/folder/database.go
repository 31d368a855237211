package folder

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/bidseal/bidseal/ca/assist"
	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/ca/migrations"
	"github.com/bidseal/bidseal/internal/sqldb"
)

// Database says where an authority keeps certificates, wrapped keys and its
// audit log.
type Database struct {
	// URL of a PostgreSQL database, postgres://user@host/name?sslmode=verify-full,
	// without a password. Empty is a file in the authority's folder.
	URL string `toml:"url"`
	// PasswordFile, an absolute path, holds the password in its first line.
	// Without it $PGPASSWORD and ~/.pgpass count.
	PasswordFile string `toml:"password_file"`
}

// databaseFile is the database inside an authority's folder.
const databaseFile = "ca.db"

// Component whose writers exclude each other in a database.
const Component = "ca"

func (d Database) source(dir string) sqldb.Source {
	if d.URL == "" {
		return sqldb.Source{Location: filepath.Join(dir, databaseFile)}
	}
	return sqldb.Source{Location: d.URL, PasswordFile: d.PasswordFile, Component: Component}
}

func (d Database) check() error {
	switch {
	case d.URL == "" && d.PasswordFile != "":
		return errors.New("database: a password file without a url")
	case d.URL != "" && !d.source("").Server():
		return errors.New("database: url does not begin with postgres://")
	case d.PasswordFile != "" && !filepath.IsAbs(d.PasswordFile):
		return fmt.Errorf("database: password_file %q is not an absolute path", d.PasswordFile)
	}
	return nil
}

func openDatabase(ctx context.Context, dir string, d Database) (*sqldb.DB, error) {
	db, err := sqldb.Open(ctx, d.source(dir))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(db.Migrate(ctx, "kmc", kmc.Migrations()), db.Migrate(ctx, "assist", assist.Migrations()), db.Migrate(ctx, "ca", migrations.Files())); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// unused refuses a database with an authority in it: on a server it may be
// another's, or that of a ceremony that was broken off before its folder had its
// name.
func unused(ctx context.Context, tx *sql.Tx) error {
	var certificates int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM ca_certificates`).Scan(&certificates); err != nil {
		return err
	}
	if certificates > 0 {
		return errors.New("the database holds an authority already: name an empty one")
	}
	return nil
}
