package status

import (
	"context"
	"database/sql"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/trust"
)

// MaxCRLShards bounds the number of shards.
const MaxCRLShards = 256

// crlName names a list: all certificates of an issuer's ("issuing-1"), or one
// shard of them ("issuing-1.4of16"). A certificate's shard is fixed when it is
// issued, by its distribution point: the last two octets of its serial number,
// big-endian, modulo the number of shards then. The number of shards is part of
// the name, so that it may change for later certificates.
type crlName struct {
	issuer    string
	shard, of int // of is 1 for the full list
}

// String is the name in URLs and in ca_crls.issuer.
func (n crlName) String() string {
	if n.of == 1 {
		return n.issuer
	}
	return fmt.Sprintf("%s.%dof%d", n.issuer, n.shard, n.of)
}

// parseCRLName reads what String wrote, in that form alone.
func parseCRLName(text string) (crlName, bool) {
	issuer, rest, sharded := strings.Cut(text, ".")
	if !sharded {
		return crlName{issuer: issuer, of: 1}, issuer != ""
	}
	first, second, _ := strings.Cut(rest, "of")
	shard, err1 := strconv.Atoi(first)
	of, err2 := strconv.Atoi(second)
	n := crlName{issuer, shard, of}
	return n, err1 == nil && err2 == nil && of > 1 && of <= MaxCRLShards && shard >= 0 && shard < of && n.String() == text
}

// crlOf is the list to which a new certificate points.
func crlOf(issuer string, serial *big.Int, shards int) crlName {
	if shards <= 1 {
		return crlName{issuer: issuer, of: 1}
	}
	n := crlName{issuer: issuer, of: shards}
	n.shard = int(new(big.Int).And(serial, big.NewInt(0xFFFF)).Int64()) % shards
	return n
}

// holds reports whether a serial number of the issuer's belongs on the list.
func (n crlName) holds(serial *big.Int) bool { return crlOf(n.issuer, serial, n.of) == n }

// Prepare is issuance.Issuer.Prepare for a certificate that points to its own
// shard.
func (i *Issuer) Prepare(r issuance.Request) (*issuance.Linted, error) {
	if r.CRLURL == "" && r.Serial != nil && i.crlURL != nil {
		r.CRLURL = i.crlURL(r.Serial)
	}
	return i.Issuer.Prepare(r)
}

// shardURL is where certificates of an issuer's point.
func (s *Status) shardURL(issuer string) func(*big.Int) string {
	return func(serial *big.Int) string {
		return s.crlURL(crlOf(issuer, serial, s.shards).String())
	}
}

// shardsInUse are the numbers of shards with which certificates may have been
// issued, remembered for ever.
func shardsInUse(ctx context.Context, q audit.Querier) (map[int]bool, error) {
	rows, err := q.QueryContext(ctx, `SELECT value FROM ca_counters WHERE name LIKE 'crl_shards_%'`)
	if err != nil {
		return nil, fmt.Errorf("read shards: %w", err)
	}
	defer rows.Close()
	used := make(map[int]bool)
	for rows.Next() {
		var n int
		if err := rows.Scan(&n); err != nil {
			return nil, fmt.Errorf("read shards: %w", err)
		}
		used[n] = true
	}
	return used, rows.Err()
}

// LoadShards reads the numbers of shards in use, and reports whether the
// configured one is among them. Where it is not, AddShards makes it known before
// the first certificate points to one.
func (s *Status) LoadShards(ctx context.Context) (known bool, err error) {
	if s.lists.shards, err = shardsInUse(ctx, s.db.Reader()); err != nil {
		return false, err
	}
	return s.shards <= 1 || s.lists.shards[s.shards], nil
}

// AddShards makes the configured number of shards known.
func (s *Status) AddShards(ctx context.Context, tx *sql.Tx) error {
	if _, err := tx.ExecContext(ctx, `INSERT INTO ca_counters (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING`, fmt.Sprintf("crl_shards_%d", s.shards), s.shards); err != nil {
		return fmt.Errorf("remember shards: %w", err)
	}
	s.lists.shards[s.shards] = true
	return nil
}

// CRLNames are the lists that the issuing authorities publish now: the full one
// of each, and its shards.
func (s *Status) CRLNames() []string {
	names := []string{RootName}
	for _, i := range s.issuers {
		names = append(names, i.Name)
		for of := 2; of <= MaxCRLShards; of++ {
			for shard := 0; s.lists.shards[of] && shard < of; shard++ {
				names = append(names, crlName{i.Name, shard, of}.String())
			}
		}
	}
	return names
}

// crlURLOf is the distribution point that a list states for itself. Where there
// are shards the full list states none: it covers every certificate of its
// issuer's, and a certificate points to one list alone.
func (s *Status) crlURLOf(n crlName) string {
	if n.of == 1 && len(s.lists.shards) > 0 {
		return ""
	}
	return s.crlURL(n.String())
}

// revokedSerial reads a stored serial number.
func revokedSerial(text string) (*big.Int, error) {
	serial, err := trust.ParseSerialHex(text)
	if err != nil {
		return nil, fmt.Errorf("read revocations: %w", err)
	}
	return serial, nil
}
