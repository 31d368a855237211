package relaycmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/relay/sqlstore"
)

// relayDatabase says which PostgreSQL the nodes of a relay share; sqlstore.Database
// says what the fields mean. Without a URL the database is a file in Data.
type relayDatabase struct {
	URL          string `toml:"url"`           // without a password
	PasswordFile string `toml:"password_file"` // relative to the configuration
	Connections  int    `toml:"connections"`   // for reading; one more writes
}

// source is the database of a configuration.
func (c Config) source() (sqlstore.Database, error) {
	d := c.Database
	if d.URL == "" {
		if d != (relayDatabase{}) {
			return sqlstore.Database{}, cli.Usagef("database: the configuration names no url")
		}
		return sqlstore.Database{Location: c.DatabaseFile()}, nil
	}
	out := sqlstore.Database{Location: d.URL, PasswordFile: c.optional(d.PasswordFile), Readers: d.Connections}
	switch {
	case !out.Server():
		return out, cli.Usagef("database: the url does not begin with postgres://")
	case d.Connections < 0:
		return out, cli.Usagef("database: a negative number of connections")
	}
	return out, nil
}

// openDatabase opens it.
func (c Config) openDatabase(ctx context.Context) (*sqlstore.Store, error) {
	source, err := c.source()
	if err != nil {
		return nil, err
	}
	return sqlstore.OpenDatabase(ctx, source, time.Now)
}

// hasDatabase refuses to make a file by a command that only looks.
func (c Config) hasDatabase() error {
	if c.Database != (relayDatabase{}) {
		return nil
	}
	if _, err := os.Stat(c.DatabaseFile()); err != nil {
		return cli.Usagef("there is no relay in %s", c.path(c.Data))
	}
	return nil
}

// alone makes sure that a node without Redis is the only one on its server, because
// it cannot wake other nodes.
func (c Config) alone(ctx context.Context, store *sqlstore.Store) (release func() error, err error) {
	if c.Database.URL == "" || len(c.Redis.Addresses) > 0 {
		return func() error { return nil }, nil
	}
	release, err = store.Alone(ctx)
	if errors.Is(err, sqlstore.ErrNotAlone) {
		return nil, fmt.Errorf("%w: several nodes need the section [redis], by which they wake each other", sqlstore.ErrNotAlone)
	}
	return release, err
}
