package assist

import (
	"context"
	"crypto"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"github.com/bidseal/bidseal/internal/sqldb"
	"github.com/bidseal/bidseal/protocol"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations of the tables, for component "assist".
func Migrations() fs.FS {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	return sub
}

// Querier is a transaction or a database handle.
type Querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Device is a phone that may call.
type Device struct {
	Account string
	Key     []byte // SubjectPublicKeyInfo
}

// Event is what the auditor records.
type Event struct {
	Name     EventName
	Device   string
	Keystore string // hexadecimal
	Epoch    int64
	Reason   string // of a destruction
}

// EventName is what happened.
type EventName string

// The events.
const (
	Registered EventName = "password.registered" // the first epoch was confirmed
	Changed    EventName = "password.changed"    // a later one was
	Locked     EventName = "password.locked"
	Unlocked   EventName = "password.unlocked" // by a success that was proved late
	Reset      EventName = "password.reset"    // the share left the server
	Destroyed  EventName = "password.destroyed"
)

// Options of a service. All but Limits are required.
type Options struct {
	DB  *sqldb.DB // migrated
	KEK []byte    // KEKSize; no reference is kept
	// Device returns a device that may call, sql.ErrNoRows for an unknown one and
	// protocol.CodeForbidden for a blocked one.
	Device func(ctx context.Context, q Querier, id string) (*Device, error)
	// Audit records an event in the caller's transaction; an error stops what it
	// is about.
	Audit func(ctx context.Context, tx Querier, e Event) error
	// URL under which phones reach the service; proofs are over it.
	URL string
	// RealName are the keys of the authorities whose tokens are believed.
	RealName []crypto.PublicKey
	Now      func() time.Time
	// Limits of tries; DefaultLimits if zero.
	Limits Limits
}

// Limits bound how often one keystore is evaluated, right or wrong.
type Limits struct{ Hour, Day int }

// DefaultLimits leave room for a day of bid openings.
func DefaultLimits() Limits { return Limits{Hour: 60, Day: 300} }

// Service is the password-assist server. It is safe for concurrent use and for
// several processes on one database.
type Service struct {
	o    Options
	seal *sealer
	// stop is set by tests: it ends an operation at a step, as a crash would.
	stop func(step string) error
}

// New makes a service.
func New(o Options) (*Service, error) {
	if o.DB == nil || o.Device == nil || o.Audit == nil || o.Now == nil || o.URL == "" {
		return nil, errors.New("password assist: options are incomplete")
	}
	if o.Limits == (Limits{}) {
		o.Limits = DefaultLimits()
	}
	seal, err := newSealer(o.KEK)
	if err != nil {
		return nil, err
	}
	o.KEK = nil
	return &Service{o: o, seal: seal, stop: func(string) error { return nil }}, nil
}

// Call is a POST with what authenticates it.
type Call struct {
	Path  string // of the request line
	Body  []byte
	Proof string // value of protocol.HeaderProof
}

// authenticate verifies that the call comes from the device that it names.
func (s *Service) authenticate(ctx context.Context, c Call, id string) (*Device, crypto.PublicKey, error) {
	device, err := s.o.Device(ctx, s.o.DB.Reader(), id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil, protocol.Errorf(protocol.CodeUnauthorized, "the device is not known")
	}
	if protocol.CodeOf(err) == protocol.CodeForbidden {
		return nil, nil, s.destroyed(ctx, id, err)
	}
	if err != nil {
		return nil, nil, err
	}
	public, err := protocol.ParseKey(device.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("stored device key: %w", err)
	}
	err = protocol.VerifyProof(&protocol.VerifiedPass{Public: public, Digest: protocol.H(nil)}, c.Proof,
		protocol.Call{Method: http.MethodPost, URL: s.o.URL + c.Path, Body: c.Body}, s.o.Now())
	return device, public, err
}

// destroyed says to a blocked device whether its keys are gone for good.
func (s *Service) destroyed(ctx context.Context, device string, blocked error) error {
	var n int
	if err := s.o.DB.Reader().QueryRowContext(ctx, `SELECT count(*) FROM assist_destroyed WHERE device = $1`, device).Scan(&n); err != nil {
		return fmt.Errorf("read destroyed devices: %w", err)
	}
	if n > 0 {
		return gone("the keys of this device were destroyed")
	}
	return blocked
}

func (s *Service) event(ctx context.Context, tx Querier, name EventName, k *keystore, epoch int64) error {
	return s.o.Audit(ctx, tx, Event{Name: name, Device: k.device, Keystore: k.id, Epoch: epoch})
}

func text(id []byte) string { return hex.EncodeToString(id) }
