package sqldb

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"
)

// Limits of connections and sessions; a URL may set others for a session.
const (
	connectTimeout = 10 * time.Second
	statementLimit = 30 * time.Second
	lockLimit      = busyTimeout      // a writer waits as long on both engines
	idleLimit      = 10 * time.Second // of a transaction between two statements
	connectionIdle = 5 * time.Minute
	connectionLife = time.Hour // then a new one is made: hosts and passwords change
	leastServer    = 150000    // server_version_num
)

// OpenPostgres connects to a server and checks that it can be used.
func OpenPostgres(ctx context.Context, s Source) (*DB, error) {
	if s.Component == "" {
		return nil, errors.New("open database: no component")
	}
	config, err := s.config()
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	readers := s.Readers
	if readers <= 0 {
		readers = max(4, 2*runtime.GOMAXPROCS(0))
	}
	readers = max(2, readers) // a claim keeps one, and somebody has to read
	reading := config.Copy()
	reading.RuntimeParams["default_transaction_read_only"] = "on"
	db := &DB{write: s.pool(config, max(1, s.Writers)), read: s.pool(reading, readers), engine: postgresEngine{lock: lockKey(s.Component)}}
	if err := db.checkServer(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s on %s: %w", config.Database, config.Host, err), db.Close())
	}
	return db, nil
}

// pool reads the password for each connection that it makes.
func (s Source) pool(config *pgx.ConnConfig, connections int) *sql.DB {
	db := stdlib.OpenDB(*config, stdlib.OptionBeforeConnect(func(_ context.Context, c *pgx.ConnConfig) error {
		if s.PasswordFile == "" {
			return nil
		}
		password, err := readPassword(s.PasswordFile)
		c.Password = password
		return err
	}), stdlib.OptionAfterConnect(func(_ context.Context, c *pgx.Conn) error {
		registerParameters(c.TypeMap())
		return nil
	}))
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	db.SetConnMaxIdleTime(connectionIdle)
	db.SetConnMaxLifetime(connectionLife)
	return db
}

// registerParameters names the types of the values that components write. A URL that asks for
// default_query_exec_mode=exec needs them, and pgx knows none where it is built with nopgxregisterdefaulttypes, which makes
// the product two million bytes smaller.
func registerParameters(m *pgtype.Map) {
	for name, values := range map[string][]any{
		"bool": {false}, "int2": {int16(0)}, "int4": {int32(0)}, "int8": {int(0), int64(0), int8(0), uint8(0), uint16(0), uint32(0)}, "numeric": {uint(0), uint64(0)},
		"float4": {float32(0)}, "float8": {float64(0)}, "text": {""}, "bytea": {[]byte(nil)}, "timestamptz": {time.Time{}},
	} {
		for _, value := range values {
			m.RegisterDefaultPgType(value, name)
		}
	}
}

func (d *DB) checkServer(ctx context.Context) error {
	if err := d.write.PingContext(ctx); err != nil {
		return err
	}
	var number, encoding string
	if err := d.read.QueryRowContext(ctx, `SELECT current_setting('server_version_num'), current_setting('server_encoding')`).Scan(&number, &encoding); err != nil {
		return err
	}
	if version, err := strconv.Atoi(number); err != nil || version < leastServer {
		return fmt.Errorf("server version %s: PostgreSQL 15 or newer is needed", number)
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the database's encoding is %s, not UTF8", encoding)
	}
	return nil
}

// postgresEngine takes an advisory lock for each transaction that writes.
type postgresEngine struct{ lock int32 }

// lockKey is the first half of a lock's key; the second is the schema's.
func lockKey(name string) int32 {
	sum := sha256.Sum256([]byte("bidseal/sqldb lock 1\x00" + name))
	return int32(binary.BigEndian.Uint32(sum[:]))
}

// takeLock waits until the transaction is the only one with the key in this
// schema. It is free again when the transaction's end is visible to everybody.
const takeLock = `SELECT pg_advisory_xact_lock($1::int, hashtext(current_schema()::text))`

// begin tries once more where a connection turned out to be lost: nothing was
// written by it.
func (e postgresEngine) begin(ctx context.Context, write *sql.DB) (*sql.Tx, error) {
	tx, err := e.tryBegin(ctx, write)
	if err != nil && lost(err) && ctx.Err() == nil {
		tx, err = e.tryBegin(ctx, write)
	}
	return tx, err
}

// READ COMMITTED: a snapshot of the whole transaction would be taken before the
// lock is held, and miss what the writer before committed.
func (e postgresEngine) tryBegin(ctx context.Context, write *sql.DB) (*sql.Tx, error) {
	tx, err := write.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, takeLock, e.lock); err != nil {
		tx.Rollback()
		return nil, fmt.Errorf("wait for the writer's lock: %w", err)
	}
	return tx, nil
}

func (postgresEngine) view() *sql.TxOptions {
	return &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead}
}

// migrating locks for all components: they share the table of migrations. Its
// owner may be another role than the one that serves, which then needs no right
// to create anything once all migrations are applied.
func (postgresEngine) migrating(ctx context.Context, tx *sql.Tx) (known bool, err error) {
	if _, err := tx.ExecContext(ctx, takeLock, lockKey("schema migrations")); err != nil {
		return false, fmt.Errorf("wait for other migrations: %w", err)
	}
	err = tx.QueryRowContext(ctx, `SELECT to_regclass('schema_migrations') IS NOT NULL`).Scan(&known)
	return known, err
}

// claim keeps one reading connection for the lock of its session.
func (postgresEngine) claim(ctx context.Context, pool *sql.DB, name string) (release func() error, err error) {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("claim %s: %w", name, err)
	}
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock($1::int, hashtext(current_schema()::text))`, lockKey(name)); err != nil {
		var answer *pgconn.PgError
		if errors.As(err, &answer) && answer.Code == lockNotAvailable {
			err = ErrClaimed
		}
		return nil, errors.Join(fmt.Errorf("claim %s: %w", name, err), conn.Close())
	}
	return func() error {
		// The session goes with its lock, whatever else became of it.
		return ignoreBad(conn.Raw(func(any) error { return driver.ErrBadConn }))
	}, nil
}

// ignoreBad: a connection that is declared bad is closed, which was the purpose.
func ignoreBad(err error) error {
	if errors.Is(err, driver.ErrBadConn) {
		return nil
	}
	return err
}

// lockNotAvailable: lock_timeout has passed.
const lockNotAvailable = "55P03"

// lost reports whether a failure is that of a connection and not the server's
// response, or comes from a server that ends (class 57P: shutdown, crash, start).
func lost(err error) bool {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return answer.Code == "57P01" || answer.Code == "57P02" || answer.Code == "57P05"
	}
	var network net.Error
	return !errors.As(err, &network) || !network.Timeout()
}
