package tsa

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"sync"
	"time"

	"github.com/bidseal/bidseal/trust"
	"github.com/bidseal/bidseal/trust/timestamp"
)

// ErrClock: the ledger's mark is ahead of the clock.
var ErrClock = errors.New("the clock is behind the last timestamp")

// ErrBusy: more requests than the configured rate.
var ErrBusy = errors.New("too many timestamp requests")

// Block is a range of serial numbers that was never given out before.
type Block struct {
	// Number of the block: higher than every one before it.
	Number uint64
	// Salt of the block, random.
	Salt [8]byte
}

// Ledger keeps what must survive a crash. Several authorities may use one.
type Ledger interface {
	// Reserve sets aside a new block. When it returns, a crash cannot undo it. An
	// error does not say that no block was set aside: that one is lost.
	Reserve(ctx context.Context) (Block, error)
	// Advance raises the mark to until, durably; a mark beyond it stays. A mark
	// that is more than tolerance beyond until is ErrClock.
	Advance(ctx context.Context, until time.Time, tolerance time.Duration) error
}

// Options of an authority.
type Options struct {
	// Signer of the tokens; the certificate's extended key usage must be
	// timestamping alone, critical. Required.
	Signer timestamp.Signer
	// Policy under which tokens are made. Required.
	Policy asn1.ObjectIdentifier
	// Ledger, Now (the clock) and Logger are required.
	Ledger Ledger
	Now    func() time.Time
	Logger *slog.Logger
	// Rate bounds requests per second, over bursts of one second; 0 means
	// DefaultRate.
	Rate int
	// BlockSize is how many serial numbers a block has; 0 means DefaultBlockSize.
	BlockSize uint32
}

// Defaults.
const (
	DefaultRate      = 500
	DefaultBlockSize = 4096
	// Accuracy that tokens state.
	Accuracy = time.Second
	// lead is how far the mark runs ahead of the clock, so that the ledger is
	// written once a second at most.
	lead = time.Second
)

// Authority answers timestamp requests. It is safe for concurrent use.
type Authority struct {
	o Options

	mu    sync.Mutex
	block Block
	left  uint32    // serial numbers of block
	last  time.Time // of the newest token
	mark  time.Time // of the ledger, as far as we know
	quota float64
	at    time.Time // when quota was counted
}

// New makes an authority and checks that its certificate is one for timestamps.
func New(o Options) (*Authority, error) {
	if o.Ledger == nil || o.Now == nil || o.Logger == nil || o.Signer.Certificate == nil || o.Signer.Key == nil || len(o.Policy) == 0 {
		return nil, errors.New("timestamp authority: signer, policy, ledger, clock and logger are needed")
	}
	public, ok := o.Signer.Key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(o.Signer.Certificate.PublicKey) {
		return nil, errors.New("timestamp authority: the key does not belong to the certificate")
	}
	if err := trust.CheckUsage(o.Signer.Certificate, trust.TSA); err != nil {
		return nil, fmt.Errorf("timestamp authority: %w", err)
	}
	if o.Rate <= 0 {
		o.Rate = DefaultRate
	}
	if o.BlockSize == 0 {
		o.BlockSize = DefaultBlockSize
	}
	return &Authority{o: o, quota: float64(o.Rate), at: o.Now()}, nil
}

// Respond answers a request in DER: with a token, or with the reason for which
// there is none. The only error is ErrBusy.
func (a *Authority) Respond(ctx context.Context, der []byte) ([]byte, error) {
	if !a.admit() {
		return nil, ErrBusy
	}
	response, err := a.grant(ctx, der)
	if err == nil {
		return response, nil
	}
	var refused *timestamp.Rejection
	if !errors.As(err, &refused) {
		a.o.Logger.LogAttrs(ctx, slog.LevelError, "timestamp", slog.Any("error", err))
		refused = &timestamp.Rejection{Failure: timestamp.SystemFailure, Text: "try again later"}
	}
	return refused.Response()
}

// admit counts a request against the rate.
func (a *Authority) admit() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now, rate := a.o.Now(), float64(a.o.Rate)
	a.quota = min(rate, a.quota+max(0, now.Sub(a.at).Seconds())*rate)
	a.at = now
	if a.quota < 1 {
		return false
	}
	a.quota--
	return true
}

func (a *Authority) grant(ctx context.Context, der []byte) ([]byte, error) {
	request, err := timestamp.ParseRequest(der)
	if err != nil {
		return nil, err
	}
	if len(request.Policy) != 0 && !request.Policy.Equal(a.o.Policy) {
		return nil, &timestamp.Rejection{Failure: timestamp.UnacceptedPolicy, Text: "the policy is " + a.o.Policy.String()}
	}
	serial, at, err := a.draw(ctx)
	if err != nil {
		return nil, err
	}
	token, err := a.o.Signer.Sign(rand.Reader, &timestamp.Info{
		Policy: a.o.Policy, Imprint: request.Imprint, Serial: serial, Time: at, Accuracy: Accuracy, Nonce: request.Nonce,
	}, request.CertReq)
	if err != nil {
		return nil, err
	}
	return timestamp.GrantedResponse(token)
}

// draw takes a serial number and the time, both safe in the ledger.
func (a *Authority) draw(ctx context.Context) (*big.Int, time.Time, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.left == 0 {
		block, err := a.o.Ledger.Reserve(ctx)
		if err != nil {
			return nil, time.Time{}, fmt.Errorf("reserve serial numbers: %w", err)
		}
		a.block, a.left = block, a.o.BlockSize
	}
	at := a.o.Now().UTC().Truncate(time.Second)
	if err := a.checkTime(ctx, at); err != nil {
		return nil, time.Time{}, err
	}
	a.left--
	a.last = at
	return a.block.serial(a.left), at, nil
}

func (a *Authority) checkTime(ctx context.Context, at time.Time) error {
	behind := &timestamp.Rejection{Failure: timestamp.TimeNotAvailable, Text: "the time source is not reliable"}
	if at.Before(a.last) {
		a.o.Logger.LogAttrs(ctx, slog.LevelError, "the clock has gone back", slog.Time("last", a.last), slog.Time("now", at))
		return behind
	}
	cert := a.o.Signer.Certificate
	if at.Before(cert.NotBefore) || at.After(cert.NotAfter) {
		return fmt.Errorf("timestamp at %s, the certificate is valid from %s to %s", at.Format(time.RFC3339), cert.NotBefore.Format(time.RFC3339), cert.NotAfter.Format(time.RFC3339))
	}
	if !at.After(a.mark) && !a.mark.IsZero() {
		return nil
	}
	until := at.Add(lead)
	err := a.o.Ledger.Advance(ctx, until, lead)
	if errors.Is(err, ErrClock) {
		a.o.Logger.LogAttrs(ctx, slog.LevelError, "the clock is behind an earlier timestamp", slog.Time("now", at))
		return behind
	}
	if err != nil {
		return fmt.Errorf("mark the time: %w", err)
	}
	a.mark = until
	return nil
}

// serial is the number at a place of the block.
func (b Block) serial(place uint32) *big.Int {
	octets := binary.BigEndian.AppendUint64(nil, b.Number&^(1<<63)) // positive in 20 octets
	octets = append(octets, b.Salt[:]...)
	return new(big.Int).SetBytes(binary.BigEndian.AppendUint32(octets, place))
}
