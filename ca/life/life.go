// Package life is the authority's fourth room: issuances, the lineages in which
// certificates follow one another, one-use codes, devices and their passes, what a
// reissue destroys, what the key management centre releases, and the certificates
// of the authority's own services.
//
// An issuance is stored before anything is signed, and the certificates follow from
// the stored row: whatever a crash leaves behind is completed by the same request or
// by [Life.Reconcile]. Rooms above bring kinds of issuance of their own ([IssuanceKind]).
package life

import (
	"context"
	"crypto"
	"database/sql"
	"encoding/asn1"
	"log/slog"
	"time"

	"github.com/bidseal/bidseal/ca/assist"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/internal/sqldb"
	"github.com/emmansun/gmsm/smx509"
	"golang.org/x/sync/singleflight"
)

// Options are what the room works with. All fields are required unless stated
// otherwise.
type Options struct {
	DB     *sqldb.DB
	Now    func() time.Time
	Logger *slog.Logger
	Audit  *audit.Log
	Status *status.Status
	// KEK is the key-encryption key of the key management centre, AssistKEK that
	// of the password assist. The caller wipes both.
	KEK, AssistKEK []byte
	// PassKey signs device passes; PassIssuer is their iss and PassLifetime their
	// life.
	PassKey      crypto.Signer
	PassIssuer   string
	PassLifetime time.Duration
	// PublicURL under which the API is reached.
	PublicURL string
	// TrustFile returns the authority's trust file, which goes out with every code.
	TrustFile func() ([]byte, error)
	// TimestampURL is where timestamps are requested.
	TimestampURL string
	// IdentityKey is the secret under which identity numbers are hashed.
	IdentityKey []byte
	// OrganisationIdentity and PersonIdentity are the forms in which certificates
	// show identity numbers.
	OrganisationIdentity, PersonIdentity issuance.IdentityForm
	// Family of all keys, and country of all subjects.
	Family  issuance.Family
	Country string
	// TimestampKey is the timestamp authority's, nil in folders of before there was
	// one; TimestampPolicy stands in timestamps.
	TimestampKey    crypto.Signer
	TimestampPolicy asn1.ObjectIdentifier
	// OCSPSubject and TimestampSubject are the subjects of the authority's services.
	OCSPSubject, TimestampSubject issuance.Subject
	// RealNameKey signs real-name tokens, RealName are further keys whose tokens
	// are believed.
	RealNameKey crypto.Signer
	RealName    []crypto.PublicKey
	// Assist destroys what helps a lost phone to open its keystore; nil is the
	// authority's own password assist.
	Assist AssistDestroyer
	// Stop is called at each step of an issuance and may end it there, as a crash
	// would; nil for never.
	Stop func(step string) error
	// TimestampBlock is how many serial numbers of timestamps are set aside at
	// once; 0 for the default.
	TimestampBlock uint32
}

// Life issues certificates and leads them through their lives.
type Life struct {
	db           *sqldb.DB
	now          func() time.Time
	log          *slog.Logger
	audit        *audit.Log
	status       *status.Status
	kmc          *kmc.Centre
	passKey      crypto.Signer
	passIssuer   string
	passLifetime time.Duration
	publicURL    string
	trustFile    func() ([]byte, error)
	identityKey  []byte
	organisation issuance.IdentityForm
	person       issuance.IdentityForm
	family       issuance.Family
	country      string
	ocspSubject  issuance.Subject
	stampSubject issuance.Subject
	stampPolicy  asn1.ObjectIdentifier
	stampURL     string
	stamps       timestamps
	responders   responders
	lists        singleflight.Group
	assist       AssistDestroyer
	passwords    *assist.Service
	realName     crypto.Signer
	personSecret []byte
	kinds        map[string]IssuanceKind
	withdrawn    []Withdrawal
	stop         func(step string) error
}

// IssuanceKind is a kind of issuance whose subject another room keeps.
type IssuanceKind interface {
	// Request is the certificate for a stored subject, without key, serial number
	// and dates.
	Request(subject string) (issuance.Request, error)
	// Answer ends an issuance in the transaction that stores its certificate.
	Answer(ctx context.Context, tx *sql.Tx, issuer *status.Issuer, r *Issuance, cert *smx509.Certificate) ([]byte, error)
}

// Withdrawal ends, in the caller's transaction, what another room has authorised
// for a lineage and has not come to an end.
type Withdrawal func(ctx context.Context, tx *sql.Tx, actor audit.Actor, lineage, why string) error

// New is the room on its database.
func New(o Options) (*Life, error) {
	a := &Life{
		db: o.DB, now: o.Now, log: o.Logger, audit: o.Audit, status: o.Status, passKey: o.PassKey, passIssuer: o.PassIssuer, passLifetime: o.PassLifetime,
		publicURL: o.PublicURL, trustFile: o.TrustFile, identityKey: o.IdentityKey, organisation: o.OrganisationIdentity, person: o.PersonIdentity, family: o.Family, country: o.Country,
		ocspSubject: o.OCSPSubject, stampSubject: o.TimestampSubject, stampPolicy: o.TimestampPolicy, stampURL: o.TimestampURL,
		stamps: timestamps{key: o.TimestampKey, blockSize: o.TimestampBlock}, assist: o.Assist, realName: o.RealNameKey,
		kinds: make(map[string]IssuanceKind), stop: o.Stop,
	}
	if a.stop == nil {
		a.stop = func(string) error { return nil }
	}
	var err error
	if a.kmc, err = kmc.New(o.KEK, a.auditRelease, a.now); err != nil {
		return nil, err
	}
	return a, a.openAssist(o.AssistKEK, o.RealName)
}

// Tables are the tables of the room, and of the key management centre, whose
// rows the audit log commits to.
func Tables() []audit.Table {
	return []audit.Table{
		audit.NewTable("ca_issuances", "id", "issuance"),
		audit.NewTable("ca_codes", "digest", "code", "codes"),
		audit.NewTable("ca_devices", "id", "device", "devices"),
		audit.NewTable("ca_lineages", "lineage", "lineage"),
		audit.NewTable("ca_destructions", "issuance", "destruction"),
		audit.NewTable("ca_releases", "id", "release"),
		audit.NewTable("kmc_keys", "id", "record", "records"),
	}
}

// AddIssuanceKind makes a kind of issuance known, while the authority is opened.
func (l *Life) AddIssuanceKind(name string, kind IssuanceKind) { l.kinds[name] = kind }

// OnWithdraw has a room end what it authorised for a lineage whenever an operator
// stops the lineage. It is called while the authority is opened.
func (l *Life) OnWithdraw(w Withdrawal) { l.withdrawn = append(l.withdrawn, w) }

// KeyCentre is the key management centre.
func (l *Life) KeyCentre() *kmc.Centre { return l.kmc }

// PassKey is the public key under which device passes verify.
func (l *Life) PassKey() crypto.PublicKey { return l.passKey.Public() }
