package ca_test

import (
	"net/http"
	"testing"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/registry"
	"github.com/bidseal/bidseal/protocol"
)

// TestBlockedOperatorWithGoodCertificate: blocking and revoking are two steps, and
// between them the certificate still is a good one. The operator is not.
func TestBlockedOperatorWithGoodCertificate(t *testing.T) {
	f := newFixture(t)
	desk := f.addOperator(t, "auditor", registry.RoleAudit)
	var list caapi.OperatorList
	desk.must200(t, http.MethodGet, caapi.PathOperators, nil, &list)
	must(t, exec(t, f, `UPDATE ca_operators SET state = 'blocked' WHERE id = $1`, desk.cert.ID))
	if n := f.count(t, `SELECT count(*) FROM ca_certificates WHERE profile = 'operator' AND state = 'good'`); n != 1 {
		t.Fatalf("%d good certificates of operators, want 1", n)
	}
	if code := desk.call(t, http.MethodGet, caapi.PathOperators, nil).code(t); code != protocol.CodeUnauthorized {
		t.Errorf("a blocked operator: %q", code)
	}
}

// TestApprovalBySamePersonAgain: whoever registered an application and came back as
// another operator does not approve it.
func TestApprovalBySamePersonAgain(t *testing.T) {
	f := newFixture(t)
	first := f.addOperator(t, "same", registry.RoleRegistration)
	subject := adminSubject()
	var info caapi.ApplicationInfo
	first.must200(t, http.MethodPost, caapi.PathOperatorApplications,
		caapi.Application{V: 1, RequestID: requestID(t), Operation: caapi.OperationNew, Subject: &subject, Days: 365}, &info)
	must(t, f.Registry.BlockOperator(t.Context(), audit.Local(""), first.cert.ID))
	path := caapi.PathOperatorApplications + "/" + info.ID + "/approve"
	again := f.addOperator(t, "same", registry.RoleApproval)
	if code := again.call(t, http.MethodPost, path, caapi.Decision{V: 1, Digest: info.Digest}).code(t); code != protocol.CodeForbidden {
		t.Errorf("approved by the same person: %q", code)
	}
	f.addOperator(t, "another", registry.RoleApproval).must200(t, http.MethodPost, path, caapi.Decision{V: 1, Digest: info.Digest}, &info)
}
