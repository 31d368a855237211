package issuance

import (
	"bytes"
	"encoding/asn1"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
	"github.com/zmap/zlint/v3/lint"
)

var update = flag.Bool("update", false, "write the tables of docs/certificates.md anew")

const (
	document      = "../../docs/certificates.md"
	generated     = "<!-- generated: go test ./ca/issuance -run TestDocument -update -->\n"
	generatedUpTo = "<!-- end of generated -->\n"
)

// TestDocument: what docs/certificates.md says of profiles and lints is what the
// code does.
func TestDocument(t *testing.T) {
	raw, err := os.ReadFile(document)
	must(t, err)
	start, end := bytes.Index(raw, []byte(generated)), bytes.Index(raw, []byte(generatedUpTo))
	if start < 0 || end < start {
		t.Fatal("no marks in docs/certificates.md")
	}
	start += len(generated)
	want := "\n" + profileTables() + "\n" + lintTables(t) + "\n"
	if *update {
		must(t, os.WriteFile(document, []byte(string(raw[:start])+want+string(raw[end:])), 0o644))
		return
	}
	if string(raw[start:end]) != want {
		t.Fatal("docs/certificates.md is stale: go test ./ca/issuance -run TestDocument -update")
	}
}

func names() []Name {
	return []Name{Root, Issuing, OrganisationSigning, OrganisationEncryption, PersonSigning, PersonEncryption, Platform, Operator, OCSP, Timestamp, SealMaker}
}

func profileTables() string {
	oids := trust.DocumentationOIDs()
	table := profiles(oids)
	var b strings.Builder
	b.WriteString("### Profiles\n\n| profile | families | key usage (critical) | extended key usage | basic constraints (critical) | longest life |\n|---|---|---|---|---|---|\n")
	for _, name := range names() {
		p := table[name]
		families := "all"
		if len(p.families) != 0 {
			families = fmt.Sprint(p.families[0])
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %d days |\n", name, families, usageNames(p.keyUsage), extendedNames(p, oids), constraints(p), p.maxValidity/(24*time.Hour))
	}
	b.WriteString("\n### Subject\n\nOne attribute in each relative name, in this order; ● required, ○ optional, – refused.\n\n| profile |")
	for _, a := range layout() {
		fmt.Fprintf(&b, " %s |", a.name)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(layout())) + "\n")
	for _, name := range names() {
		fmt.Fprintf(&b, "| `%s` |", name)
		for _, a := range layout() {
			fmt.Fprintf(&b, " %s |", mark(a.allowed(table[name])))
		}
		b.WriteString("\n")
	}
	b.WriteString("\n| attribute | OID | encoding | characters |\n|---|---|---|---|\n")
	for _, a := range layout() {
		encoding := "UTF8String"
		if a.printable {
			encoding = "PrintableString"
		}
		fmt.Fprintf(&b, "| %s | %v | %s | at most %d |\n", a.name, a.id, encoding, a.max)
	}
	b.WriteString("\n### Extensions by profile\n\nEvery certificate has key usage, subject key identifier and authority key identifier, and basic constraints.\n\n" +
		"| profile | CRL pointer | issuer pointer | OCSP pointer | ocsp-nocheck | lineage | credit code | role | platform id | identity |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, name := range names() {
		p := table[name]
		pointers := p.statusPointer || p.crlPointer
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", name, yes(pointers), yes(pointers), yes(p.statusPointer), yes(p.noCheck),
			mark(p.lineage), mark(p.creditCode), mark(p.role), mark(p.platformID), mark(p.identity))
	}
	b.WriteString("\n### Object identifiers\n\nDefaults; the configuration's `[oids]` replaces the first eight.\n\n| what | OID | value |\n|---|---|---|\n")
	for _, row := range []struct {
		what  string
		id    asn1.ObjectIdentifier
		value string
	}{
		{"lineage id", oids.Lineage, "extension, OCTET STRING of 16 bytes"},
		{"credit code", oids.CreditCode, "extension, PrintableString of 18 characters (GB 32100)"},
		{"role", oids.Role, "extension, UTF8String `admin` or `user`"},
		{"platform id", oids.PlatformID, "extension, UTF8String of a-z, 0-9 and -"},
		{"identity number", oids.Identity, "extension, OCTET STRING of 32 bytes (hashed) or PrintableString (masked, clear)"},
		{"platform usage", oids.PlatformUsage, "extended key usage"},
		{"seal maker usage", oids.SealMakerUsage, "extended key usage"},
		{"operator usage", oids.OperatorUsage, "extended key usage"},
		{"documentSigning", trust.OIDDocumentSigning(), "extended key usage, RFC 9336"},
		{"OCSPSigning", oidOCSPSigning(), "extended key usage, RFC 6960"},
		{"timeStamping", oidTimeStamping(), "extended key usage, RFC 3161, critical"},
		{"ocsp-nocheck", trust.OIDOCSPNoCheck(), "extension, NULL, RFC 6960"},
		{"subject key identifier", oidSubjectKeyID(), "extension, SHA-1 of the key's bits (RFC 5280 4.2.1.2)"},
		{"key usage", oidKeyUsage(), "extension, critical"},
		{"basic constraints", oidBasicConstraints(), "extension, critical"},
		{"CRL distribution points", oidCRLPointer(), "extension, one URL"},
		{"authority key identifier", oidAuthorityKeyID(), "extension"},
		{"extended key usage", oidExtKeyUsage(), "extension"},
		{"authority information access", oidInformationAccess(), "extension, OCSP and issuer's certificate"},
	} {
		fmt.Fprintf(&b, "| %s | %v | %s |\n", row.what, row.id, row.value)
	}
	return b.String()
}

func lintTables(t *testing.T) string {
	var b strings.Builder
	b.WriteString("### Lints\n\nApplied in this order; the first that is broken stops the issuance and gives its name.\n\n")
	for _, rule := range rules() {
		fmt.Fprintf(&b, "- `%s`\n", rule.name)
	}
	registry, err := new(zlintRegistry).get()
	must(t, err)
	fmt.Fprintf(&b, "\nECDSA and RSA certificates pass zlint's lints of these sources, too (%d, none of them left out): ", len(registry.Names()))
	for i, source := range zlintSources() {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(source))
	}
	b.WriteString(".\n\nSources that are not applied:\n\n| source | why |\n|---|---|\n")
	for _, s := range zlintLeftOut() {
		fmt.Fprintf(&b, "| %s | %s |\n", s.source, s.reason)
	}
	return b.String()
}

// TestEverySourceIsDecided: a source that a new version of zlint brings is either
// applied or left out for a reason.
func TestEverySourceIsDecided(t *testing.T) {
	decided := make(map[lint.LintSource]int)
	for _, s := range zlintSources() {
		decided[s]++
	}
	for _, s := range zlintLeftOut() {
		decided[s.source]++
		if s.reason == "" {
			t.Errorf("%s: no reason", s.source)
		}
	}
	for _, s := range lint.GlobalRegistry().Sources() {
		if decided[s] != 1 {
			t.Errorf("source %s: decided %d times", s, decided[s])
		}
	}
}

func mark(p presence) string { return [...]string{never: "–", optional: "○", required: "●"}[p] }

func yes(there bool) string {
	if there {
		return "●"
	}
	return "–"
}

func constraints(p profile) string {
	switch {
	case !p.authority:
		return "no authority"
	case p.pathLen < 0:
		return "authority"
	}
	return fmt.Sprintf("authority, path length %d", p.pathLen)
}

func usageNames(usage smx509.KeyUsage) string {
	var all []string
	for bit, name := range []string{"digitalSignature", "contentCommitment", "keyEncipherment", "dataEncipherment", "keyAgreement", "keyCertSign", "cRLSign"} {
		if usage&(1<<bit) != 0 {
			all = append(all, name)
		}
	}
	return strings.Join(all, ", ")
}

func extendedNames(p profile, oids trust.OIDs) string {
	var all []string
	for _, id := range p.extKeyUsage {
		name := id.String()
		for text, known := range map[string]asn1.ObjectIdentifier{
			"platform usage": oids.PlatformUsage, "seal maker usage": oids.SealMakerUsage, "operator usage": oids.OperatorUsage,
			"documentSigning": trust.OIDDocumentSigning(), "OCSPSigning": oidOCSPSigning(), "timeStamping": oidTimeStamping(),
		} {
			if known.Equal(id) {
				name = text
			}
		}
		all = append(all, name)
	}
	switch {
	case len(all) == 0:
		return "–"
	case p.usageCritical:
		return strings.Join(all, ", ") + " (critical)"
	}
	return strings.Join(all, ", ")
}
