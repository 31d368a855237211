// Package registry is the authority's fifth room: operators and their signed calls,
// enrolment applications with approval by a second operator, recoveries of escrowed
// keys by two operators, platforms and their applications.
//
// An enrolment application asks for somebody's certificate, a platform application
// for a platform's. In the signed audit log, whose words stay, the first is a
// "registration" and the second an "application".
package registry

import (
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/internal/sqldb"
	"github.com/bidseal/bidseal/trust"
)

// Options are what the room works with. All fields are required unless stated
// otherwise.
type Options struct {
	DB     *sqldb.DB
	Now    func() time.Time
	Audit  *audit.Log
	Status *status.Status
	Life   *life.Life
	// PublicURL under which the API is reached.
	PublicURL string
	// Authority is what a verifier needs to know of the authority.
	Authority trust.Authority
	// Country of all subjects, and organisation that runs the authority.
	Country, Organisation string
	// Stop is called at each step that several transactions make and may end it
	// there, as a crash would; nil for never.
	Stop func(step string) error
}

// Registry keeps the authority's operators, platforms, applications and recoveries.
type Registry struct {
	db           *sqldb.DB
	now          func() time.Time
	audit        *audit.Log
	status       *status.Status
	life         *life.Life
	publicURL    string
	authority    trust.Authority
	country      string
	organisation string
	stop         func(step string) error
}

// New is the room on its database. It makes its kinds of issuance known
// to the room below.
func New(o Options) *Registry {
	a := &Registry{
		db: o.DB, now: o.Now, audit: o.Audit, status: o.Status, life: o.Life, publicURL: o.PublicURL, authority: o.Authority,
		country: o.Country, organisation: o.Organisation, stop: o.Stop,
	}
	if a.stop == nil {
		a.stop = func(string) error { return nil }
	}
	a.life.AddIssuanceKind(issuancePlatform, platformIssuances{a})
	a.life.AddIssuanceKind(issuanceOperator, operatorIssuances{a})
	a.life.OnWithdraw(a.Withdraw)
	return a
}

// Tables are the tables of the room whose rows the audit log commits to.
// The members keep the names that signed entries have: there "application" is a
// platform's and "registration" an enrolment's.
func Tables() []audit.Table {
	return []audit.Table{
		audit.NewTable("ca_platforms", "id", "application"),
		audit.NewTable("ca_operators", "id", "operator"),
		audit.NewTable("ca_applications", "id", "registration"),
		audit.NewTable("ca_recoveries", "id", "recovery"),
	}
}
