package life

import (
	"context"
	"crypto"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/status"
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
	// blockSize is how many serial numbers are set aside at once; 0 is the default
	blockSize uint32

	mu        sync.Mutex
	authority *tsa.Authority
	cert      *smx509.Certificate
}

// Timestamp answers a timestamp request in DER (RFC 3161); see package tsa.
func (l *Life) Timestamp(ctx context.Context, request []byte) ([]byte, error) {
	authority, err := l.timestamps(ctx)
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
func (l *Life) TimestampCertificate(ctx context.Context) (*smx509.Certificate, error) {
	if _, err := l.timestamps(ctx); err != nil {
		return nil, err
	}
	l.stamps.mu.Lock()
	defer l.stamps.mu.Unlock()
	return l.stamps.cert, nil
}

// timestamps returns the authority under a certificate that has not come near its
// end.
func (l *Life) timestamps(ctx context.Context) (*tsa.Authority, error) {
	if l.stamps.key == nil {
		return nil, protocol.Errorf(protocol.CodeNotFound, "this authority issues no timestamps")
	}
	l.stamps.mu.Lock()
	defer l.stamps.mu.Unlock()
	if l.stamps.authority != nil && l.now().Before(l.stamps.cert.NotAfter.Add(-stampRenewal)) {
		return l.stamps.authority, nil
	}
	cert, issuer, err := l.timestampCertificate(ctx)
	if err != nil {
		return nil, err
	}
	if l.stamps.authority != nil && cert.Equal(l.stamps.cert) {
		return l.stamps.authority, nil
	}
	authority, err := tsa.New(tsa.Options{
		Signer: timestamp.Signer{Certificate: cert, Above: []*smx509.Certificate{issuer.Certificate()}, Key: l.stamps.key},
		Policy: l.stampPolicy, Ledger: timestampLedger{l}, Now: l.now, Logger: l.log, BlockSize: l.stamps.blockSize,
	})
	if err != nil {
		return nil, err
	}
	l.stamps.authority, l.stamps.cert = authority, cert
	return authority, nil
}

// timestampCertificate is the newest one of any issuing authority's, replaced in
// time under the current one.
func (l *Life) timestampCertificate(ctx context.Context) (*smx509.Certificate, *status.Issuer, error) {
	newest, by, err := l.newestTimestampCertificate(ctx)
	if err != nil {
		return nil, nil, err
	}
	current := l.status.Current()
	renewable := newest == nil || newest.NotAfter.Before(current.Certificate().NotAfter)
	if newest != nil && (l.now().Before(newest.NotAfter.Add(-stampRenewal)) || !renewable) {
		return newest, by, nil
	}
	fresh, err := l.certifyTimestamps(ctx, current)
	switch {
	case err == nil:
		return fresh, current, nil
	case newest != nil && l.now().Before(newest.NotAfter): // the old one still serves, and the next request tries again
		l.log.LogAttrs(ctx, slog.LevelError, "renew the timestamp authority's certificate", slog.Time("ends", newest.NotAfter), slog.Any("error", err))
		return newest, by, nil
	}
	return nil, nil, err
}

func (l *Life) certifyTimestamps(ctx context.Context, issuer *status.Issuer) (*smx509.Certificate, error) {
	request := ServiceRequest(issuance.Timestamp, l.now(), issuer.Certificate())
	request.Subject, request.PublicKey = l.stampSubject, l.stamps.key.Public()
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
	return cert, l.db.Update(ctx, func(tx *sql.Tx) error {
		return l.status.Store(ctx, tx, status.Certificate{Profile: issuance.Timestamp, Issuer: issuer.Name, Cert: cert})
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
type timestampLedger struct{ a *Life }

// Reserve implements tsa.Ledger.
func (l timestampLedger) Reserve(ctx context.Context) (block tsa.Block, err error) {
	err = l.a.db.Update(ctx, func(tx *sql.Tx) error {
		number, err := l.a.status.Raise(ctx, tx, counterStampBlock, func(last int64) int64 { return last + 1 })
		if err != nil {
			return err
		}
		if block, err = tsa.NewBlock(uint64(number)); err != nil {
			return err
		}
		return l.a.audit.Append(ctx, tx, audit.ActorAuthority, audit.EventTimestamps, map[string]any{
			"block": number, "prefix": fmt.Sprintf("%016X%X", block.Number, block.Salt),
		})
	})
	return block, err
}

// Advance implements tsa.Ledger.
func (l timestampLedger) Advance(ctx context.Context, until time.Time, tolerance time.Duration) error {
	return l.a.db.Update(ctx, func(tx *sql.Tx) error {
		mark, err := l.a.status.Raise(ctx, tx, counterStampMark, func(last int64) int64 { return max(last, until.UnixMilli()) })
		if err == nil && mark > until.Add(tolerance).UnixMilli() {
			err = tsa.ErrClock
		}
		return err
	})
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
func (l *Life) Timestamps(ctx context.Context) (*TimestampState, error) {
	cert, err := l.TimestampCertificate(ctx)
	if err != nil {
		return nil, err
	}
	state := &TimestampState{
		URL: l.stampURL, Serial: trust.SerialHex(cert.SerialNumber), NotAfter: cert.NotAfter, Policy: l.stampPolicy.String(),
	}
	var mark int64
	if err := l.db.Reader().QueryRowContext(ctx, `SELECT COALESCE((SELECT value FROM ca_counters WHERE name = $1), 0),
		COALESCE((SELECT value FROM ca_counters WHERE name = $2), 0)`, counterStampBlock, counterStampMark).Scan(&state.Blocks, &mark); err != nil {
		return nil, fmt.Errorf("read timestamp counters: %w", err)
	}
	if mark != 0 {
		at := time.UnixMilli(mark).UTC()
		state.LatestToken = &at
	}
	return state, nil
}
