package core_test

import (
	"bytes"
	"crypto"
	"encoding/hex"

	"github.com/bidseal/bidseal/app/core"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// authority plays the CA's HTTP API.
type authority struct {
	*pki
	passKey *sm2.PrivateKey
	code    string
	// recoveries that the holder is told of.
	recoveries []caapi.KeyRecovery
	spent      []byte // digest of the body that spent the code
	answers    map[string][]byte
	issued     []*smx509.Certificate // signing certificates
	serials    map[string]bool
	// alter changes the answer of an enrolment, where set.
	alter func(*caapi.EnrolAnswer)
	// respond makes the CSRResponse, where set.
	respond func(sign, encrypt *smx509.Certificate, key *sm2.PrivateKey) []byte
}

func newAuthority(p *pki) *authority {
	return &authority{pki: p, passKey: p.key(), code: "CODE-1", answers: map[string][]byte{}, serials: map[string]bool{}}
}

// file is what the operator hands out.
func (a *authority) file() *caapi.EnrolmentFile {
	return &caapi.EnrolmentFile{V: 1, CA: authorityBase, Code: a.code, Relay: relayOrigin, AppOrigins: []string{appOrigin},
		Roots: []string{hex.EncodeToString(protocol.H(a.root.cert.Raw))}}
}

func (a *authority) serve(call core.Call) core.Answer {
	switch path := call.URL[len(authorityBase):]; path {
	case caapi.PathEnrol:
		return a.enrol(call)
	case caapi.PathPass:
		old, err := protocol.ReadPass(call.Header[protocol.HeaderPass])
		must(a.t, err)
		pub, err := protocol.ParseKey(old.Key)
		must(a.t, err)
		return a.checked(call, pub, call.Header[protocol.HeaderPass], func() any {
			return caapi.PassAnswer{V: 1, Pass: a.pass(old.Key)}
		})
	case caapi.PathRecoveries:
		p, err := protocol.ReadPass(call.Header[protocol.HeaderPass])
		must(a.t, err)
		pub, err := protocol.ParseKey(p.Key)
		must(a.t, err)
		return a.checked(call, pub, call.Header[protocol.HeaderPass], func() any {
			return caapi.KeyRecoveries{V: 1, Recoveries: a.recoveries}
		})
	case caapi.PathOCSP:
		request, err := trust.ParseOCSPRequest(call.Body)
		must(a.t, err)
		return core.Answer{Status: 200, Body: a.answer(call.Body, request.Questions[0].Serial)}
	}
	return refuse(protocol.Errorf(protocol.CodeNotFound, "path"))
}

// checked verifies a proof and answers.
func (a *authority) checked(call core.Call, device crypto.PublicKey, pass string, answer func() any) core.Answer {
	v := &protocol.VerifiedPass{Public: device, Digest: protocol.H([]byte(pass))}
	if err := protocol.VerifyProof(v, call.Header[protocol.HeaderProof], protocol.Call{Method: call.Method, URL: call.URL, Body: call.Body}, a.clock.now); err != nil {
		return refuse(err)
	}
	return reply(a.t, answer())
}

func (a *authority) enrol(call core.Call) core.Answer {
	var body caapi.EnrolRequest
	must(a.t, protocol.DecodeJSON(call.Body, &body))
	device, err := protocol.ParseKey(body.DeviceKey)
	must(a.t, err)
	switch {
	case body.Code != a.code:
		return refuse(protocol.Errorf(protocol.CodeEnrolmentCode, "unknown"))
	case a.spent != nil && !bytes.Equal(a.spent, protocol.H(call.Body)):
		return refuse(protocol.Errorf(protocol.CodeIssuanceConflict, "other request"))
	}
	return a.checked(call, device, "", func() any {
		a.spent = protocol.H(call.Body)
		return a.grant(&body)
	})
}

// grant issues once per request id.
func (a *authority) grant(body *caapi.EnrolRequest) caapi.EnrolAnswer {
	id := string(body.RequestID)
	if a.answers[id] == nil {
		csr, err := smx509.ParseCertificateRequest(body.CSR)
		must(a.t, err)
		must(a.t, csr.CheckSignature())
		lineage := protocol.H([]byte(a.code))[:16]
		sign := a.sign(a.holder(lineage, signUsage), &a.issuing, csr.PublicKey, nil)
		key := a.key()
		encrypt := a.pki.issue(a.holder(lineage, encryptUsage), &a.issuing, key)
		a.issued = append(a.issued, sign)
		if a.respond != nil {
			a.answers[id] = a.respond(sign, encrypt.cert, key)
		} else {
			a.answers[id], err = smx509.MarshalCSRResponse([]*smx509.Certificate{sign}, key, []*smx509.Certificate{encrypt.cert})
			must(a.t, err)
		}
	}
	answer := caapi.EnrolAnswer{V: 1, RequestID: body.RequestID, Response: a.answers[id], Account: "account-1", Pass: a.pass(body.DeviceKey),
		Chain: []protocol.Bytes{a.issuing.cert.Raw, a.root.cert.Raw}}
	if a.alter != nil {
		a.alter(&answer)
	}
	return answer
}

func (a *authority) pass(deviceKey []byte) string {
	pub, err := protocol.ParseKey(deviceKey)
	must(a.t, err)
	alg, err := protocol.AlgOf(pub)
	must(a.t, err)
	now := a.clock.now.Unix()
	text, err := protocol.IssuePass(a.passKey, protocol.Pass{V: 1, Iss: "test", Device: protocol.DeviceID(deviceKey), Alg: alg, Key: deviceKey,
		Account: "account-1", IAT: now, EXP: now + 3600})
	must(a.t, err)
	return text
}
