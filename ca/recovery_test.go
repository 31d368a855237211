package ca_test

import (
	"bytes"
	"crypto/rand"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/ca/registry"
	"github.com/bidseal/bidseal/ca/transparency"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
)

// recoveryCase is an escrowed key, two operators and somebody who is to get it.
type recoveryCase struct {
	*fixture
	holder       *enrolled
	alice, bob   *operatorDesk
	recipient    *sm2.PrivateKey
	request      caapi.RecoveryRequest
	info         caapi.RecoveryInfo
	approvalPath string
}

func newRecoveryCase(t testing.TB) *recoveryCase {
	t.Helper()
	c := &recoveryCase{fixture: newFixture(t)}
	c.holder = c.enrol(t)
	c.alice, c.bob = c.addOperator(t, "alice", registry.RoleRecovery), c.addOperator(t, "bob", registry.RoleRecovery)
	var err error
	c.recipient, err = sm2.GenerateKey(rand.Reader)
	must(t, err)
	to, err := protocol.MarshalKey(c.recipient.Public())
	must(t, err)
	c.request = caapi.RecoveryRequest{V: 1, RequestID: requestID(t), Serial: trust.SerialHex(c.holder.encr.SerialNumber), To: to, Reason: "order of the court, file 12"}
	return c
}

func (c *recoveryCase) ask(t testing.TB) {
	t.Helper()
	c.alice.must200(t, "POST", caapi.PathOperatorRecoveries, c.request, &c.info)
	c.approvalPath = caapi.PathOperatorRecoveries + "/" + c.info.ID + "/approve"
}

func (c *recoveryCase) approval() caapi.Decision { return caapi.Decision{V: 1, Digest: c.info.Digest} }

// released is how many private keys have left outside of issuances.
func (c *recoveryCase) released(t testing.TB) int {
	t.Helper()
	return c.count(t, `SELECT count(*) FROM ca_releases`)
}

// TestRecoveryTakesTwo: the whole way, and everybody who has to see it sees it.
func TestRecoveryTakesTwo(t *testing.T) {
	c := newRecoveryCase(t)
	for range 2 { // the answer was lost
		c.ask(t)
	}
	if c.info.State != caapi.RecoveryPending || len(c.info.Enveloped) != 0 || c.released(t) != 0 {
		t.Fatalf("after one operator: %+v", c.info)
	}
	var first, again caapi.RecoveryInfo
	c.bob.must200(t, "POST", c.approvalPath, c.approval(), &first)
	key, err := sm2.ParseEnvelopedPrivateKey(c.recipient, first.Enveloped)
	must(t, err)
	if !key.Equal(c.holder.key) {
		t.Error("another key was recovered")
	}
	c.bob.must200(t, "POST", c.approvalPath, c.approval(), &again)
	if !bytes.Equal(again.Enveloped, first.Enveloped) || c.released(t) != 1 {
		t.Error("the key left twice")
	}
	var read caapi.RecoveryInfo
	c.alice.must200(t, "GET", strings.TrimSuffix(c.approvalPath, "/approve"), nil, &read)
	if !bytes.Equal(read.Enveloped, first.Enveloped) {
		t.Error("whoever asked does not get it")
	}
	c.seenByHolderAndPublic(t)
	_, err = c.Audit.Verify(t.Context())
	must(t, err)
}

func (c *recoveryCase) seenByHolderAndPublic(t *testing.T) {
	t.Helper()
	list := c.asHolder(t, c.holder)
	if len(list.Recoveries) != 1 || list.Recoveries[0].Reason != "recovery" || list.Recoveries[0].Lineage != c.holder.answer.Lineage {
		t.Fatalf("the holder sees %+v", list)
	}
	if other := c.asHolder(t, c.enrol(t)); len(other.Recoveries) != 0 {
		t.Errorf("another holder sees %+v", other)
	}
	var proof transparency.InclusionProof
	r := c.serve(t, "GET", caapi.PathTreeProof+"?release="+list.Recoveries[0].ID, nil, nil)
	must(t, protocol.DecodeJSON(r.body, &proof))
	must(t, transparency.VerifyInclusion(c.Audit.Key(), &proof))
	leaf, err := transparency.ReadLeaf(proof.Leaf)
	must(t, err)
	holder, err := transparency.Holder(c.holder.answer.Lineage)
	must(t, err)
	if leaf.Kind != transparency.LeafRecovery || leaf.Holder != holder || leaf.To != list.Recoveries[0].To || bytes.Contains(proof.Leaf, []byte(c.holder.answer.Lineage)) {
		t.Errorf("leaf %s", proof.Leaf)
	}
}

// asHolder asks as the phone does.
func (c *recoveryCase) asHolder(t testing.TB, e *enrolled) caapi.KeyRecoveries {
	t.Helper()
	proof, err := protocol.NewProof(e.device, e.answer.Pass, protocol.Call{Method: http.MethodGet, URL: testBase + caapi.PathRecoveries}, c.clock.Now())
	must(t, err)
	r := c.serve(t, "GET", caapi.PathRecoveries, http.Header{protocol.HeaderPass: {e.answer.Pass}, protocol.HeaderProof: {proof}}, nil)
	if r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	var list caapi.KeyRecoveries
	must(t, protocol.DecodeJSON(r.body, &list))
	return list
}

// TestHolderRecoveriesNeedThePhone: a pass without its key shows nothing.
func TestHolderRecoveriesNeedThePhone(t *testing.T) {
	c := newRecoveryCase(t)
	stranger := c.enrol(t)
	proof, err := protocol.NewProof(stranger.device, c.holder.answer.Pass, protocol.Call{Method: http.MethodGet, URL: testBase + caapi.PathRecoveries}, c.clock.Now())
	must(t, err)
	for name, header := range map[string]http.Header{
		"nothing": nil, "pass alone": {protocol.HeaderPass: {c.holder.answer.Pass}},
		"another's proof": {protocol.HeaderPass: {c.holder.answer.Pass}, protocol.HeaderProof: {proof}},
	} {
		if code := c.serve(t, "GET", caapi.PathRecoveries, header, nil).code(t); code != protocol.CodeUnauthorized {
			t.Errorf("%s: %q", name, code)
		}
	}
}

// TestRecoveryRefusals: one alone, the same person twice, the wrong role, too
// late, another request's approval, a rejected request.
func TestRecoveryRefusals(t *testing.T) {
	c := newRecoveryCase(t)
	c.ask(t)
	if code := c.alice.call(t, "POST", c.approvalPath, c.approval()).code(t); code != protocol.CodeForbidden {
		t.Errorf("approved by whoever asked: %q", code)
	}
	approver := c.addOperator(t, "approver", registry.RoleApproval)
	if code := approver.call(t, "POST", c.approvalPath, c.approval()).code(t); code != protocol.CodeForbidden {
		t.Errorf("another role: %q", code)
	}
	bad := c.approval()
	bad.Digest = strings.Repeat("0", 64)
	if code := c.bob.call(t, "POST", c.approvalPath, bad).code(t); code != protocol.CodeConflict {
		t.Errorf("approval of something else: %q", code)
	}
	other := c.request
	other.Reason = "another"
	if code := c.alice.call(t, "POST", caapi.PathOperatorRecoveries, other).code(t); code != protocol.CodeConflict {
		t.Errorf("other content under the id: %q", code)
	}
	signed, body := c.bob.signed(t, "POST", c.approvalPath, c.approval())
	tampered := bytes.Replace(body, []byte(c.info.Digest), []byte(strings.Repeat("1", 64)), 1)
	if code := c.serve(t, "POST", c.approvalPath, signed.Header, tampered).code(t); code != protocol.CodeUnauthorized {
		t.Errorf("tampered approval: %q", code)
	}
	c.clock.add(24 * time.Hour)
	for range 2 { // it stays expired
		if code := c.bob.call(t, "POST", c.approvalPath, c.approval()).code(t); code != protocol.CodeExpired && code != protocol.CodeConflict {
			t.Errorf("too late: %q", code)
		}
	}
	c.request.RequestID = requestID(t)
	c.ask(t)
	var rejected caapi.RecoveryInfo
	c.bob.must200(t, "POST", strings.Replace(c.approvalPath, "/approve", "/reject", 1), caapi.Decision{V: 1, Reason: "no order of a court"}, &rejected)
	if code := c.bob.call(t, "POST", c.approvalPath, c.approval()).code(t); code != protocol.CodeConflict {
		t.Errorf("approved after the rejection: %q", code)
	}
	if c.released(t) != 0 {
		t.Error("a key has left")
	}
}

// TestRecoveryBySamePersonAgain: whoever is blocked and certified again under the
// same name is one person still; and a request of an operator who was blocked
// meanwhile releases nothing.
func TestRecoveryBySamePersonAgain(t *testing.T) {
	c := newRecoveryCase(t)
	c.ask(t)
	must(t, c.Registry.BlockOperator(t.Context(), audit.Local(""), c.alice.cert.ID))
	again := c.addOperator(t, "alice", registry.RoleRecovery)
	if code := again.call(t, "POST", c.approvalPath, c.approval()).code(t); code != protocol.CodeForbidden {
		t.Errorf("the same person under a new certificate: %q", code)
	}
	if r := c.bob.call(t, "POST", c.approvalPath, c.approval()); r.status == http.StatusOK || c.released(t) != 0 {
		t.Errorf("for an operator who is blocked: %d %s", r.status, r.body)
	}
}

// TestRecoveryReplay: an approval that was overheard releases nothing again, nor
// another key.
func TestRecoveryReplay(t *testing.T) {
	c := newRecoveryCase(t)
	c.ask(t)
	signed, body := c.bob.signed(t, "POST", c.approvalPath, c.approval())
	if r := c.serve(t, "POST", c.approvalPath, signed.Header, body); r.status != http.StatusOK {
		t.Fatalf("%s", r.body)
	}
	if code := c.serve(t, "POST", c.approvalPath, signed.Header, body).code(t); code != protocol.CodeReplayed {
		t.Errorf("replay: %q", code)
	}
	c.request.RequestID = requestID(t)
	c.ask(t)
	if code := c.serve(t, "POST", c.approvalPath, signed.Header, body).code(t); code != protocol.CodeUnauthorized {
		t.Errorf("for another request: %q", code)
	}
	if c.released(t) != 1 {
		t.Errorf("%d keys have left", c.released(t))
	}
}

// TestRecoveryWithAlteredRows: whoever may write the database, and even is a
// recovery operator, gets no key alone.
func TestRecoveryWithAlteredRows(t *testing.T) {
	for name, query := range map[string]string{
		"another asked":     `UPDATE ca_recoveries SET request_serial = (SELECT serial FROM ca_operators WHERE name = 'carol')`,
		"another key":       `UPDATE ca_recoveries SET record = (SELECT id FROM kmc_keys WHERE id <> record LIMIT 1)`,
		"another signature": `UPDATE ca_recoveries SET request_signature = zeroblob(70)`,
		"no signature":      `UPDATE ca_recoveries SET request_base = zeroblob(1)`,
		"role":              `UPDATE ca_operators SET role = 'audit' WHERE name = 'alice'`,
	} {
		t.Run(name, func(t *testing.T) {
			c := newRecoveryCase(t)
			c.addOperator(t, "carol", registry.RoleRecovery)
			c.enrol(t)
			c.ask(t)
			must(t, exec(t, c.fixture, query))
			if r := c.bob.call(t, "POST", c.approvalPath, c.approval()); r.status == http.StatusOK || c.released(t) != 0 {
				t.Errorf("%d %s", r.status, r.body)
			}
		})
	}
	c := newRecoveryCase(t)
	c.ask(t)
	to := c.request
	to.To = mustKey(t)
	raw, err := protocol.EncodeJSON(to)
	must(t, err)
	must(t, exec(t, c.fixture, `UPDATE ca_recoveries SET request = $1`, raw))
	c.info.Digest = digestOf(raw)
	if r := c.bob.call(t, "POST", c.approvalPath, c.approval()); r.status == http.StatusOK || c.released(t) != 0 {
		t.Errorf("another recipient: %d %s", r.status, r.body)
	}
}

func mustKey(t testing.TB) []byte {
	t.Helper()
	key, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	spki, err := protocol.MarshalKey(key.Public())
	must(t, err)
	return spki
}

func TestRecoveryRequestRefusals(t *testing.T) {
	c := newRecoveryCase(t)
	for name, change := range map[string]func(*caapi.RecoveryRequest){
		"version":       func(r *caapi.RecoveryRequest) { r.V = 2 },
		"request id":    func(r *caapi.RecoveryRequest) { r.RequestID = []byte("x") },
		"serial":        func(r *caapi.RecoveryRequest) { r.Serial = "x" },
		"key":           func(r *caapi.RecoveryRequest) { r.To = []byte("x") },
		"P-256 key":     func(r *caapi.RecoveryRequest) { r.To = c.holder.request(t).DeviceKey },
		"no reason":     func(r *caapi.RecoveryRequest) { r.Reason = "" },
		"hidden reason": func(r *caapi.RecoveryRequest) { r.Reason = "a\nb" },
		"long reason":   func(r *caapi.RecoveryRequest) { r.Reason = strings.Repeat("x", 257) },
	} {
		request := c.request
		change(&request)
		if code := c.alice.call(t, "POST", caapi.PathOperatorRecoveries, request).code(t); code != protocol.CodeMalformed {
			t.Errorf("%s: %q", name, code)
		}
	}
	for name, serial := range map[string]string{"signing certificate": trust.SerialHex(c.holder.sign.SerialNumber), "unknown": "1234"} {
		request := c.request
		request.Serial = serial
		if code := c.alice.call(t, "POST", caapi.PathOperatorRecoveries, request).code(t); code != protocol.CodeNotFound {
			t.Errorf("%s: %q", name, code)
		}
	}
	var list caapi.RecoveryList
	c.ask(t)
	c.bob.must200(t, "GET", caapi.PathOperatorRecoveries+"?state=pending", nil, &list)
	if len(list.Recoveries) != 1 {
		t.Errorf("%+v", list)
	}
}

// TestCentreNeedsTwo: the key management centre refuses by itself.
func TestCentreNeedsTwo(t *testing.T) {
	c := newRecoveryCase(t)
	fine := func() error { return nil }
	for name, order := range map[string]kmc.Order{
		"one":      {Record: "r", To: c.request.To, RequestedBy: "a", Check: fine},
		"the same": {Record: "r", To: c.request.To, RequestedBy: "a", ApprovedBy: "a", Check: fine},
		"no check": {Record: "r", To: c.request.To, RequestedBy: "a", ApprovedBy: "b"},
	} {
		if _, err := c.Life.KeyCentre().Recover(t.Context(), nil, order); err == nil {
			t.Errorf("%s: released", name)
		}
	}
}
