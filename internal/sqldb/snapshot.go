package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
)

// ErrSnapshot: the engine has tools of its own for copies.
var ErrSnapshot = errors.New("copies of this database are made by its server's tools (pg_dump)")

// Snapshot writes a consistent copy of the database to a file that must not be
// there, while others read and write (SQLite's VACUUM INTO). For a database on a
// server the error is ErrSnapshot.
func (d *DB) Snapshot(ctx context.Context, path string) error {
	if _, ok := d.engine.(sqliteEngine); !ok {
		return ErrSnapshot
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // SQLite takes an empty file
	if err != nil {
		return fmt.Errorf("copy database: %w", err)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("copy database: %w", err)
	}
	if err := d.vacuumInto(ctx, path); err != nil {
		return errors.Join(fmt.Errorf("copy database: %w", err), os.Remove(path))
	}
	return nil
}

// vacuumInto borrows a reader, which reads one moment and holds up no writer. It
// has to be allowed to write, and so is not given back to the pool.
func (d *DB) vacuumInto(ctx context.Context, path string) error {
	conn, err := d.read.Conn(ctx)
	if err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, `PRAGMA query_only(0)`)
	if err == nil {
		_, err = conn.ExecContext(ctx, `VACUUM INTO $1`, path)
	}
	if bad := conn.Raw(func(any) error { return driver.ErrBadConn }); !errors.Is(bad, driver.ErrBadConn) {
		err = errors.Join(err, bad)
	}
	if closed := conn.Close(); !errors.Is(closed, sql.ErrConnDone) {
		err = errors.Join(err, closed)
	}
	return err
}
