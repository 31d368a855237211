package ca

import (
	"crypto/rand"
	"testing"

	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// TestOperatorsRowIsNotBelieved: role and name stand in the operator's certificate; who writes them into the database
// becomes nobody else.
func TestOperatorsRowIsNotBelieved(t *testing.T) {
	f := newFixture(t)
	key, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	csr, err := smx509.CreateCertificateRequest(rand.Reader, &smx509.CertificateRequest{}, key)
	must(t, err)
	operator, err := f.AddOperator(t.Context(), NewOperator{Name: "王登记", Role: RoleRegistration, CSR: csr})
	must(t, err)
	_, public, err := f.operatorKey(t.Context(), f.db.Reader(), operator.Serial)
	must(t, err)
	if !public.Equal(key.Public()) {
		t.Error("another key")
	}
	f.tampered = true
	for _, alter := range []string{`UPDATE ca_operators SET role = 'recovery'`, `UPDATE ca_operators SET role = 'registration', name = '李恢复'`} {
		must(t, exec(t, f, alter))
		_, _, err := f.operatorKey(t.Context(), f.db.Reader(), operator.Serial)
		refusedWith(t, err, protocol.CodeForbidden)
	}
}
