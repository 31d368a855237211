package trust

import (
	"crypto"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/emmansun/gmsm/smx509"
)

// Authority is everything that a verifier needs to know of one certificate
// authority: its roots together with the identifiers by which its certificates
// are read. The two belong together, because a certificate cannot be
// read by another authority's identifiers.
type Authority struct {
	// Name for people, at most 256 bytes.
	Name string
	// Roots are the authority's self-signed certificates, at least one.
	Roots []*smx509.Certificate
	// OIDs by which its certificates are read. All but CreditCodeAlso are
	// required.
	OIDs OIDs
	// OCSP, CRL and TSA are the addresses of its services: the OCSP responder,
	// the root's revocation list and the timestamp authority. Empty for none.
	OCSP, CRL, TSA string
	// PassKeys are the keys that sign device passes, the present one first.
	PassKeys []crypto.PublicKey
	// Operations for which the authority is believed, each with its period. Nil
	// means all of them, at all times; an operation that a map does not name is
	// not allowed.
	Operations map[Operation]Period
}

// Operation is a use of a certificate: one of the kinds of challenge, or evidence.
type Operation string

// The operations. The first four are the kinds of challenge under the same
// names.
const (
	OperationLogin   Operation = "login"
	OperationSubmit  Operation = "submit"
	OperationDecrypt Operation = "decrypt"
	OperationSeal    Operation = "seal"
	// OperationEvidence: evidence files and timestamp tokens under the authority
	// count.
	OperationEvidence Operation = "evidence"
)

// Operations are all operations, in the order of their declaration.
func Operations() []Operation {
	return []Operation{OperationLogin, OperationSubmit, OperationDecrypt, OperationSeal, OperationEvidence}
}

// Period is a span of time: from From until just before Until. A zero time is an
// open end.
type Period struct {
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until,omitzero"`
}

// Contains reports whether t lies in the period.
func (p Period) Contains(t time.Time) bool {
	return !t.Before(p.From) && (p.Until.IsZero() || t.Before(p.Until))
}

// DocumentationAuthority returns an authority that is known by its roots alone and
// uses the identifiers of the documentation arc, as every authority did before
// there were trust files: all of them demonstrations.
func DocumentationAuthority(roots ...*smx509.Certificate) Authority {
	return Authority{Name: "documentation", Roots: roots, OIDs: DocumentationOIDs()}
}

// Allow reports whether the authority is believed for an operation at a time.
// The error wraps ErrOperation.
func (a *Authority) Allow(operation Operation, at time.Time) error {
	if a.Operations == nil {
		return nil
	}
	period, listed := a.Operations[operation]
	switch {
	case !listed:
		return fmt.Errorf("%s under authority %q: %w", operation, a.Name, ErrOperation)
	case !period.Contains(at):
		return fmt.Errorf("%s under authority %q at %s: %w", operation, a.Name, at.UTC().Format(time.RFC3339), ErrOperation)
	}
	return nil
}

// check says what is wrong with an authority.
func (a *Authority) check() error {
	if len(a.Roots) == 0 {
		return fmt.Errorf("no roots: %w", ErrMalformed)
	}
	if err := checkText(a.Name); err != nil {
		return err
	}
	if err := a.OIDs.Check(); err != nil {
		return err
	}
	for _, root := range a.Roots {
		if err := checkAuthority(root); err != nil {
			return fmt.Errorf("root %q: %w", root.Subject.CommonName, err)
		}
	}
	for name, address := range map[string]string{"ocsp": a.OCSP, "crl": a.CRL, "tsa": a.TSA} {
		if err := checkAddress(address); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for operation, period := range a.Operations {
		if !slices.Contains(Operations(), operation) {
			return fmt.Errorf("operation %q is not known: %w", operation, ErrMalformed)
		}
		if !period.Until.IsZero() && !period.From.Before(period.Until) {
			return fmt.Errorf("operation %s ends before it starts: %w", operation, ErrMalformed)
		}
	}
	return nil
}

// checkAddress accepts an http or https URL, and the empty string.
func checkAddress(address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("address %q is not an http URL: %w", address, ErrMalformed)
	}
	return nil
}

// equal reports whether both believe the same roots by the same rules.
func (a *Authority) equal(other Authority) bool {
	return a.rules() == other.rules() && slices.EqualFunc(a.Roots, other.Roots, (*smx509.Certificate).Equal)
}

// rules is everything about an authority that decides whether one of its
// certificates is believed, as text; it goes into Store.Version.
func (a *Authority) rules() string {
	var b strings.Builder
	for _, id := range a.OIDs.all() {
		fmt.Fprintf(&b, "%v ", id)
	}
	fmt.Fprintf(&b, "%v %t", a.OIDs.CreditCodeAlso, a.Operations == nil)
	for _, operation := range slices.Sorted(maps.Keys(a.Operations)) {
		p := a.Operations[operation]
		fmt.Fprintf(&b, " %s %d %d", operation, p.From.UnixNano(), p.Until.UnixNano())
	}
	return b.String()
}
