package main

// table is the rules under guard. A row breaks one rule in the way in which
// somebody would by mistake: a condition left out, a check that says yes. Old has
// to stand exactly once in the file; a row whose code moved says so and moves with it.
func table() []row {
	var rows []row
	for _, some := range [][]row{operatorRules(), authorityRules(), relayRules(), phoneRules(), platformRules()} {
		rows = append(rows, some...)
	}
	return rows
}

// operatorRules bind the operators of an authority.
func operatorRules() []row {
	return []row{
		{"four eyes: the same person under another operator's id does not approve", "ca/registry/application.go", []edit{
			{`other.id == call.ID || other.name == call.Name`, `other.id == call.ID`}},
			"./ca TestApprovalBySamePersonAgain"},
		{"a blocked operator does not act, even before the certificate is revoked", "ca/registry/operator.go", []edit{
			{`if o.state != operatorActive || serial == "" {`, `if serial == "" {`}},
			"./ca TestBlockedOperatorWithGoodCertificate"},
		{"an operator whose certificate is revoked does not act", "ca/registry/operator.go", []edit{
			{`	if state != status.StateGood {
		return nil, nil, protocol.Errorf(protocol.CodeForbidden, "the operator's certificate is %s", state)
	}
`, ``}, {`cert, state, err := r.operatorCertificate`, `cert, _, err := r.operatorCertificate`}},
			"./ca TestOperatorForgeries"},
		{"an operator's call counts once", "ca/registry/operatorcall.go", []edit{
			{`err != nil || n != 1 {`, `err != nil || n > 1 {`}},
			"./ca TestOperatorForgeries"},
	}
}

// authorityRules bind certificates and escrowed keys.
func authorityRules() []row {
	return []row{
		{"what is signed is what was linted", "ca/issuance/issuer.go", []edit{
			{`	return &Linted{issuer: i, tbs: cert.RawTBSCertificate, warnings: warn(cert, s)}, nil`, `	template.NotAfter = template.NotAfter.AddDate(1, 0, 0)
	if der, err = smx509.CreateCertificate(rand.Reader, template, i.lintParent(template), request.PublicKey, i.lintKey); err != nil {
		return nil, err
	}
	other, err := trust.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Linted{issuer: i, tbs: other.RawTBSCertificate, warnings: warn(cert, s)}, nil`}},
			"./ca/issuance TestSignedBytesAreTheLintedOnes"},
		{"only what this issuer linted is signed", "ca/issuance/issuer.go", []edit{
			{`linted == nil || linted.issuer != i || len(linted.tbs) == 0`, `linted == nil || len(linted.tbs) == 0`}},
			"./ca/issuance TestOnlyLintedCertificatesAreSigned"},
		{"an escrowed key is bound to its lineage", "ca/kmc/centre.go", []edit{
			{`[]byte(c.kek), []byte(id), []byte(lineage), spki}`, `[]byte(c.kek), []byte(id), spki}`}, {`[]byte("bidseal/kmc record 1")`, `[]byte("bidseal/kmc record 1" + lineage[:0])`}},
			"./ca/kmc TestRefusals"},
		{"a chain is judged for the usage that is asked for", "trust/store.go", []edit{
			{`	if err := checkUsage(path[0], opts.Usage, authority.OIDs); err != nil {
		return nil, err
	}
`, ``}},
			"./trust TestVerifyRefuses"},
	}
}

// relayRules bind what the relay takes from phones, platforms and pages.
func relayRules() []row {
	return []row{
		{"the kem of a result is the one of the open", "relay/receipt.go", []edit{
			{`&& !protocol.Equal(c.Open.KEM, b.KEM) {`, `&& len(b.KEM) == 0 {`}},
			"./relay TestTwoPhases"},
		{"a device that never held a challenge learns nothing by the bytes of a result that is gone", "relay/phone.go", []edit{
			{`err != nil || end.Device != ph.device || !protocol.Equal(end.Digest, digest)`, `err != nil || !protocol.Equal(end.Digest, digest)`}},
			"./relay TestForeignDeviceIsNotTold"},
		{"a receipt is about the bytes of its result", "relay/receipt.go", []edit{
			{`!protocol.Equal(rec.Result, digest) || `, ``}},
			"./relay TestReceiptRefused"},
		{"the state that won is told to the holder alone", "relay/phone.go", []edit{
			{`	if c.Progress.Device != ph.device {
		return err
	}
	return withWinner`, `	return withWinner`}, {`func (r *Relay) toHolder(ph *phone, c`, `func (r *Relay) toHolder(_ *phone, c`}},
			"./relay TestForeignDeviceIsNotTold"},
		{"a page needs the secret of its challenge", "relay/pages.go", []edit{
			{`len(b.Watch) != protocol.WatchSize || !protocol.Equal(protocol.H(b.Watch), c.HWatch)`, `len(b.Watch) != protocol.WatchSize`}},
			"./relay TestPageRefused"},
		{"a page of a foreign origin does not watch", "relay/pages.go", []edit{
			{`if !r.allowedOrigin(p, origin) {`, `if r.allowedOrigin(p, origin) && false {`}},
			"./relay TestPageRefused"},
		{"a platform's call counts once", "relay/http_auth.go", []edit{
			{`case !fresh:`, `case false && !fresh:`}},
			"./relay TestNonceReplayed"},
		{"a blocked platform does not call", "relay/http_auth.go", []edit{
			{`case p.Blocked:`, `case false:`}},
			"./relay TestBlockedPlatform"},
		{"a claim needs the key of the code", "relay/phone.go", []edit{
			{`if protocol.Equal(protocol.H(kClaim), c.HClaim) {`, `if len(kClaim) == protocol.KClaimSize {`}},
			"./relay TestWrongClaimKey"},
		{"a device pass ends", "protocol/pass.go", []edit{
			{` || t >= v.EXP {`, ` {`}},
			"./protocol TestVectors"},
		{"a proof of an old call is refused", "protocol/pass.go", []edit{
			{`d > MaxSkew || d < -MaxSkew {`, `d < -MaxSkew {`}},
			"./relay TestPassAndProofTimes"},
	}
}

// phoneRules bind what a phone signs.
func phoneRules() []row {
	return []row{
		{"the request fits the commitment of the code", "protocol/request.go", []edit{
			{`len(rh16) != RH16Size || !Equal(rh[:RH16Size], rh16)`, `len(rh16) != RH16Size || len(rh) < RH16Size`}},
			"./app/core TestRequestRefused"},
		{"the platform's signature on the request verifies", "app/core/platform.go", []edit{
			{`	if err := protocol.VerifyRequest(chain[0].PublicKey, o.Sealed.Request, o.Sealed.Signature); err != nil {
		return nil, err
	}
`, ``}},
			"./app/core TestRequestRefused"},
		{"request and certificate name the same platform", "app/core/platform.go", []edit{
			{`if identity.PlatformID != o.Request.Platform {`, `if identity.PlatformID == "" {`}},
			"./app/core TestRequestRefused"},
		{"an unknown status is no good one", "trust/status.go", []edit{
			{`	default:
		return fmt.Errorf("%v: %w", s.State, ErrStatusUnknown)
`, `	default:
		return nil
`}},
			"./trust TestOCSPStates"},
	}
}

// platformRules bind what a platform believes.
func platformRules() []row {
	return []row{
		{"a stored record opens under its own key alone", "sdk/record.go", []edit{
			{`v.aead.Seal(nonce, nonce, plain, []byte(key))`, `v.aead.Seal(nonce, nonce, plain, nil)`},
			{`v.aead.Open(nil, r.Value[:n], r.Value[n:], []byte(r.Key))`, `v.aead.Open(nil, r.Value[:n], r.Value[n:], nil)`}},
			"./sdk TestStoredRecordIsBoundToItsKey"},
		{"the ephemeral key is forgotten with the verdict", "sdk/react.go", []edit{
			{`		clear(o.Ephemeral)
		o.Ephemeral, o.Ready,`, `		o.Ready,`}, {`= nil, nil, nil, ""`, `= nil, nil, ""`}},
			"./sdk TestEphemeralKeyIsForgotten"},
		{"a result is not collected after its time", "sdk/result.go", []edit{
			{`	case now.After(o.unackedAt()):
		return protocol.Errorf(protocol.CodeUnacked, "the result was not collected in time")
`, ``}, {`func (o *openChallenge) collectable(now time.Time) error {`, `func (o *openChallenge) collectable(time.Time) error {`}},
			"./sdk TestCollectedTooLate"},
		{"a result is collected once", "sdk/result.go", []edit{
			{`	case o.Consumed:
		return protocol.Errorf(protocol.CodeResultConsumed, "the result was collected before")
	case o.End`, `	case o.End`}},
			"./sdk TestLogin"},
		{"a result comes under the keys of the open that was accepted", "sdk/result.go", []edit{
			{`r.Policy.TwoPhase && !protocol.Equal(claim.KEM, o.KEM)`, `r.Policy.TwoPhase && len(claim.KEM) == 0`}},
			"./sdk TestHostileOtherKeysThanTheOpen"},
		{"a session belongs to the browser that started it", "sdk/cookie.go", []edit{
			{`		if protocol.Equal(protocol.H(b), digest) {
			return b
		}
`, `		if len(digest) > 0 {
			return b
		}
`}},
			"./sdk TestPageOtherBrowser"},
		{"the waiting page's endpoints are called from the platform's origins", "sdk/handler.go", []edit{
			{`case !slices.Contains(h.client.config.Origins, p.origin):`, `case len(h.client.config.Origins) == 0:`}},
			"./sdk TestPageWhoMayCall"},
		{"the signer is the owner that was expected", "sdk/evidence.go", []edit{
			{`case o.CreditCode != "" && o.CreditCode != who.CreditCode:`, `case o.CreditCode == "":`}},
			"./sdk TestExpectedOwner"},
		{"a result's statement is signed by its certificate", "sdk/result.go", []edit{
			{`	if err := protocol.VerifyStatement(signer.Leaf().PublicKey, box.Statement, box.Signature); err != nil {
		return nil, err
	}
`, ``}},
			"./sdk TestHostileAlteredStatement"},
	}
}
