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

// Store is an immutable set of authorities, each of whose roots is an anchor. It
// is safe for concurrent use.
type Store struct {
	authorities []Authority
	anchors     []*smx509.Certificate
	digests     [][DigestSize]byte // of anchors, same order, sorted
	owners      []*Authority       // of anchors, same order
	version     string
}

// NewStore makes a store. Every authority needs identifiers, and roots that may
// sign certificates; no root may belong to two authorities.
func NewStore(authorities ...Authority) (*Store, error) {
	if len(authorities) == 0 {
		return nil, fmt.Errorf("a trust store without authorities: %w", ErrUntrusted)
	}
	store := &Store{authorities: slices.Clone(authorities)}
	owners := map[[DigestSize]byte]*Authority{}
	for i := range store.authorities {
		authority := &store.authorities[i]
		if err := authority.check(); err != nil {
			return nil, fmt.Errorf("authority %q: %w", authority.Name, err)
		}
		for _, root := range authority.Roots {
			digest := Digest(root)
			switch owner := owners[digest]; owner {
			case nil:
				owners[digest] = authority
				store.anchors = append(store.anchors, root)
			case authority:
			default:
				return nil, fmt.Errorf("root %q belongs to the authorities %q and %q: %w", root.Subject.CommonName, owner.Name, authority.Name, ErrMalformed)
			}
		}
	}
	slices.SortFunc(store.anchors, func(a, b *smx509.Certificate) int {
		da, db := Digest(a), Digest(b)
		return bytes.Compare(da[:], db[:])
	})
	all := sm3.New()
	for _, anchor := range store.anchors {
		digest := Digest(anchor)
		store.digests = append(store.digests, digest)
		store.owners = append(store.owners, owners[digest])
		rules := sm3.Sum([]byte(owners[digest].rules()))
		all.Write(digest[:])
		all.Write(rules[:])
	}
	store.version = hex.EncodeToString(all.Sum(nil))
	return store, nil
}

// Version is a digest over the anchors and the rules of their authorities, in
// hexadecimal: two stores with the same version believe the same. It belongs
// into the key of every cache of verified certificates.
func (s *Store) Version() string { return s.version }

// Anchors are the roots of all authorities, ordered by digest.
func (s *Store) Anchors() []*smx509.Certificate { return slices.Clone(s.anchors) }

// Authorities in the order in which they were given.
func (s *Store) Authorities() []Authority { return slices.Clone(s.authorities) }

// Named returns the authority to which a chain, leaf first, would lead by its
// names. Nothing is verified: it says by whose identifiers to read a certificate
// that Verify refused. The error wraps ErrUntrusted or ErrMalformed.
func (s *Store) Named(chain []*smx509.Certificate) (*Authority, error) {
	path, err := s.path(chain)
	if err != nil {
		return nil, err
	}
	return s.owners[s.find(path[len(path)-1])], nil
}

// AuthorityOf returns the authority that has the root of this SM3 digest, in
// lower-case hexadecimal as in Identity.Anchor. The error wraps ErrUntrusted.
func (s *Store) AuthorityOf(anchor string) (*Authority, error) {
	digest, err := hex.DecodeString(anchor)
	if err == nil {
		for i, d := range s.digests {
			if bytes.Equal(d[:], digest) {
				return s.owners[i], nil
			}
		}
	}
	return nil, fmt.Errorf("anchor %.80q: %w", anchor, ErrUntrusted)
}

// VerifyOptions say when and for what a chain is to be believed.
type VerifyOptions struct {
	// Time at which every certificate must be valid. Required: a verifier of
	// evidence gives the proven time, everyone else the injected clock's.
	Time time.Time
	// Usage of the leaf. Required.
	Usage Usage
	// Operation for which the authority has to be believed at Time. Empty where
	// the chain is judged for no operation, such as one that is being installed.
	Operation Operation
}

// Verified is a chain that was found good.
type Verified struct {
	// Chain from the leaf to the anchor, both included.
	Chain []*smx509.Certificate
	// Anchor is the last of Chain, a root of Authority.
	Anchor *smx509.Certificate
	// Authority that the chain leads to.
	Authority *Authority
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
// ErrUntrusted, ErrOperation, ErrExpired, ErrNotYetValid, ErrKeyUsage,
// ErrConstraint, ErrCritical, ErrAlgorithm or ErrMalformed.
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
	anchor := path[len(path)-1]
	authority := s.owners[s.find(anchor)]
	if err := checkUsage(path[0], opts.Usage, authority.OIDs); err != nil {
		return nil, err
	}
	if opts.Operation != "" {
		if err := authority.Allow(opts.Operation, opts.Time); err != nil {
			return nil, err
		}
	}
	return &Verified{Chain: path, Anchor: anchor, Authority: authority}, nil
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

func (s *Store) isAnchor(cert *smx509.Certificate) bool { return s.find(cert) >= 0 }

// find returns the place of an anchor, -1 for any other certificate.
func (s *Store) find(cert *smx509.Certificate) int {
	i, found := slices.BinarySearchFunc(s.digests, Digest(cert), func(a, b [DigestSize]byte) int {
		return bytes.Compare(a[:], b[:])
	})
	if !found {
		return -1
	}
	return i
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
