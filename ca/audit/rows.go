package audit

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/protocol"
)

// Table is a table whose rows the log commits to: an entry whose content
// has one of members names a row by it (a string, or an array of strings), and
// the log adds the row's digest as it stands in the entry's transaction. The last
// commitment to a row is what the row must be.
type Table struct {
	name    string
	members []string
	one     string // the row of a key
	all     string // every row, its key first
}

// NewTable is a table whose rows have a key column and are named by members of
// entries.
func NewTable(name, key string, members ...string) Table {
	return Table{
		name: name, members: members,
		one: `SELECT * FROM ` + name + ` WHERE ` + key + ` = $1`, all: `SELECT ` + key + `, ` + name + `.* FROM ` + name,
	}
}

// Checks are what those who compose the authority hold against its log.
type Checks struct {
	// Tables whose rows the log commits to.
	Tables []Table
	// Listing begins to follow the public listing through the log; nil for none.
	Listing func() Follower
}

// Follower collects from the entries, in their order, what they say about the
// public listing, and holds the stored listing against it.
type Follower interface {
	// Entry reads one entry; its errors wrap ErrLog.
	Entry(e Entry) error
	// Compare hands every difference to report, and returns how many leaves it
	// compared.
	Compare(ctx context.Context, tx Querier, report func(string)) (int, error)
}

// noListing follows nothing.
type noListing struct{}

// Entry implements Follower.
func (noListing) Entry(Entry) error { return nil }

// Compare implements Follower.
func (noListing) Compare(context.Context, Querier, func(string)) (int, error) { return 0, nil }

func (c Checks) follow() Follower {
	if c.Listing == nil {
		return noListing{}
	}
	return c.Listing()
}

// rowDigests are commitments: table, key, digest in lower-case hexadecimal; an
// empty digest says that there is no such row any more.
type rowDigests map[string]map[string]string

// rowDigest is SM3(prefix | H(table) | for each column by name H(name) | H(value)).
// Columns that are NULL, empty or 0 are left out, so that a migration may add a
// column with such a default. Numbers are written in decimal: the engines then
// agree on a row.
func rowDigest(table string, columns []string, values []any) (string, error) {
	order := make([]int, len(columns))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		switch {
		case columns[a] < columns[b]:
			return -1
		case columns[a] > columns[b]:
			return 1
		}
		return 0
	})
	parts := [][]byte{[]byte("bidseal/ca audit row 1\x00"), protocol.H([]byte(table))}
	for _, i := range order {
		var cell []byte
		switch v := values[i].(type) {
		case nil:
		case []byte:
			cell = v
		case string:
			cell = []byte(v)
		case int64:
			if v != 0 {
				cell = strconv.AppendInt(nil, v, 10)
			}
		default:
			return "", fmt.Errorf("table %s, column %s: a value of type %T", table, columns[i], v)
		}
		if len(cell) > 0 {
			parts = append(parts, protocol.H([]byte(columns[i])), protocol.H(cell))
		}
	}
	return hex.EncodeToString(protocol.H(parts...)), nil
}

// Querier reads, in a transaction or outside.
type Querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// digestOf is the digest of one row as the transaction sees it, "" if there is
// none.
func (t Table) digestOf(ctx context.Context, tx Querier, key string) (digest string, err error) {
	rows, err := tx.QueryContext(ctx, t.one, key)
	if err != nil {
		return "", fmt.Errorf("read row of %s: %w", t.name, err)
	}
	defer rows.Close()
	err = eachRow(rows, func(columns []string, values []any) error {
		digest, err = rowDigest(t.name, columns, values)
		return err
	})
	return digest, err
}

// eachRow hands every row over with its columns' names. The values are valid
// until do returns.
func eachRow(rows *sql.Rows, do func(columns []string, values []any) error) error {
	columns, err := rows.Columns()
	if err != nil {
		return fmt.Errorf("read rows: %w", err)
	}
	values, into := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return fmt.Errorf("read rows: %w", err)
		}
		if err := do(columns, values); err != nil {
			return err
		}
	}
	return rows.Err()
}

// commitRows adds to an entry's content the digests of the rows that it names.
func commitRows(ctx context.Context, tx kmc.Querier, tables []Table, content []byte) ([]byte, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(content, &members); err != nil {
		return nil, fmt.Errorf("content is not an object: %w", err)
	}
	reader, ok := tx.(Querier)
	if !ok {
		return nil, errors.New("an entry outside a transaction")
	}
	committed := make(rowDigests)
	for _, table := range tables {
		for _, member := range table.members {
			for _, key := range keysIn(members[member]) {
				digest, err := table.digestOf(ctx, reader, key)
				if err != nil {
					return nil, err
				}
				if committed[table.name] == nil {
					committed[table.name] = make(map[string]string)
				}
				committed[table.name][key] = digest
			}
		}
	}
	if len(committed) == 0 {
		return content, nil
	}
	var err error
	if members["rows"], err = json.Marshal(committed); err != nil {
		return nil, fmt.Errorf("row digests: %w", err)
	}
	return json.Marshal(members)
}

// keysIn reads a member that names rows: a string, or an array of strings.
func keysIn(raw json.RawMessage) []string {
	var one string
	var many []string
	if len(raw) == 0 {
		return nil
	}
	if json.Unmarshal(raw, &one) == nil {
		many = []string{one}
	} else if json.Unmarshal(raw, &many) != nil {
		return nil
	}
	return slices.DeleteFunc(many, func(key string) bool { return key == "" })
}

// collect notes the commitments of an entry; a later one replaces an earlier.
func (r rowDigests) collect(content string) error {
	var entry struct {
		Rows rowDigests `json:"rows"`
	}
	if err := json.Unmarshal([]byte(content), &entry); err != nil {
		return fmt.Errorf("content: %w", ErrLog)
	}
	for table, rows := range entry.Rows {
		if r[table] == nil {
			r[table] = make(map[string]string)
		}
		for key, digest := range rows {
			r[table][key] = digest
		}
	}
	return nil
}

// compare holds a table against the log's last word on each of its rows, and
// hands every difference to report.
func (r rowDigests) compare(ctx context.Context, tx Querier, table Table, report func(string)) error {
	want := r[table.name]
	if want == nil {
		want = make(map[string]string)
	}
	rows, err := tx.QueryContext(ctx, table.all)
	if err != nil {
		return fmt.Errorf("read %s: %w", table.name, err)
	}
	defer rows.Close()
	if err := eachRow(rows, func(columns []string, values []any) error {
		key := textOf(values[0])
		digest, err := rowDigest(table.name, columns[1:], values[1:])
		if err != nil {
			return err
		}
		logged, known := want[key]
		switch {
		case !known:
			report(fmt.Sprintf("%s %s is not in the log", table.name, key))
		case logged == "":
			report(fmt.Sprintf("%s %s was removed, the log says", table.name, key))
		case logged != digest:
			report(fmt.Sprintf("%s %s is not what the log says", table.name, key))
		}
		delete(want, key)
		return nil
	}); err != nil {
		return err
	}
	for key, digest := range want {
		if digest != "" {
			report(fmt.Sprintf("%s %s of the log is missing", table.name, key))
		}
	}
	return nil
}

func textOf(v any) string {
	if raw, ok := v.([]byte); ok {
		return string(raw)
	}
	text, _ := v.(string)
	return text
}
