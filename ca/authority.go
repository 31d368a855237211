package ca

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/listing"
	"github.com/bidseal/bidseal/ca/registry"
	"github.com/bidseal/bidseal/ca/server"
	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/internal/httpapi"
)

// Options of an opened authority.
type Options struct {
	// Passphrase of the key files. Required; the caller wipes it.
	Passphrase []byte
	// Now is the clock. Required.
	Now func() time.Time
	// Logger; no secrets and no names of persons are logged. Required.
	Logger *slog.Logger
	// PublicURL under which the API is reached, where it is not the base URL
	// that stands in the certificates.
	PublicURL string
	// Tokens for keys in hardware security modules; nil for none.
	Tokens folder.Tokens
	// Assist destroys what helps a lost phone to open its keystore; nil is the
	// authority's own password assist.
	Assist life.AssistDestroyer
	// RealName are further real-name authorities whose tokens are believed,
	// beside the operator's own key.
	RealName []crypto.PublicKey
}

// Authority is an opened certificate authority: its rooms, each knowing only those
// before it. It is safe for concurrent use and for several processes on one
// folder.
type Authority struct {
	Audit    *audit.Log
	Listing  *listing.Listing
	Status   *status.Status
	Life     *life.Life
	Registry *registry.Registry
	Folder   *folder.Folder

	options Options
	seams   seams
}

// seams are where the authority's tests reach into it; see export_test.go.
type seams struct {
	// stop ends what is under way at a step, as a crash would; nil for never.
	stop func(step string) error
	// opened sees, and may change, what the folder gave; nil for nothing.
	opened func(*folder.Opened)
	// timestampBlock is life.Options.TimestampBlock.
	timestampBlock uint32
}

// step is where the rooms stop.
func (a *Authority) step(name string) error {
	if a.seams.stop == nil {
		return nil
	}
	return a.seams.stop(name)
}

// Open opens the folder that the ceremony made.
func Open(ctx context.Context, dir string, o Options) (*Authority, error) {
	return open(ctx, dir, o, seams{})
}

func open(ctx context.Context, dir string, o Options, s seams) (*Authority, error) {
	if o.Now == nil || o.Logger == nil {
		return nil, errors.New("open authority: no clock or no logger")
	}
	opened, err := folder.Open(ctx, dir, o.Passphrase, o.Tokens)
	if err != nil {
		return nil, fmt.Errorf("open authority: %w", err)
	}
	defer opened.Wipe()
	o.Logger = httpapi.Logger(o.Logger)
	if s.opened != nil {
		s.opened(opened)
	}
	a := &Authority{options: o, seams: s}
	if err := a.compose(ctx, opened); err != nil {
		return nil, errors.Join(fmt.Errorf("open authority: %w", err), opened.DB.Close())
	}
	return a, nil
}

// compose makes the rooms, from the log up.
func (a *Authority) compose(ctx context.Context, f *folder.Opened) (err error) {
	config, publicURL, now := f.Config, a.options.PublicURL, a.options.Now
	if publicURL == "" {
		publicURL = config.BaseURL
	}
	a.Audit = audit.New(f.Audit, now, f.DB, folder.LogChecks())
	a.Listing = listing.New(f.Audit, now, f.DB, f.OIDs)
	a.Status = status.New(status.Options{
		Audit: a.Audit, Listing: a.Listing, DB: f.DB, Now: now, Root: f.Root, OCSPKey: f.OCSP,
		OCSPLifetime: time.Duration(config.OCSPLifetime), CRLLifetime: time.Duration(config.CRLLifetime), CRLShards: config.CRLShards, CRLURL: config.CRLURL,
	})
	if a.Life, err = life.New(life.Options{
		DB: f.DB, Now: now, Logger: a.options.Logger, Audit: a.Audit, Status: a.Status, KEK: f.KEK, AssistKEK: f.Assist,
		PassKey: f.Pass, PassIssuer: config.BaseURL, PassLifetime: time.Duration(config.PassLifetime), PublicURL: publicURL,
		TimestampURL: f.TrustAuthority().TSA, TrustFile: f.TrustFile, IdentityKey: f.Identity,
		OrganisationIdentity: config.OrganisationIdentity, PersonIdentity: config.PersonIdentity, Family: config.Family, Country: config.Country,
		TimestampKey: f.Timestamp, TimestampPolicy: f.OIDs.TimestampPolicy, OCSPSubject: config.OCSPSubject(), TimestampSubject: config.TimestampSubject(),
		RealNameKey: f.RealName, RealName: a.options.RealName, Assist: a.options.Assist, Stop: a.step, TimestampBlock: a.seams.timestampBlock,
	}); err != nil {
		return err
	}
	a.Registry = registry.New(registry.Options{
		DB: f.DB, Now: now, Audit: a.Audit, Status: a.Status, Life: a.Life, PublicURL: publicURL, Authority: f.TrustAuthority(),
		Country: config.Country, Organisation: config.Organisation, Stop: a.step,
	})
	a.Folder, err = folder.New(ctx, f, folder.Options{
		Now: now, PublicURL: publicURL, Audit: a.Audit, Status: a.Status, Life: a.Life, Registry: a.Registry, Stop: a.step,
	})
	return err
}

// Close ends the database. Keys go with the process.
func (a *Authority) Close() error { return a.Folder.Close() }

// NewHandler makes the HTTP API of an opened authority.
func NewHandler(a *Authority, o server.Options) *server.Server {
	return server.New(server.Rooms{
		Audit: a.Audit, Listing: a.Listing, Status: a.Status, Life: a.Life, Registry: a.Registry, Folder: a.Folder, Now: a.options.Now, Logger: a.options.Logger,
	}, o)
}

// Restore makes the folder of an authority from a backup; o opens it.
func Restore(ctx context.Context, r folder.Restoration, o Options) (*folder.RestoreReport, error) {
	return folder.Restore(ctx, r, o.Now, func(ctx context.Context, dir string) (*folder.Folder, error) {
		a, err := Open(ctx, dir, o)
		if err != nil {
			return nil, err
		}
		return a.Folder, nil
	})
}
