package ca_test

import (
	"net/http"
	"testing"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/registry"
	"github.com/bidseal/bidseal/protocol"
)

// TestOperatorsRowIsNotBelieved: role and name stand in the operator's certificate; who writes them into the database
// becomes nobody else.
func TestOperatorsRowIsNotBelieved(t *testing.T) {
	f := newFixture(t)
	o := f.addOperator(t, "王登记", registry.RoleRegistration)
	if r := o.call(t, "GET", caapi.PathOperatorApplications, nil); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	f.tampered = true
	for _, alter := range []string{`UPDATE ca_operators SET role = 'recovery'`, `UPDATE ca_operators SET role = 'registration', name = '李恢复'`} {
		must(t, exec(t, f, alter))
		if code := o.call(t, "GET", caapi.PathOperatorApplications, nil).code(t); code != protocol.CodeUnauthorized {
			t.Errorf("%s: %q", alter, code)
		}
	}
}
