package trust

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/emmansun/gmsm/sm3"
	"github.com/emmansun/gmsm/smx509"
)

// Store is an immutable set of anchors. It is safe for concurrent use.
type Store struct {
	anchors []*smx509.Certificate
	digests [][DigestSize]byte // of anchors, same order, sorted
	version string
	oids    OIDs
}

// NewStore makes a store of root certificates, with the default identifiers.
// Each must be a certificate of an authority that may sign certificates.
func NewStore(roots ...*smx509.Certificate) (*Store, error) {
	return NewStoreWithOIDs(DefaultOIDs(), roots...)
}

// NewStoreWithOIDs makes a store whose operator uses identifiers of its own.
func NewStoreWithOIDs(oids OIDs, roots ...*smx509.Certificate) (*Store, error) {
	if len(roots) == 0 {
		return nil, fmt.Errorf("a trust store without anchors: %w", ErrUntrusted)
	}
	sorted := slices.Clone(roots)
	slices.SortFunc(sorted, func(a, b *smx509.Certificate) int {
		da, db := Digest(a), Digest(b)
		return bytes.Compare(da[:], db[:])
	})
	sorted = slices.CompactFunc(sorted, (*smx509.Certificate).Equal)
	store := &Store{anchors: sorted, oids: oids}
	all := sm3.New()
	for _, root := range sorted {
		if err := checkAuthority(root); err != nil {
			return nil, fmt.Errorf("anchor %q: %w", root.Subject.CommonName, err)
		}
		digest := Digest(root)
		store.digests = append(store.digests, digest)
		all.Write(digest[:])
	}
	store.version = hex.EncodeToString(all.Sum(nil))
	return store, nil
}

// Version is a digest over the anchors, in hexadecimal: two stores with the same
// version believe the same. It belongs into the key of every cache of verified
// certificates.
func (s *Store) Version() string { return s.version }

// Anchors are the store's certificates, ordered by digest.
func (s *Store) Anchors() []*smx509.Certificate { return slices.Clone(s.anchors) }

// OIDs are the identifiers by which the store's certificates are read.
func (s *Store) OIDs() OIDs { return s.oids }

// VerifyOptions say when and for what a chain is to be believed.
type VerifyOptions struct {
	// Time at which every certificate must be valid. Required: a verifier of
	// evidence gives the proven time, everyone else the injected clock's.
	Time time.Time
	// Usage of the leaf. Required.
	Usage Usage
}

// Verified is a chain that was found good.
type Verified struct {
	// Chain from the leaf to the anchor, both included.
	Chain []*smx509.Certificate
	// Anchor is the last of Chain, a member of the store.
	Anchor *smx509.Certificate
}

// Leaf is the certificate in question.
func (v *Verified) Leaf() *smx509.Certificate { return v.Chain[0] }

// Issuer is the authority that signed the leaf.
func (v *Verified) Issuer() *smx509.Certificate { return v.Chain[1] }

// Verify judges a chain, leaf first (RFC 5280 6.1 without policies and name
// constraints). Each certificate must be issued by the next. The anchor itself
// may be left out; what follows an anchor is ignored.
//
// Revocation is not part of it: see VerifyOCSP and VerifyCRL. The error wraps
// ErrUntrusted, ErrExpired, ErrNotYetValid, ErrKeyUsage, ErrConstraint,
// ErrCritical, ErrAlgorithm or ErrMalformed.
func (s *Store) Verify(chain []*smx509.Certificate, opts VerifyOptions) (*Verified, error) {
	if opts.Time.IsZero() {
		return nil, fmt.Errorf("verification without a time: %w", ErrMalformed)
	}
	path, err := s.path(chain)
	if err != nil {
		return nil, err
	}
	for i, cert := range path {
		if err := checkOne(cert, opts.Time); err != nil {
			return nil, fmt.Errorf("certificate %d of the chain, %q: %w", i, cert.Subject.CommonName, err)
		}
		if i == 0 {
			continue
		}
		if err := checkIssuing(cert, path[:i]); err != nil {
			return nil, fmt.Errorf("certificate %d of the chain, %q: %w", i, cert.Subject.CommonName, err)
		}
	}
	if err := checkUsage(path[0], opts.Usage, s.oids); err != nil {
		return nil, err
	}
	return &Verified{Chain: path, Anchor: path[len(path)-1]}, nil
}

// path follows the presented chain to the first anchor. Only names and digests
// are compared here.
func (s *Store) path(chain []*smx509.Certificate) ([]*smx509.Certificate, error) {
	if len(chain) == 0 || len(chain) > MaxChainLength {
		return nil, fmt.Errorf("chain of %d certificates: %w", len(chain), ErrMalformed)
	}
	if s.isAnchor(chain[0]) {
		return nil, fmt.Errorf("the leaf is an anchor: %w", ErrKeyUsage)
	}
	for i, cert := range chain {
		if i > 0 && !isIssuer(cert, chain[i-1]) {
			return nil, fmt.Errorf("certificate %d of the chain did not issue the one before: %w", i, ErrUntrusted)
		}
		if i > 0 && s.isAnchor(cert) {
			return slices.Clone(chain[:i+1]), nil
		}
	}
	anchor, err := s.anchorOf(chain[len(chain)-1])
	if err != nil {
		return nil, err
	}
	return append(slices.Clone(chain), anchor), nil
}

// anchorOf finds the anchor that issued a certificate. Its signature is looked
// at here only where several anchors bear the same name and key identifier.
func (s *Store) anchorOf(cert *smx509.Certificate) (*smx509.Certificate, error) {
	var named []*smx509.Certificate
	for _, anchor := range s.anchors {
		if isIssuer(anchor, cert) {
			named = append(named, anchor)
		}
	}
	for _, anchor := range named {
		if len(named) == 1 || cert.CheckSignatureFrom(anchor) == nil {
			return anchor, nil
		}
	}
	return nil, fmt.Errorf("issuer of %q: %w", cert.Subject.CommonName, ErrUntrusted)
}

func (s *Store) isAnchor(cert *smx509.Certificate) bool {
	digest := Digest(cert)
	_, found := slices.BinarySearchFunc(s.digests, digest, func(a, b [DigestSize]byte) int {
		return bytes.Compare(a[:], b[:])
	})
	return found
}

// checkOne judges what holds for every certificate of a chain.
func checkOne(cert *smx509.Certificate, now time.Time) error {
	if now.Before(cert.NotBefore) {
		return fmt.Errorf("valid from %s: %w", cert.NotBefore.UTC().Format(time.RFC3339), ErrNotYetValid)
	}
	if now.After(cert.NotAfter) {
		return fmt.Errorf("valid until %s: %w", cert.NotAfter.UTC().Format(time.RFC3339), ErrExpired)
	}
	if err := checkCritical(cert); err != nil {
		return err
	}
	if err := checkAlgorithm(cert.SignatureAlgorithm); err != nil {
		return err
	}
	return checkPublicKey(cert.PublicKey)
}

// checkAuthority judges whether a certificate may issue at all.
func checkAuthority(cert *smx509.Certificate) error {
	if cert.Version != 3 || !cert.BasicConstraintsValid || !cert.IsCA {
		return fmt.Errorf("not the certificate of an authority: %w", ErrConstraint)
	}
	if cert.KeyUsage&smx509.KeyUsageCertSign == 0 {
		return fmt.Errorf("an authority without the right to sign certificates: %w", ErrConstraint)
	}
	return nil
}

// checkIssuing judges an authority against the part of the chain below it, leaf
// first: the last of below is what it signed.
func checkIssuing(cert *smx509.Certificate, below []*smx509.Certificate) error {
	if err := checkAuthority(cert); err != nil {
		return err
	}
	// RFC 5280 4.2.1.9: the number of intermediate certificates that may
	// follow; self-issued ones are not counted.
	intermediates := 0
	for _, c := range below[1:] {
		if !bytes.Equal(c.RawSubject, c.RawIssuer) {
			intermediates++
		}
	}
	if limit := cert.MaxPathLen; (limit > 0 || limit == 0 && cert.MaxPathLenZero) && intermediates > limit {
		return fmt.Errorf("%d authorities below a path length of %d: %w", intermediates, limit, ErrConstraint)
	}
	if err := below[len(below)-1].CheckSignatureFrom(cert); err != nil {
		return fmt.Errorf("signature on the certificate below: %w: %w", ErrUntrusted, err)
	}
	return nil
}
