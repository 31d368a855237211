package sqldb

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// ErrSchema: the database was written by another version of the program, or a
// migration was altered after it had been applied.
var ErrSchema = errors.New("database schema does not fit this program")

// step is one numbered migration.
type step struct {
	version int
	name    string
	text    string
}

func (s step) digest() string {
	sum := sha256.Sum256([]byte(s.text))
	return hex.EncodeToString(sum[:])
}

const createMigrations = `CREATE TABLE schema_migrations (
	component TEXT NOT NULL, version BIGINT NOT NULL, name TEXT NOT NULL,
	digest TEXT NOT NULL, PRIMARY KEY (component, version))`

// Migrate applies the files NNNN_name.sql of a folder that have not been applied
// yet, in order, all in one transaction. Each component numbers its own from
// 0001 without gaps. It may be called by several processes at once.
func (d *DB) Migrate(ctx context.Context, component string, files fs.FS) error {
	steps, err := readSteps(files)
	if err != nil {
		return fmt.Errorf("migrations of %s: %w", component, err)
	}
	err = d.Update(ctx, func(tx *sql.Tx) error {
		known, err := d.engine.migrating(ctx, tx)
		if err != nil {
			return err
		}
		if !known {
			if _, err := tx.ExecContext(ctx, createMigrations); err != nil {
				return err
			}
		}
		done, err := applied(ctx, tx, component)
		if err != nil {
			return err
		}
		if err := checkApplied(done, steps); err != nil {
			return err
		}
		return apply(ctx, tx, component, steps[len(done):])
	})
	if err != nil {
		return fmt.Errorf("migrate %s: %w", component, err)
	}
	return nil
}

func readSteps(files fs.FS) ([]step, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var steps []step
	for i, name := range names {
		number, _, _ := strings.Cut(path.Base(name), "_")
		version, err := strconv.Atoi(number)
		if err != nil || version != i+1 || len(number) != 4 {
			return nil, fmt.Errorf("%s is not number %04d: %w", name, i+1, ErrSchema)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		steps = append(steps, step{version, name, string(text)})
	}
	if len(steps) == 0 {
		return nil, fmt.Errorf("no migrations: %w", ErrSchema)
	}
	return steps, nil
}

func applied(ctx context.Context, tx *sql.Tx, component string) ([]string, error) {
	rows, err := tx.QueryContext(ctx, `SELECT digest FROM schema_migrations WHERE component = $1 ORDER BY version`, component)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var digests []string
	for rows.Next() {
		var digest string
		if err := rows.Scan(&digest); err != nil {
			return nil, err
		}
		digests = append(digests, digest)
	}
	return digests, rows.Err()
}

func checkApplied(done []string, steps []step) error {
	if len(done) > len(steps) {
		return fmt.Errorf("%d migrations applied, this program knows %d: %w", len(done), len(steps), ErrSchema)
	}
	for i, digest := range done {
		if steps[i].digest() != digest {
			return fmt.Errorf("%s was altered after it had been applied: %w", steps[i].name, ErrSchema)
		}
	}
	return nil
}

func apply(ctx context.Context, tx *sql.Tx, component string, steps []step) error {
	for _, s := range steps {
		if _, err := tx.ExecContext(ctx, s.text); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO schema_migrations (component, version, name, digest)
			VALUES ($1, $2, $3, $4)`, component, s.version, s.name, s.digest()); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}
