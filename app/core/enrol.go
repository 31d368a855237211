package core

import (
	"context"
	"encoding/hex"
	"slices"

	"github.com/bidseal/bidseal/app/core/keys"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// MaxEnrolmentFile is the largest enrolment file in bytes.
const MaxEnrolmentFile = 64<<10 + 2*trust.MaxFile // the trust file in base64

// Setup is what a phone needs to know and an enrolment file may leave out. The file
// takes precedence.
type Setup struct {
	Relay      string   // origin of the relay
	AppOrigins []string // origins of the codes that are accepted
	// Trust is a trust file by which the phone judges instead of the enrolment
	// file's, and Anchors are roots (DER) for authorities that have none and use
	// the documentation arc. With neither, the trust file is the one inside the
	// enrolment file, which came from the operator by hand, or else the roots are
	// those of the authority's answer that the enrolment file names by digest.
	Trust   []byte
	Anchors [][]byte
}

// ParseEnrolmentFile reads the file that the operator of an authority handed
// out. Error: protocol.CodeEnrolmentCode.
func ParseEnrolmentFile(raw []byte) (*caapi.EnrolmentFile, error) {
	var f caapi.EnrolmentFile
	if len(raw) > MaxEnrolmentFile {
		return nil, protocol.Errorf(protocol.CodeEnrolmentCode, "enrolment file of %d bytes", len(raw))
	}
	if err := protocol.DecodeJSONOpen(raw, &f, nil); err != nil {
		return nil, protocol.Errorf(protocol.CodeEnrolmentCode, "enrolment file: %v", err)
	}
	if f.V != caapi.Version || f.Code == "" || len(f.Code) > 256 || len(f.Roots) == 0 || len(f.Roots) > trust.MaxChainLength {
		return nil, protocol.Errorf(protocol.CodeEnrolmentCode, "enrolment file is incomplete")
	}
	return &f, checkOperation(&f)
}

// pendingEnrolment is stored before the first call, so that a phone that was
// switched off goes on with the same keys and the same bytes.
type pendingEnrolment struct {
	V         int            `json:"v"`
	RequestID protocol.Bytes `json:"request_id"`
	Body      protocol.Bytes `json:"body,omitzero"` // exact bytes of the EnrolRequest, absent until the keys are made
	protocol.Kept
}

// Enrol gets a dual certificate for the code: the first one, or the next of a
// certificate that is renewed, changed or reissued. Keys are made on the phone,
// under the password, and only a certification request leaves it. Interrupted at
// any moment it can be called again with the same file and password, and ends
// with the one certificate. The certificates returned are the new pair, and
// after it the earlier encryption certificates that a reissue brought, whose
// keys have proved themselves.
func (c *Core) Enrol(ctx context.Context, file *caapi.EnrolmentFile, setup Setup, password []byte) ([]Certificate, error) {
	next, err := c.plan(file, setup)
	if err != nil {
		return nil, classify(err)
	}
	name := enrolPrefix + hex.EncodeToString(protocol.H([]byte(file.Code))[:16]) + fileExtension
	pending, err := c.prepareEnrolment(ctx, name, file, password)
	if err != nil {
		return nil, classify(err)
	}
	raw, refused := c.proven(ctx, Call{Method: "POST", URL: next.CA + caapi.PathEnrol, Body: pending.Body}, "")
	if refused != nil {
		return nil, c.abandon(ctx, name, pending, refused)
	}
	var answer caapi.EnrolAnswer
	if err := decode(raw, &answer); err != nil {
		return nil, classify(err)
	}
	if answer.V != caapi.Version || !protocol.Equal(answer.RequestID, pending.RequestID) {
		return nil, protocol.Errorf(protocol.CodeMalformed, "the authority answered another request")
	}
	certs, err := c.install(ctx, next, file, pending, &answer, password)
	if err != nil {
		return nil, classify(err)
	}
	c.assistKeys(ctx, password)
	return certs, result(c.opt.Files.Remove(ctx, name))
}

// plan joins the file, the setup and what the phone was set up with before.
func (c *Core) plan(file *caapi.EnrolmentFile, setup Setup) (*settings, error) {
	next := &settings{V: 1, CA: file.CA, Relay: file.Relay, AppOrigins: file.AppOrigins}
	believed, err := believe(file, setup)
	if err != nil {
		return nil, err
	}
	next.Trust, next.Roots = believed, asBytes(setup.Anchors)
	if next.Relay == "" {
		next.Relay = setup.Relay
	}
	if len(next.AppOrigins) == 0 {
		next.AppOrigins = setup.AppOrigins
	}
	c.mu.Lock()
	old := c.settings
	c.mu.Unlock()
	if old != nil {
		if file.CA != old.CA || next.Relay != "" && next.Relay != old.Relay {
			return nil, protocol.Errorf(protocol.CodeConflict, "this phone belongs to another authority or relay")
		}
		kept := *old
		if len(believed) > 0 {
			kept.Trust, kept.Roots = believed, nil
		}
		return &kept, nil
	}
	if next.Relay == "" || len(next.AppOrigins) == 0 {
		return nil, protocol.Errorf(protocol.CodeEnrolmentCode, "neither the enrolment file nor the setup names relay and app origins")
	}
	return next, checkServer(next.CA)
}

// believe returns the trust file that a phone uses from this enrolment on. It
// returns none if setup names only roots, or neither setup nor file names a trust
// file.
func believe(file *caapi.EnrolmentFile, setup Setup) (protocol.Bytes, error) {
	believed := protocol.Bytes(setup.Trust)
	if len(believed) == 0 && len(setup.Anchors) == 0 {
		believed = file.Trust
	}
	if len(believed) == 0 {
		return nil, nil
	}
	if _, err := trust.ParseFile(believed); err != nil {
		return nil, protocol.Errorf(protocol.CodeEnrolmentCode, "%v", err)
	}
	return believed, nil
}

// prepareEnrolment makes the keys and the request, or finds those of an earlier
// attempt.
func (c *Core) prepareEnrolment(ctx context.Context, name string, file *caapi.EnrolmentFile, password []byte) (*pendingEnrolment, error) {
	release, err := c.opt.Files.Lock(ctx, enrolPrefix+"lock")
	if err != nil {
		return nil, err
	}
	defer release()
	var p pendingEnrolment
	found, err := readJSON(ctx, c.opt.Files, name, &p)
	if err != nil || found && len(p.Body) > 0 {
		return &p, err
	}
	if !found { // the id first: a key without it would be lost
		id, err := protocol.Random(caapi.RequestIDSize)
		if err != nil {
			return nil, err
		}
		p = pendingEnrolment{V: 1, RequestID: id}
		if err := writeJSON(ctx, c.opt.Files, name, p); err != nil {
			return nil, err
		}
	}
	csr, err := c.opt.Keys.Request(ctx, hex.EncodeToString(p.RequestID), password)
	if err != nil {
		return nil, err
	}
	if err := checkRequest(csr); err != nil {
		return nil, err
	}
	request := caapi.EnrolRequest{V: caapi.Version, RequestID: p.RequestID, Code: file.Code, CSR: csr, DeviceKey: c.device.spki}
	if err := c.proveSuccession(ctx, file, &request, password); err != nil {
		return nil, err
	}
	if p.Body, err = protocol.EncodeJSON(request); err != nil {
		return nil, err
	}
	return &p, writeJSON(ctx, c.opt.Files, name, p)
}

// abandon forgets an enrolment for a code that is no longer valid: an
// authority that had issued for these keys would have answered with the
// certificates. Every other refusal leaves it for the next attempt.
func (c *Core) abandon(ctx context.Context, name string, p *pendingEnrolment, refused *protocol.Error) error {
	if refused.Code != protocol.CodeEnrolmentCode && refused.Code != protocol.CodeLintFailed {
		return refused
	}
	err := c.opt.Keys.Discard(ctx, hex.EncodeToString(p.RequestID))
	if err == nil {
		err = c.opt.Files.Remove(ctx, name)
	}
	if err != nil {
		c.opt.Log.Error("the refused enrolment is still there", "error", err.Error())
	}
	return refused
}

// checkRequest looks at what the provider of keys signed: a certification
// request for an SM2 key and nothing else.
func checkRequest(csr []byte) error {
	r, err := smx509.ParseCertificateRequest(csr)
	if err != nil {
		return protocol.Errorf(protocol.CodeInternal, "certification request: %v", err)
	}
	if alg, err := protocol.AlgOf(r.PublicKey); err != nil || alg != protocol.AlgSM2 {
		return protocol.Errorf(protocol.CodeInternal, "certification request is not for an SM2 key")
	}
	if err := r.CheckSignature(); err != nil {
		return protocol.Errorf(protocol.CodeInternal, "certification request: %v", err)
	}
	return nil
}

// install judges the answer and stores certificates, pass and settings, in an
// order in which every interruption is made good by the next attempt.
func (c *Core) install(ctx context.Context, next *settings, file *caapi.EnrolmentFile, p *pendingEnrolment, a *caapi.EnrolAnswer, password []byte) ([]Certificate, error) {
	response, err := parseCSRResponse(a.Response)
	if err != nil {
		return nil, err
	}
	if len(a.Chain) == 0 || len(a.Chain) >= trust.MaxChainLength {
		return nil, errResponse("chain")
	}
	if len(next.Trust) == 0 && len(next.Roots) == 0 {
		next.Roots = namedRoots(a.Chain, file.Roots)
	}
	next.Account = a.Account
	grant := keys.Grant{Sign: append([][]byte{response.sign}, asSlices(a.Chain)...),
		Encrypt: append([][]byte{response.encrypt}, asSlices(a.Chain)...), Enveloped: response.enveloped}
	if grant.History, err = asHistory(a.History); err != nil {
		return nil, err
	}
	certs, err := c.judgeGrant(ctx, next, file, grant)
	if err != nil {
		return nil, err
	}
	if grant.Supersedes, err = c.superseded(ctx, certs); err != nil {
		return nil, err
	}
	if err := c.opt.Keys.Install(ctx, hex.EncodeToString(p.RequestID), password, grant); err != nil {
		return nil, err
	}
	if err := c.keepPass(ctx, a.Pass); err != nil {
		return nil, err
	}
	if err := writeJSON(ctx, c.opt.Files, settingsFile, next); err != nil {
		return nil, err
	}
	return certs, c.apply(next)
}

// namedRoots are the certificates of the chain that the operator's file names.
func namedRoots(chain []protocol.Bytes, digests []string) []protocol.Bytes {
	var roots []protocol.Bytes
	for _, der := range chain {
		if slices.Contains(digests, hex.EncodeToString(protocol.H(der))) {
			roots = append(roots, der)
		}
	}
	return roots
}

// judgeGrant verifies both chains to the phone's roots and that they name the
// same holder.
func (c *Core) judgeGrant(ctx context.Context, next *settings, file *caapi.EnrolmentFile, g keys.Grant) ([]Certificate, error) {
	if len(next.Trust) == 0 && len(next.Roots) == 0 {
		return nil, protocol.Errorf(protocol.CodeCertUntrusted, "the authority's chain does not lead to a root that the enrolment file names")
	}
	roots, err := next.anchors()
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(roots.Anchors(), func(a *smx509.Certificate) bool {
		d := trust.Digest(a)
		return slices.Contains(file.Roots, hex.EncodeToString(d[:]))
	}) {
		return nil, protocol.Errorf(protocol.CodeCertUntrusted, "the enrolment file is of an authority that this phone does not know")
	}
	sign := c.judge(roots, keys.Certificate{ID: keys.CertificateID(g.Sign[0]), Use: keys.Sign, Chain: g.Sign, Current: true})
	encrypt := c.judge(roots, keys.Certificate{ID: keys.CertificateID(g.Encrypt[0]), Use: keys.Encrypt, Chain: g.Encrypt, Current: true})
	for _, own := range []Certificate{sign, encrypt} {
		if own.Problem != "" {
			return nil, protocol.Errorf(own.Problem, "the authority's answer holds a certificate that does not verify")
		}
	}
	if sign.Identity != encrypt.Identity {
		return nil, protocol.Errorf(protocol.CodeCertUntrusted, "the two certificates name different holders")
	}
	if err := c.judgeSuccession(ctx, file, &sign); err != nil {
		return nil, err
	}
	history, err := c.judgeHistory(roots, g.History, &encrypt)
	return append([]Certificate{sign, encrypt}, history...), err
}
