package issuance

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/emmansun/gmsm/smx509"
	"github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"
)

// zlintSources are the rule books that a private authority of enterprises is
// held to. No single lint of them is left out.
func zlintSources() lint.SourceList {
	return lint.SourceList{
		lint.RFC3279, lint.RFC5280, lint.RFC5480, lint.RFC5891, lint.RFC6960, lint.RFC8813, lint.Community, lint.MozillaRootStorePolicy,
	}
}

// zlintExclusion is a rule book that is not applied, and why.
type zlintExclusion struct {
	source lint.LintSource
	reason string
}

func zlintLeftOut() []zlintExclusion {
	const browsers = "certificates of web servers that browsers trust; nothing here names a host or serves TLS"
	return []zlintExclusion{
		{lint.CABFBaselineRequirements, browsers},
		{lint.CABFEVGuidelines, browsers},
		{lint.ChromeRootStorePolicy, browsers},
		{lint.AppleRootStorePolicy, browsers},
		{lint.CABFCSBaselineRequirements, "code signing; not issued"},
		{lint.CABFSMIMEBaselineRequirements, "e-mail; not issued, no address stands in a certificate"},
		{lint.EtsiEsi, "qualified certificates of the European Union, known by QCStatements; not issued"},
		{lint.RFC6962, "precertificates and stamps of certificate transparency; the listing of this authority is another one"},
	}
}

// zlintRegistry is filtered once: it takes some milliseconds.
type zlintRegistry struct {
	once     sync.Once
	registry lint.Registry
	err      error
}

func (z *zlintRegistry) get() (lint.Registry, error) {
	z.once.Do(func() {
		z.registry, z.err = lint.GlobalRegistry().Filter(lint.FilterOptions{IncludeSources: zlintSources()})
	})
	return z.registry, z.err
}

// lint judges a certificate of the ECDSA and RSA families by the rules of
// others. SM2 certificates it cannot read: our own lints are all they have.
// Notices are passed over, warnings and errors stop the issuance.
func (z *zlintRegistry) lint(cert *smx509.Certificate, s subject) error {
	if FamilyOf(s.signing) == SM2 {
		return nil
	}
	registry, err := z.get()
	if err != nil {
		return fmt.Errorf("zlint: %w", err)
	}
	parsed, err := x509.ParseCertificate(cert.Raw)
	if err != nil {
		return &LintError{Lint: "zlint", Reason: "not readable: " + err.Error()}
	}
	var failed []string
	results := zlint.LintCertificateEx(parsed, registry).Results
	for name, result := range results {
		if result.Status >= lint.Warn {
			failed = append(failed, name)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	slices.Sort(failed)
	reason := strings.TrimSpace(fmt.Sprintf("%v %s", results[failed[0]].Status, results[failed[0]].Details))
	if len(failed) > 1 {
		reason += "; also " + strings.Join(failed[1:], ", ")
	}
	return &LintError{Lint: "zlint:" + failed[0], Reason: reason}
}
