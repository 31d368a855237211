package issuance

import (
	"encoding/asn1"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// Name of a profile.
type Name string

// The profiles.
const (
	Root                   Name = "root"
	Issuing                Name = "issuing"
	OrganisationSigning    Name = "organisation-signing"
	OrganisationEncryption Name = "organisation-encryption"
	PersonSigning          Name = "person-signing"
	PersonEncryption       Name = "person-encryption"
	Platform               Name = "platform"
	OCSP                   Name = "ocsp"
	Timestamp              Name = "timestamp"  // RFC 3161 authority
	SealMaker              Name = "seal-maker" // signs electronic seals, GB/T 38540
	Operator               Name = "operator"   // of the authority
)

// presence says whether a field must, may or must not be there.
type presence int

const (
	never presence = iota
	optional
	required
)

// profile is one row of the table: everything in which certificates of one kind
// are alike. Lints compare with it; nothing outside the table decides.
type profile struct {
	name          Name
	keyUsage      smx509.KeyUsage
	extKeyUsage   []asn1.ObjectIdentifier
	usageCritical bool     // extended key usage is critical
	families      []Family // in which it exists; all if empty
	authority     bool
	pathLen       int // of authorities; -1 for none
	maxValidity   time.Duration
	statusPointer bool // CRL distribution point, OCSP and issuer certificate
	crlPointer    bool // CRL distribution point and issuer certificate only
	noCheck       bool // id-pkix-ocsp-nocheck

	// subject attributes beside country and common name, which are always there
	locality, organisation, unit, subjectSerial presence
	// extensions of our own
	lineage, role, creditCode, platformID, identity presence
}

const (
	day = 24 * time.Hour
	// threeYears and the three months in which a renewal is open: the renewed
	// certificate begins now and ends three years after the old one's end.
	threeYearsRenewed = (3*366 + 93) * day
	fiveYears         = (5*365 + 2) * day // with two leap days

	signUsage    = smx509.KeyUsageDigitalSignature | smx509.KeyUsageContentCommitment
	encryptUsage = smx509.KeyUsageKeyEncipherment | smx509.KeyUsageDataEncipherment | smx509.KeyUsageKeyAgreement
	issueUsage   = smx509.KeyUsageCertSign | smx509.KeyUsageCRLSign
)

func oidTimeStamping() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 8}
}
func oidOCSPSigning() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 9} }

// profiles is the table.
func profiles(oids trust.OIDs) map[Name]profile {
	// no clientAuth beside it: a TLS login must not be mistaken for a signature,
	// and RFC 5280 4.2.1.12 calls it inconsistent with contentCommitment
	personal := []asn1.ObjectIdentifier{trust.OIDDocumentSigning()}
	organisation := profile{
		maxValidity: threeYearsRenewed, statusPointer: true, locality: optional, organisation: required, unit: optional,
		subjectSerial: required, lineage: required, role: required, creditCode: required, identity: optional,
	}
	person := profile{
		maxValidity: threeYearsRenewed, statusPointer: true, locality: optional, subjectSerial: required, lineage: required,
		identity: optional,
	}
	table := map[Name]profile{
		Root: {keyUsage: issueUsage, authority: true, pathLen: -1, maxValidity: 30 * 366 * day, organisation: optional},
		Issuing: {keyUsage: issueUsage, authority: true, pathLen: 0, maxValidity: 15 * 366 * day, crlPointer: true,
			organisation: optional},
		OrganisationSigning:    organisation,
		OrganisationEncryption: organisation,
		PersonSigning:          person,
		PersonEncryption:       person,
		Platform: {keyUsage: signUsage, extKeyUsage: []asn1.ObjectIdentifier{oids.PlatformUsage}, maxValidity: 366 * day,
			statusPointer: true, organisation: required, creditCode: optional, platformID: required},
		OCSP: {keyUsage: smx509.KeyUsageDigitalSignature, extKeyUsage: []asn1.ObjectIdentifier{oidOCSPSigning()},
			maxValidity: 366 * day, noCheck: true, organisation: optional},
		// RFC 3161 2.3: one extended key usage, critical
		Timestamp: {keyUsage: signUsage, extKeyUsage: []asn1.ObjectIdentifier{oidTimeStamping()}, usageCritical: true,
			maxValidity: fiveYears, statusPointer: true, organisation: optional},
		SealMaker: {keyUsage: signUsage, extKeyUsage: []asn1.ObjectIdentifier{oids.SealMakerUsage}, maxValidity: fiveYears,
			statusPointer: true, organisation: required, creditCode: optional},
		Operator: {keyUsage: smx509.KeyUsageDigitalSignature, extKeyUsage: []asn1.ObjectIdentifier{oids.OperatorUsage},
			maxValidity: 366 * day, statusPointer: true, organisation: optional, unit: optional, subjectSerial: required},
	}
	for _, name := range []Name{OrganisationSigning, PersonSigning} {
		p := table[name]
		p.keyUsage, p.extKeyUsage = signUsage, personal
		table[name] = p
	}
	for _, name := range []Name{OrganisationEncryption, PersonEncryption} {
		p := table[name]
		p.keyUsage, p.families = encryptUsage, []Family{SM2} // GM/T 0015 dual certificates
		table[name] = p
	}
	for name, p := range table {
		p.name = name
		table[name] = p
	}
	return table
}

// MaxValidity is the longest life of certificates of a profile.
func MaxValidity(name Name) (time.Duration, error) {
	p, ok := profiles(trust.DocumentationOIDs())[name]
	if !ok {
		return 0, fmt.Errorf("no profile %q", name)
	}
	return p.maxValidity, nil
}
