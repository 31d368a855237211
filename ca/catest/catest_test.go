package catest_test

import (
	"errors"
	"testing"

	"github.com/bidseal/bidseal/ca/catest"
	"github.com/bidseal/bidseal/trust"
)

func TestWholeAuthority(t *testing.T) {
	c := catest.New(t, catest.Options{})
	admin := c.Organisation("张三", "示例建设有限公司", "91330100MA27XL0G0X", trust.RoleAdmin)
	person := c.Person("李四")
	c.Platform("示例招标平台")
	v, err := c.Store().Verify(admin.Chain, trust.VerifyOptions{Time: c.Now(), Usage: trust.Signing})
	if err != nil {
		t.Fatal(err)
	}
	id, err := trust.ReadIdentity(v)
	if err != nil {
		t.Fatal(err)
	}
	if id.Kind != trust.Organisation || id.Role != trust.RoleAdmin || id.CreditCode != "91330100MA27XL0G0X" || id.Lineage != admin.Lineage {
		t.Errorf("identity %+v", id)
	}
	status, err := trust.VerifyOCSP(c.Staple(admin.Signing), admin.Signing, c.Status.Current().Certificate(), trust.OCSPOptions{Now: c.Now()})
	if err != nil || status.Err() != nil {
		t.Errorf("status: %v, %v", status, err)
	}
	c.Revoke(admin.Signing)
	status, err = trust.VerifyOCSP(c.Staple(admin.Signing), admin.Signing, c.Status.Current().Certificate(), trust.OCSPOptions{Now: c.Now()})
	if err != nil || !errors.Is(status.Err(), trust.ErrRevoked) {
		t.Errorf("status after revocation: %v, %v", status, err)
	}
	if person.EncryptionKey.Equal(person.SigningKey) {
		t.Error("one key for both certificates")
	}
	if report, err := c.Audit.Verify(t.Context()); err != nil || report.Certificates != 4+2+2+1 || report.Revocations != 1 {
		t.Errorf("log: %+v, %v", report, err)
	}
}
