package core

import (
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// csrResponse is an authority's response to a certification request (GM/T 0092):
//
//	SEQUENCE { signCerts SET OF Certificate, encryptedPrivateKey [0] EXPLICIT SM2EnvelopedKey,
//	           encryptCerts [1] SET OF Certificate }
//
// The tag [1] is found implicit and explicit in the field; both are read.
type csrResponse struct {
	sign      []byte // DER of the one signing certificate
	encrypt   []byte // DER of the one encryption certificate
	enveloped []byte // DER of the SM2EnvelopedKey
}

func parseCSRResponse(der []byte) (*csrResponse, error) {
	var inner, sign, enveloped, encrypt cryptobyte.String
	input := cryptobyte.String(der)
	tag0, tag1 := cbasn1.Tag(0).ContextSpecific().Constructed(), cbasn1.Tag(1).ContextSpecific().Constructed()
	if len(der) > 4*trust.MaxCertificateSize ||
		!input.ReadASN1(&inner, cbasn1.SEQUENCE) || !input.Empty() ||
		!inner.ReadASN1(&sign, cbasn1.SET) ||
		!inner.ReadASN1(&enveloped, tag0) ||
		!inner.ReadASN1(&encrypt, tag1) || !inner.Empty() {
		return nil, errResponse("not a CSRResponse with a dual certificate")
	}
	if encrypt.PeekASN1Tag(cbasn1.SET) {
		var set cryptobyte.String
		if !encrypt.ReadASN1(&set, cbasn1.SET) || !encrypt.Empty() {
			return nil, errResponse("encryption certificates")
		}
		encrypt = set
	}
	signCert, ok := onlyElement(sign)
	encryptCert, okEncrypt := onlyElement(encrypt)
	envelopedKey, okKey := onlyElement(enveloped)
	if !ok || !okEncrypt || !okKey {
		return nil, errResponse("want one signing certificate, one encryption certificate and one key")
	}
	return &csrResponse{sign: signCert, encrypt: encryptCert, enveloped: envelopedKey}, nil
}

// onlyElement returns the one SEQUENCE that in holds.
func onlyElement(in cryptobyte.String) ([]byte, bool) {
	var element cryptobyte.String
	ok := in.ReadASN1Element(&element, cbasn1.SEQUENCE) && in.Empty()
	return element, ok
}

func errResponse(what string) error {
	return protocol.Errorf(protocol.CodeMalformed, "answer of the authority: %s", what)
}
