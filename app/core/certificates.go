package core

import (
	"context"
	"errors"
	"time"

	"github.com/bidseal/bidseal/app/core/keys"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// Certificate is one of the phone's own certificates as people see it.
type Certificate struct {
	ID        string         `json:"id"`
	Use       keys.Use       `json:"use"`
	Serial    string         `json:"serial"`
	Issuer    string         `json:"issuer"` // common name
	Identity  trust.Identity `json:"identity"`
	NotBefore time.Time      `json:"not_before"`
	NotAfter  time.Time      `json:"not_after"`
	Current   bool           `json:"current"`           // false for historic ones
	Problem   protocol.Code  `json:"problem,omitempty"` // why it cannot be used now; revocation is asked when it is used

	verified *trust.Verified
}

// Certificates lists the phone's own certificates, newest first.
func (c *Core) Certificates(ctx context.Context) ([]Certificate, error) {
	_, roots, err := c.enrolled()
	if err != nil {
		return nil, classify(err)
	}
	held, err := c.opt.Keys.Certificates(ctx)
	if err != nil {
		return nil, classify(err)
	}
	out := make([]Certificate, 0, len(held))
	for _, k := range held {
		out = append(out, c.judge(roots, k))
	}
	return out, nil
}

// judge verifies a certificate of this phone at the present time. What is wrong
// with it stands in Problem.
func (c *Core) judge(roots *trust.Store, k keys.Certificate) Certificate {
	out := Certificate{ID: k.ID, Use: k.Use, Current: k.Current}
	chain, err := trust.ParseChain(k.Chain)
	if err != nil {
		out.Problem = protocol.CodeCertUntrusted
		return out
	}
	leaf := chain[0]
	out.Serial, out.Issuer = trust.SerialHex(leaf.SerialNumber), leaf.Issuer.CommonName
	out.NotBefore, out.NotAfter = leaf.NotBefore.UTC(), leaf.NotAfter.UTC()
	usage := trust.Signing
	if k.Use == keys.Encrypt {
		usage = trust.Encryption
	}
	verified, err := roots.Verify(chain, trust.VerifyOptions{Time: c.now(), Usage: usage})
	if err != nil {
		out.Problem = ownProblem(err)
		if authority, err := roots.Named(chain); err == nil {
			if id, err := trust.ReadSubject(leaf, authority.OIDs); err == nil {
				out.Identity = id
			}
		}
		return out
	}
	out.verified = verified
	if out.Identity, err = trust.ReadIdentity(verified); err != nil {
		out.Problem = protocol.CodeCertUntrusted
	}
	return out
}

func ownProblem(err error) protocol.Code {
	switch {
	case errors.Is(err, trust.ErrExpired), errors.Is(err, trust.ErrNotYetValid):
		return protocol.CodeCertExpired
	case errors.Is(err, trust.ErrKeyUsage):
		return protocol.CodeCertUsage
	}
	return protocol.CodeCertUntrusted
}

// presented is the chain that goes out with a signature: without the anchor,
// which every verifier has.
func (c *Certificate) presented() []protocol.Bytes {
	var out []protocol.Bytes
	for _, cert := range c.verified.Chain[:len(c.verified.Chain)-1] {
		out = append(out, cert.Raw)
	}
	return out
}

func (c *Certificate) leaf() *smx509.Certificate { return c.verified.Leaf() }
