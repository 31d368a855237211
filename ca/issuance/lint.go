package issuance

import (
	"crypto"
	"fmt"

	"github.com/emmansun/gmsm/smx509"
)

// LintError says which rule a certificate broke. Nothing was signed.
type LintError struct {
	Lint   string // stable name of the rule
	Reason string // for the operator
}

// Error renders "lint NAME: reason".
func (e *LintError) Error() string { return "lint " + e.Lint + ": " + e.Reason }

// subject is what a certificate is held against.
type subject struct {
	profile profile
	config  Config
	request Request
	issuer  *smx509.Certificate // nil for a root
	signing crypto.PublicKey    // of the key that will sign
}

func (i *Issuer) subject(r Request, p profile) subject {
	return subject{profile: p, config: i.config, request: r, issuer: i.cert, signing: i.key.Public()}
}

// rule is one lint: it returns why the certificate may not be signed, "" if it
// may.
type rule struct {
	name  string
	check func(*smx509.Certificate, subject) string
}

// applyLints applies every rule and stops at the first that is broken.
func applyLints(cert *smx509.Certificate, s subject) error {
	for _, rule := range rules() {
		if reason := rule.check(cert, s); reason != "" {
			return &LintError{Lint: rule.name, Reason: reason}
		}
	}
	return nil
}

// rules are ordered from the form of the certificate to its content.
func rules() []rule {
	return []rule{
		{"version", lintVersion},
		{"serial_number", lintSerial},
		{"signature_algorithm", lintSignatureAlgorithm},
		{"issuer_name", lintIssuerName},
		{"validity_dates", lintValidityDates},
		{"validity_length", lintValidityLength},
		{"validity_within_issuer", lintValidityIssuer},
		{"key_family", lintKeyFamily},
		{"key_weak", lintKeyWeak},
		{"key_requested", lintKeyRequested},
		{"key_of_one_use", lintKeyOfOneUse},
		{"key_not_issuers", lintKeyNotIssuers},
		{"subject_layout", lintSubjectLayout},
		{"subject_attributes", lintSubjectAttributes},
		{"subject_text", lintSubjectText},
		{"subject_requested", lintSubjectRequested},
		{"key_usage", lintKeyUsage},
		{"ext_key_usage", lintExtKeyUsage},
		{"basic_constraints", lintBasicConstraints},
		{"authority_key_id", lintAuthorityKeyID},
		{"subject_key_id", lintSubjectKeyID},
		{"crl_pointer", lintCRLPointer},
		{"information_access", lintInformationAccess},
		{"lineage", lintLineage},
		{"role", lintRole},
		{"credit_code", lintCreditCode},
		{"platform_id", lintPlatformID},
		{"identity", lintIdentity},
		{"identity_in_clear", lintIdentityInClear},
		{"ocsp_no_check", lintNoCheck},
		{"critical_extensions", lintCritical},
		{"extension_set", lintExtensionSet},
	}
}

// warn applies the rules that stop nothing.
func warn(cert *smx509.Certificate, s subject) []*LintError {
	var all []*LintError
	for _, rule := range []rule{{"credit_code_check_digit", warnCreditCode}} {
		if reason := rule.check(cert, s); reason != "" {
			all = append(all, &LintError{Lint: rule.name, Reason: reason})
		}
	}
	return all
}

func differs(what string, got, want any) string {
	return fmt.Sprintf("%s is %v, the profile says %v", what, got, want)
}
