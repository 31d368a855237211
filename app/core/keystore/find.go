package keystore

import (
	"bytes"
	"context"
	"math/big"

	"github.com/bidseal/bidseal/app/core/keys"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// Find implements keys.Provider. The newest fitting certificate is returned.
func (s *Store) Find(ctx context.Context, r keys.Recipient) (*keys.Certificate, error) {
	d, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	if d == nil {
		return nil, protocol.Errorf(protocol.CodeNotEnrolled, "no keys on this phone")
	}
	for i := len(d.Keys) - 1; i >= 0; i-- {
		k := &d.Keys[i]
		for j := len(k.Certs) - 1; j >= 0 && k.Use == keys.Encrypt; j-- {
			cert, err := trust.ParseCertificate(k.Certs[j].Chain[0])
			if err != nil {
				return nil, invalid("certificate %d of key %d: %v", j, i, err)
			}
			if named(r, cert, k.SPKI) {
				found := k.certificate(j)
				return &found, nil
			}
		}
	}
	return nil, protocol.Errorf(protocol.CodeNoCertificate, "no encryption key for this recipient")
}

// named reports whether the recipient means this certificate.
func named(r keys.Recipient, cert *smx509.Certificate, spki []byte) bool {
	switch {
	case len(r.Issuer) != 0:
		return bytes.Equal(r.Issuer, cert.RawIssuer) && cert.SerialNumber.Cmp(new(big.Int).SetBytes(r.Serial)) == 0
	case len(r.SKI) != 0:
		return bytes.Equal(r.SKI, cert.SubjectKeyId)
	case len(r.Digest) != 0:
		return bytes.Equal(r.Digest, protocol.H(spki))
	}
	return false
}
