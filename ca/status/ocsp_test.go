package status_test

import (
	"bytes"
	"encoding/asn1"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/catest"
	"github.com/bidseal/bidseal/trust"
)

// TestOCSPKeepsLittleForStrangers: what is remembered of a question does not
// grow with what stands around it, and what is repeated of it is bounded.
func TestOCSPKeepsLittleForStrangers(t *testing.T) {
	authority := catest.New(t, catest.Options{})
	holder, issuer := authority.Person("张三"), authority.Status.Current().Certificate()
	junk := bytes.Repeat([]byte{7}, 40<<10)
	question, err := trust.NewOCSPRequest(holder.Signing, issuer, nil)
	must(t, err)
	// OCSPRequest { tbsRequest, optionalSignature [0] }: nobody looks at the latter
	var outer asn1.RawValue
	_, err = asn1.Unmarshal(question, &outer)
	must(t, err)
	signature, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: junkString(t, junk)})
	must(t, err)
	long, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: append(bytes.Clone(outer.Bytes), signature...)})
	must(t, err)
	answer, err := authority.Life.OCSP(t.Context(), long)
	must(t, err)
	_, err = trust.VerifyOCSP(answer.DER, holder.Signing, issuer, trust.OCSPOptions{Now: time.Now()})
	must(t, err)
	names := authority.Status.RememberedAnswers()
	if len(names) == 0 {
		t.Error("nothing is remembered")
	}
	for _, name := range names {
		if len(name) > 64 {
			t.Errorf("%d bytes of a question are kept", len(name))
		}
	}
	// hashAlgorithm { SHA-1, parameters }: the answer repeats the CertID
	sha1 := []byte{0x06, 5, 0x2B, 0x0E, 3, 2, 0x1A}
	parameters := bytes.Replace(question, append(bytes.Clone(sha1), 5, 0), append(bytes.Clone(sha1), 4, 0), 1)
	if bytes.Equal(parameters, question) {
		t.Fatal("the question has another form")
	}
	answer, err = authority.Life.OCSP(t.Context(), parameters)
	must(t, err)
	if !bytes.Equal(answer.DER, trust.OCSPError(trust.MalformedRequest)) {
		t.Errorf("parameters of a stranger's choice are signed: %x", answer.DER)
	}
}

func junkString(t *testing.T, junk []byte) []byte {
	t.Helper()
	der, err := asn1.Marshal(junk)
	must(t, err)
	return der
}
