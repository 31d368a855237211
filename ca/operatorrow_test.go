package ca

import (
	"testing"

	"github.com/bidseal/bidseal/protocol"
)

// TestOperatorsRowIsNotBelieved: role and name stand in the operator's certificate; who writes them into the database
// becomes nobody else.
func TestOperatorsRowIsNotBelieved(t *testing.T) {
	f := newFixture(t)
	o := f.addOperator(t, "王登记", RoleRegistration)
	_, public, err := f.operatorKey(t.Context(), f.db.Reader(), o.cert.Serial)
	must(t, err)
	if !public.Equal(o.key.Public()) {
		t.Error("another key")
	}
	f.tampered = true
	for _, alter := range []string{`UPDATE ca_operators SET role = 'recovery'`, `UPDATE ca_operators SET role = 'registration', name = '李恢复'`} {
		must(t, exec(t, f, alter))
		_, _, err := f.operatorKey(t.Context(), f.db.Reader(), o.cert.Serial)
		refusedWith(t, err, protocol.CodeForbidden)
	}
}
