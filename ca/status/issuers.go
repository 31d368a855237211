package status

import (
	"crypto"
	"math/big"

	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// issuing is one issuing authority: the current one, or an earlier one that
// still vouches for its certificates.
type Issuer struct {
	Name string // in URLs, file names and ca_certificates.issuer: "issuing-1"
	key  crypto.Signer
	*issuance.Issuer
	crlURL func(serial *big.Int) string // of the list that covers a certificate
}

// issuers are all issuing authorities of one root, oldest first; the last issues.
type issuers []*Issuer

// named returns nil if there is none.
func (all issuers) named(name string) *Issuer {
	for _, i := range all {
		if i.Name == name {
			return i
		}
	}
	return nil
}

// about returns the authority that an OCSP question is about, nil if it is none
// of these.
func (all issuers) about(request *trust.OCSPRequest) *Issuer {
	for _, i := range all {
		if request.About(i.Certificate()) {
			return i
		}
	}
	return nil
}

// Chain above a leaf of the authority's: itself and the root.
func (i *Issuer) Chain(root *smx509.Certificate) []protocol.Bytes {
	return []protocol.Bytes{i.Certificate().Raw, root.Raw}
}
