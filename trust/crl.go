package trust

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/emmansun/gmsm/smx509"
)

// CRL is a revocation list whose signature, scope and dates were found good.
type CRL struct {
	// Number of the list; it grows with every list of the same scope.
	Number *big.Int
	// ThisUpdate and NextUpdate of the list.
	ThisUpdate, NextUpdate time.Time
	// DistributionPoints are the URIs that the list states for itself; empty for
	// a list that covers all certificates of its issuer.
	DistributionPoints []string

	issuer    *smx509.Certificate
	endEntity bool // covers only end-entity certificates
	authority bool // covers only authorities' certificates
	shard     bool // covers only certificates that point to it
	revoked   map[string]smx509.RevocationListEntry
}

// CRLOptions say how fresh a list must be.
type CRLOptions struct {
	// Now is the time of judgement. Required.
	Now time.Time
	// MaxAge bounds the age of thisUpdate; 0 leaves it to nextUpdate.
	MaxAge time.Duration
	// Skew is how far the clocks of the two sides may differ.
	Skew time.Duration
}

// issuingDistributionPoint is the extension by which a list states its scope
// (RFC 5280 5.2.5).
type issuingDistributionPoint struct {
	DistributionPoint          distributionPointName `asn1:"tag:0,optional"` // EXPLICIT around a CHOICE
	OnlyContainsUserCerts      bool                  `asn1:"tag:1,optional"`
	OnlyContainsCACerts        bool                  `asn1:"tag:2,optional"`
	OnlySomeReasons            asn1.BitString        `asn1:"tag:3,optional"`
	IndirectCRL                bool                  `asn1:"tag:4,optional"`
	OnlyContainsAttributeCerts bool                  `asn1:"tag:5,optional"`
}

type distributionPointName struct {
	FullName []asn1.RawValue `asn1:"tag:0,optional"`
}

// NewIssuingDistributionPoint is the DER of the extension for a list that is
// found at the given URIs and covers authorities' certificates only, or end
// entities' only.
func NewIssuingDistributionPoint(authorities bool, uris ...string) ([]byte, error) {
	point := issuingDistributionPoint{OnlyContainsUserCerts: !authorities, OnlyContainsCACerts: authorities}
	for _, uri := range uris {
		point.DistributionPoint.FullName = append(point.DistributionPoint.FullName,
			asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(uri)})
	}
	der, err := asn1.Marshal(point)
	if err != nil {
		return nil, fmt.Errorf("issuing distribution point: %w", err)
	}
	return der, nil
}

// VerifyCRL reads and judges a list of issuer's (RFC 5280 5). Indirect lists,
// lists of some reasons only, delta lists and unknown critical extensions are
// refused. The error wraps ErrMalformed, ErrUntrusted, ErrStatusMismatch,
// ErrStaleStatus, ErrCritical or ErrAlgorithm.
func VerifyCRL(der []byte, issuer *smx509.Certificate, opts CRLOptions) (*CRL, error) {
	if len(der) > MaxCRLSize {
		return nil, fmt.Errorf("revocation list of %d bytes: %w", len(der), ErrMalformed)
	}
	list, err := smx509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("revocation list: %w: %w", ErrMalformed, err)
	}
	if list.NextUpdate.IsZero() { // RFC 5280 5.1.2.5
		return nil, fmt.Errorf("revocation list without nextUpdate: %w", ErrMalformed)
	}
	if !bytes.Equal(list.RawIssuer, issuer.RawSubject) {
		return nil, fmt.Errorf("revocation list of another issuer: %w", ErrStatusMismatch)
	}
	if err := checkAlgorithm(list.SignatureAlgorithm); err != nil {
		return nil, fmt.Errorf("revocation list: %w", err)
	}
	if err := list.CheckSignatureFrom(issuer); err != nil {
		return nil, fmt.Errorf("revocation list: %w: %w", ErrUntrusted, err)
	}
	crl := &CRL{Number: list.Number, ThisUpdate: list.ThisUpdate, NextUpdate: list.NextUpdate, issuer: issuer}
	if err := crl.readScope(list); err != nil {
		return nil, err
	}
	fresh := freshness{now: opts.Now, maxAge: opts.MaxAge, skew: opts.Skew}
	if err := fresh.check(list.ThisUpdate, list.ThisUpdate, list.NextUpdate); err != nil {
		return nil, fmt.Errorf("revocation list: %w", err)
	}
	return crl, crl.readEntries(list.RevokedCertificateEntries)
}

func (c *CRL) readScope(list *smx509.RevocationList) error {
	for _, ext := range list.Extensions {
		switch {
		case ext.Id.Equal(OIDIssuingDistributionPoint()):
			var point issuingDistributionPoint
			rest, err := asn1.Unmarshal(ext.Value, &point)
			if err != nil || len(rest) != 0 {
				return fmt.Errorf("issuing distribution point: %w", ErrMalformed)
			}
			// encoding/asn1 passes over fields that it does not know, each of
			// which would narrow the scope.
			if again, err := asn1.Marshal(point); err != nil || !bytes.Equal(again, ext.Value) {
				return fmt.Errorf("issuing distribution point of another form: %w", ErrMalformed)
			}
			if point.IndirectCRL || point.OnlyContainsAttributeCerts || point.OnlySomeReasons.BitLength != 0 {
				return fmt.Errorf("indirect or partial revocation list: %w", ErrStatusMismatch)
			}
			c.endEntity, c.authority = point.OnlyContainsUserCerts, point.OnlyContainsCACerts
			c.shard = len(point.DistributionPoint.FullName) > 0
			for _, name := range point.DistributionPoint.FullName {
				if name.Class == asn1.ClassContextSpecific && name.Tag == 6 {
					c.DistributionPoints = append(c.DistributionPoints, string(name.Bytes))
				}
			}
		case ext.Id.Equal(oidCRLNumber()), ext.Id.Equal(oidAuthorityKeyID()):
		case ext.Critical: // delta lists among them
			return fmt.Errorf("extension %v of a revocation list: %w", ext.Id, ErrCritical)
		}
	}
	return nil
}

// invalidSince reads the invalidity date of an entry; zero where there is none.
func invalidSince(entry smx509.RevocationListEntry) (at time.Time) {
	for _, ext := range entry.Extensions {
		if ext.Id.Equal(OIDInvalidityDate()) {
			if rest, err := asn1.UnmarshalWithParams(ext.Value, &at, "generalized"); err != nil || len(rest) != 0 {
				return time.Time{} // it informs, and decides nothing
			}
		}
	}
	return at
}

func (c *CRL) readEntries(entries []smx509.RevocationListEntry) error {
	c.revoked = make(map[string]smx509.RevocationListEntry, len(entries))
	for _, entry := range entries {
		for _, ext := range entry.Extensions {
			if ext.Critical && !ext.Id.Equal(oidReasonCode()) {
				return fmt.Errorf("extension %v of a revocation: %w", ext.Id, ErrCritical)
			}
		}
		c.revoked[string(entry.SerialNumber.Bytes())] = entry
	}
	return nil
}

// Covers reports whether the list speaks of a certificate: issued by the list's
// issuer, of the list's kind, and, for a list that names distribution points,
// pointing to one of them.
func (c *CRL) Covers(cert *smx509.Certificate) bool {
	return isIssuer(c.issuer, cert) && !(c.endEntity && cert.IsCA) && !(c.authority && !cert.IsCA) && c.pointedTo(cert)
}

// VerifyCRLs judges several lists of issuer's, such as its shards, and looks a
// certificate up on the newest that covers it. Where none does it gives
// ErrStatusMismatch, or the reason for which the only ones were refused.
func VerifyCRLs(ders [][]byte, cert, issuer *smx509.Certificate, opts CRLOptions) (*Status, error) {
	var newest *CRL
	var refused []error
	for _, der := range ders {
		list, err := VerifyCRL(der, issuer, opts)
		if err != nil {
			refused = append(refused, err)
			continue
		}
		if list.Covers(cert) && (newest == nil || newer(list, newest)) {
			newest = list
		}
	}
	if newest == nil {
		return nil, fmt.Errorf("no list covers the certificate: %w", errors.Join(append(refused, ErrStatusMismatch)...))
	}
	return newest.Status(cert)
}

// newer orders lists by time, and those of one time by number.
func newer(a, b *CRL) bool {
	if !a.ThisUpdate.Equal(b.ThisUpdate) || a.Number == nil || b.Number == nil {
		return a.ThisUpdate.After(b.ThisUpdate)
	}
	return a.Number.Cmp(b.Number) > 0
}

// Status looks a certificate up. One that the list does not cover gives
// ErrStatusMismatch.
func (c *CRL) Status(cert *smx509.Certificate) (*Status, error) {
	if !c.Covers(cert) {
		return nil, fmt.Errorf("revocation list of another scope: %w", ErrStatusMismatch)
	}
	status := &Status{State: Good, ProducedAt: c.ThisUpdate, ThisUpdate: c.ThisUpdate, NextUpdate: c.NextUpdate}
	if entry, ok := c.revoked[string(cert.SerialNumber.Bytes())]; ok {
		status.State, status.RevokedAt, status.Reason = Revoked, entry.RevocationTime, Reason(entry.ReasonCode)
		status.InvalidSince = invalidSince(entry)
	}
	return status, nil
}

// pointedTo reports whether the list is the one that the certificate points to,
// so that one shard cannot stand for another.
func (c *CRL) pointedTo(cert *smx509.Certificate) bool {
	return !c.shard || slices.ContainsFunc(cert.CRLDistributionPoints, func(uri string) bool {
		return slices.Contains(c.DistributionPoints, uri)
	})
}
