// Package sqldb opens the SQL databases of the components and brings their
// schema up to date. It is the one place that knows an engine: callers write
// SQL that SQLite and PostgreSQL both take ($1 placeholders, BIGINT, TEXT,
// BYTEA, ON CONFLICT) and hold times as integers.
//
// SQLite runs in WAL mode with synchronous=FULL: what Update reported as done
// survives a crash of the machine. One connection writes, several read. Another
// process may use the same file at the same time; writers wait for each other.
package sqldb
