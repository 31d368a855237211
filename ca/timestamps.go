package ca

import (
	"context"
	"crypto"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/tsa"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/bidseal/bidseal/trust/timestamp"
	"github.com/emmansun/gmsm/smx509"
)

// stampRenewal is how long before its end the timestamp authority's certificate
// is replaced: years, so that no token is near the end of its certificate when it
// is made.
const stampRenewal = 366 * 24 * time.Hour

// timestamps is the timestamp authority; key is nil in folders of before it
// existed.
type timestamps struct {
	key crypto.Signer
	// blockSize is set by tests; 0 is the default
	blockSize uint32

	mu        sync.Mutex
	authority *tsa.Authority
	cert      *smx509.Certificate
}

// loadTimestamps reads the key. A folder of before there was one has none, and
// the authority gives no timestamps.
func (a *Authority) loadTimestamps(ctx context.Context, ring *keyring) error {
	key, err := ring.readSigner(ctx, keyTSA)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	a.stamps.key = key
	return nil
}

// Timestamp answers a timestamp request in DER (RFC 3161); see package tsa.
func (a *Authority) Timestamp(ctx context.Context, request []byte) ([]byte, error) {
	authority, err := a.timestamps(ctx)
	if err != nil {
		return nil, err
	}
	answer, err := authority.Respond(ctx, request)
	if errors.Is(err, tsa.ErrBusy) {
		return nil, &protocol.Error{Code: protocol.CodeOverloaded, RetryAfter: 1}
	}
	return answer, err
}

// TimestampCertificate is the certificate of the timestamp authority.
func (a *Authority) TimestampCertificate(ctx context.Context) (*smx509.Certificate, error) {
	if _, err := a.timestamps(ctx); err != nil {
		return nil, err
	}
	a.stamps.mu.Lock()
	defer a.stamps.mu.Unlock()
	return a.stamps.cert, nil
}

// timestamps answers the authority under a certificate that has not come near its
// end.
func (a *Authority) timestamps(ctx context.Context) (*tsa.Authority, error) {
	if a.stamps.key == nil {
		return nil, protocol.Errorf(protocol.CodeNotFound, "this authority gives no timestamps")
	}
	a.stamps.mu.Lock()
	defer a.stamps.mu.Unlock()
	if a.stamps.authority != nil && a.now().Before(a.stamps.cert.NotAfter.Add(-stampRenewal)) {
		return a.stamps.authority, nil
	}
	cert, issuer, err := a.timestampCertificate(ctx)
	if err != nil {
		return nil, err
	}
	if a.stamps.authority != nil && cert.Equal(a.stamps.cert) {
		return a.stamps.authority, nil
	}
	authority, err := tsa.New(tsa.Options{
		Signer: timestamp.Signer{Certificate: cert, Above: []*smx509.Certificate{issuer.Certificate()}, Key: a.stamps.key},
		Policy: a.oids.TimestampPolicy, Ledger: timestampLedger{a}, Now: a.now, Logger: a.log, BlockSize: a.stamps.blockSize,
	})
	if err != nil {
		return nil, err
	}
	a.stamps.authority, a.stamps.cert = authority, cert
	return authority, nil
}

// timestampCertificate is the newest one of any issuing authority's, replaced in
// time under the current one.
func (a *Authority) timestampCertificate(ctx context.Context) (*smx509.Certificate, *issuing, error) {
	var newest *smx509.Certificate
	var by *issuing
	for _, issuer := range a.issuers {
		cert, err := a.newestOf(ctx, issuance.Timestamp, issuer.name)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if newest == nil || cert.NotAfter.After(newest.NotAfter) {
			newest, by = cert, issuer
		}
	}
	current := a.issuers.current()
	renewable := newest == nil || newest.NotAfter.Before(current.Certificate().NotAfter)
	if newest != nil && (a.now().Before(newest.NotAfter.Add(-stampRenewal)) || !renewable) {
		return newest, by, nil
	}
	fresh, err := a.certifyTimestamps(ctx, current)
	switch {
	case err == nil:
		return fresh, current, nil
	case newest != nil && a.now().Before(newest.NotAfter): // the old one still serves, and the next request tries again
		a.log.LogAttrs(ctx, slog.LevelError, "renew the timestamp authority's certificate", slog.Time("ends", newest.NotAfter), slog.Any("error", err))
		return newest, by, nil
	}
	return nil, nil, err
}

func (a *Authority) certifyTimestamps(ctx context.Context, issuer *issuing) (*smx509.Certificate, error) {
	request := serviceRequest(issuance.Timestamp, a.now(), issuer.Certificate())
	request.Subject, request.PublicKey = a.config.subject(keyTSA), a.stamps.key.Public()
	var err error
	if request.Serial, err = issuance.NewSerial(rand.Reader); err != nil {
		return nil, err
	}
	linted, err := issuer.Prepare(request)
	if err != nil {
		return nil, fmt.Errorf("timestamp authority's certificate: %w", err)
	}
	cert, err := issuer.Issue(linted)
	if err != nil {
		return nil, fmt.Errorf("timestamp authority's certificate: %w", err)
	}
	return cert, a.db.Update(ctx, func(tx *sql.Tx) error {
		return storeCertificate(ctx, tx, &a.audit, certificateRow{profile: issuance.Timestamp, issuer: issuer.name, cert: cert})
	})
}

// Counters of the timestamp authority in ca_counters.
const (
	counterStampBlock = "timestamp_block" // number of the last block of serial numbers
	counterStampMark  = "timestamp_mark"  // Unix milliseconds: no token is later
)

// timestampLedger keeps blocks and mark in the authority's database. Each block
// is in the audit log with the prefix of its serial numbers; single tokens are
// not.
type timestampLedger struct{ a *Authority }

// Reserve implements tsa.Ledger.
func (l timestampLedger) Reserve(ctx context.Context) (block tsa.Block, err error) {
	err = l.a.db.Update(ctx, func(tx *sql.Tx) error {
		number, err := raiseCounter(ctx, tx, counterStampBlock, func(last int64) int64 { return last + 1 })
		if err != nil {
			return err
		}
		if block, err = tsa.NewBlock(uint64(number)); err != nil {
			return err
		}
		return l.a.audit.append(ctx, tx, actorAuthority, eventTimestamps, map[string]any{
			"block": number, "prefix": fmt.Sprintf("%016X%X", block.Number, block.Salt),
		})
	})
	return block, err
}

// Advance implements tsa.Ledger.
func (l timestampLedger) Advance(ctx context.Context, until time.Time, tolerance time.Duration) error {
	return l.a.db.Update(ctx, func(tx *sql.Tx) error {
		mark, err := raiseCounter(ctx, tx, counterStampMark, func(last int64) int64 { return max(last, until.UnixMilli()) })
		if err == nil && mark > until.Add(tolerance).UnixMilli() {
			err = tsa.ErrClock
		}
		return err
	})
}

// raiseCounter changes a counter, from 0 if there is none yet.
func raiseCounter(ctx context.Context, tx *sql.Tx, name string, change func(int64) int64) (int64, error) {
	var value int64
	err := tx.QueryRowContext(ctx, `SELECT value FROM ca_counters WHERE name = $1`, name).Scan(&value)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("counter %s: %w", name, err)
	}
	value = change(value)
	if _, err := tx.ExecContext(ctx, `INSERT INTO ca_counters (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2`, name, value); err != nil {
		return 0, fmt.Errorf("counter %s: %w", name, err)
	}
	return value, nil
}

// TimestampState is where the timestamp authority stands.
type TimestampState struct {
	URL         string     `json:"url"`
	Serial      string     `json:"serial"` // of the certificate
	NotAfter    time.Time  `json:"not_after"`
	Policy      string     `json:"policy"`
	Blocks      int64      `json:"blocks"`    // of serial numbers, set aside so far
	LatestToken *time.Time `json:"latest_by"` // no token is later; nil before the first
}

// Timestamps is where the timestamp authority stands.
func (a *Authority) Timestamps(ctx context.Context) (*TimestampState, error) {
	cert, err := a.TimestampCertificate(ctx)
	if err != nil {
		return nil, err
	}
	state := &TimestampState{
		URL: a.config.BaseURL + PathTimestamp, Serial: trust.SerialHex(cert.SerialNumber), NotAfter: cert.NotAfter, Policy: a.oids.TimestampPolicy.String(),
	}
	var mark int64
	if err := a.db.Reader().QueryRowContext(ctx, `SELECT COALESCE((SELECT value FROM ca_counters WHERE name = $1), 0),
		COALESCE((SELECT value FROM ca_counters WHERE name = $2), 0)`, counterStampBlock, counterStampMark).Scan(&state.Blocks, &mark); err != nil {
		return nil, fmt.Errorf("read timestamp counters: %w", err)
	}
	if mark != 0 {
		at := time.UnixMilli(mark).UTC()
		state.LatestToken = &at
	}
	return state, nil
}
