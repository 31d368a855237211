package ca_test

import (
	"crypto/rand"
	"errors"
	"testing"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

func familyCSR(t testing.TB, family issuance.Family) []byte {
	t.Helper()
	key, err := family.GenerateKey()
	must(t, err)
	der, err := smx509.CreateCertificateRequest(rand.Reader, &smx509.CertificateRequest{}, key)
	must(t, err)
	return der
}

// TestSingleCertificates: ceremony, certificate, list and OCSP from the same code
// in the other families, a repeated request, a crash at each step, a rotation.
func TestSingleCertificates(t *testing.T) {
	for _, family := range []issuance.Family{issuance.ECDSAP256, issuance.RSA3072} {
		f := newFixture(t, func(c *folder.Config) { c.Family = family })
		s := life.Single{Subject: adminSubject(), CSR: familyCSR(t, family)}
		crash := errors.New("crash")
		for _, step := range []string{stepPending, stepLinted, stepSigned, stepIssued} {
			f.StopWith(func(at string) error {
				if at == step {
					return crash
				}
				return nil
			})
			if _, err := f.Life.IssueSingle(t.Context(), s); !errors.Is(err, crash) && step != stepIssued {
				t.Errorf("%s %s: %v", family, step, err)
			}
		}
		f.StopWith(nil)
		first, err := f.Life.IssueSingle(t.Context(), s)
		must(t, err)
		again, err := f.Life.IssueSingle(t.Context(), s)
		must(t, err)
		if string(first.Chain[0]) != string(again.Chain[0]) || f.count(t, `SELECT count(*) FROM ca_certificates WHERE profile = 'organisation-signing'`) != 1 {
			t.Errorf("%s: the same request gave another certificate", family)
		}
		leaf, err := trust.ParseCertificate(first.Chain[0])
		must(t, err)
		f.believed(t, f.Authority, leaf, issuingName, trust.Good)
		_, err = f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Serial: first.Serial, Reason: trust.KeyCompromise})
		must(t, err)
		f.believed(t, f.Authority, leaf, issuingName, trust.Revoked)

		_, err = f.Folder.RotateIssuing(t.Context(), audit.Local(""), rotation())
		must(t, err)
		next := &fixture{Authority: f.open(t), dir: f.dir, clock: f.clock, log: f.log}
		made, err := next.Life.IssueSingle(t.Context(), life.Single{Subject: caapi.Subject{Kind: "person", Name: "李四"}, CSR: familyCSR(t, family)})
		must(t, err)
		leaf, err = trust.ParseCertificate(made.Chain[0])
		must(t, err)
		f.believed(t, next.Authority, leaf, "issuing-2", trust.Good)
		_, err = next.Audit.Verify(t.Context())
		must(t, err)

		s.Subject.Name = "王五"
		_, err = f.Life.IssueSingle(t.Context(), s)
		refusedWith(t, err, protocol.CodeConflict)
		_, err = f.Life.IssueSingle(t.Context(), life.Single{Subject: adminSubject(), CSR: familyCSR(t, issuance.SM2)})
		refusedWith(t, err, protocol.CodeMalformed)
		_, err = f.Life.IssueSingle(t.Context(), life.Single{Subject: caapi.Subject{Kind: "organisation", Name: "x"}, CSR: familyCSR(t, family)})
		refusedWith(t, err, protocol.CodeLintFailed)
		_, err = f.Life.NewEnrolmentCode(t.Context(), audit.Local(""), life.CodeRequest{Subject: adminSubject()})
		refusedWith(t, err, protocol.CodeMalformed)
	}
	f := newFixture(t)
	_, err := f.Life.IssueSingle(t.Context(), life.Single{Subject: adminSubject(), CSR: familyCSR(t, issuance.SM2)})
	refusedWith(t, err, protocol.CodeMalformed)
}
