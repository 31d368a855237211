// Package sqldb opens the SQL databases of the components and brings their
// schema up to date. It is the one place that knows an engine: callers write
// SQL that SQLite and PostgreSQL both take ($1 placeholders, BIGINT, TEXT,
// BYTEA, ON CONFLICT) and hold times as integers.
//
// What callers may rely on is the same on both engines:
//
//   - Update: one writer at a time for each component of a database, in all
//     processes. What it reads is what the writer before it left, so that a
//     counter read and raised in one Update has no gap and no double.
//   - What Update reported as done survives a crash of the machine. What it
//     reported as failed may have been written.
//   - View sees one moment. Reader and View cannot write.
//
// SQLite runs in WAL mode with synchronous=FULL. One connection writes, several
// read. Another process may use the same file at the same time; writers wait for
// each other.
//
// PostgreSQL (15 or newer, a database in UTF8) gives one writer at a time by an
// advisory lock of the transaction, taken first in each Update under READ
// COMMITTED, so that every statement sees all that was committed before the lock
// was free. Row locks would let more writers overlap, and were not chosen: the
// ledger's head, a platform's last revision and the audit log's sequence are rows
// that almost every Update writes, so that writers would wait for each other all
// the same, or deadlock where two batches meet two platforms in different order.
// Group commit, not overlap, is what makes writing fast. A process that hangs or
// is cut off while it holds the lock loses it after idleLimit.
//
// A connection that was lost before an Update's first statement is replaced
// without the caller's notice; from then on every failure is the caller's, who
// repeats the operation. Statements, waits for the lock and connections have
// limits (see Source). A PostgreSQL password never stands in a URL, and no error
// of this package holds one.
package sqldb
