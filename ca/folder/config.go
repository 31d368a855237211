package folder

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/trust"
	"github.com/pelletier/go-toml/v2"
)

// configFile is the configuration inside an authority's folder.
const configFile = "ca.toml"

// Config describes an authority and is the ceremony's whole input. It holds no
// secret; identifiers and URLs in it stand in every certificate and do not
// change afterwards.
type Config struct {
	// Name of the authority, in the common names of its certificates.
	Name string `toml:"name" comment:"Name of the authority, in the common names of its certificates."`
	// Organisation that runs it; may be empty.
	Organisation string `toml:"organisation" comment:"Organisation that runs it, in its certificates' subjects; may be empty."`
	// Country, two letters.
	Country string `toml:"country" comment:"Country of all subjects, two capital letters."`
	// BaseURL under which phones, platforms and verifiers of certificates reach the
	// authority (http or https, no trailing slash).
	BaseURL string `toml:"base_url" comment:"URL under which phones, platforms and verifiers of certificates reach the authority; http or https, no slash\nat the end. It stands in every certificate: choose a name that will outlive them."`
	// Family of all keys of the authority: "SM2" (dual certificates for phones),
	// "ECDSA-P256" or "RSA-3072" (one signing certificate). An operator of two
	// families runs two authorities, each in a folder of its own.
	Family issuance.Family `toml:"family" comment:"Family of all keys: SM2 (dual certificates for phones), ECDSA-P256 or RSA-3072 (one signing certificate each).\nFor two families make two authorities."`
	// RootYears and IssuingYears are the lives of the authority's certificates.
	RootYears    int `toml:"root_years" comment:"Lives of the authority's certificates: root at most 30 years, issuing authority at most 15."`
	IssuingYears int `toml:"issuing_years"`
	// OCSPLifetime is the validity of OCSP responses.
	OCSPLifetime Duration `toml:"ocsp_lifetime" comment:"Validity of OCSP responses, from 1m to 24h."`
	// CRLLifetime is the time from a revocation list to its nextUpdate.
	CRLLifetime Duration `toml:"crl_lifetime" comment:"From a revocation list to its nextUpdate, from 1h to 720h."`
	// CRLShards is over how many lists the revocations of new certificates are
	// spread; 1 for a full list alone, at most 256. It may change later.
	CRLShards int `toml:"crl_shards" comment:"Over how many lists the revocations of new certificates are spread, 1 to 256; it may change later."`
	// PassLifetime of device passes, at most protocol.MaxPassLife.
	PassLifetime Duration `toml:"pass_lifetime" comment:"Life of the passes by which phones reach the relay, from 1m to 24h."`
	// OrganisationIdentity and PersonIdentity are the forms in which certificates
	// show the identity number of an organisation's person and of a natural one.
	OrganisationIdentity issuance.IdentityForm `toml:"organisation_identity" comment:"How certificates show a person's identity number: none, hashed (HMAC-SM3 under a secret of the authority), masked\n(first three and last four characters) or clear. Organisations' people and natural persons."`
	PersonIdentity       issuance.IdentityForm `toml:"person_identity"`
	// DocumentationOIDs acknowledges identifiers under the arc for
	// documentation, as demonstrations use them.
	DocumentationOIDs bool `toml:"documentation_oids" comment:"Take identifiers under 1.3.6.1.4.1.32473, the arc for documentation. For demonstrations only: they are assigned to no organisation,\nand what stands in issued certificates cannot be changed. Get an arc of your own (free: iana.org, enterprise numbers)."`
	// OIDs of extensions; empty ones take trust.DocumentationOIDs.
	OIDs OIDConfig `toml:"oids" comment:"Identifiers of extensions and key usages. Everyone who verifies has to know them; they never change."`
	// Keys that are made in a hardware security module: purpose (root, issuing,
	// ocsp, tsa, pass, audit) to RFC 7512 URI, without a PIN. Keys that are not
	// named are files under the passphrase.
	Keys map[string]string `toml:"keys" comment:"Keys that are made in a hardware security module and never leave it: root, issuing, ocsp, tsa, pass, audit, each as a\nPKCS#11 URI (RFC 7512) whose pin-source is a file, for example\n  issuing = \"pkcs11:token=bidseal;object=issuing-1?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/bidseal/pin\"\nWhat is not named becomes a file under the passphrase."`
	// Database of the authority.
	Database Database `toml:"database" comment:"Database. Without a url: a file in the authority's folder."`
}

// OIDConfig are identifiers in dotted notation.
type OIDConfig struct {
	Lineage        string `toml:"lineage" comment:"Extension: lineage id, OCTET STRING of 16 bytes; the same through renewal, change and reissue."`
	Role           string `toml:"role" comment:"Extension: role of the person in the organisation, UTF8String admin or user."`
	PlatformID     string `toml:"platform_id" comment:"Extension: id of a platform, UTF8String."`
	PlatformUsage  string `toml:"platform_usage" comment:"Extended key usage: platforms that sign requests to phones."`
	SealMakerUsage string `toml:"seal_maker_usage" comment:"Extended key usage: makers of electronic seals."`
	OperatorUsage  string `toml:"operator_usage" comment:"Extended key usage: operators of the authority."`
	Identity       string `toml:"identity" comment:"Extension: identity number, OCTET STRING (hashed) or PrintableString (masked, clear)."`
	// TimestampPolicy stands in timestamps.
	TimestampPolicy string `toml:"timestamp_policy" comment:"Policy that timestamps state."`
	CreditCode      string `toml:"credit_code" comment:"Extension: unified social credit code, PrintableString."`
}

// Duration is a time.Duration that is written as "10m".
type Duration time.Duration

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("duration: %w", err)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes "10m0s".
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// DefaultConfig is a complete configuration but for the base URL.
func DefaultConfig() Config {
	oids := trust.DocumentationOIDs()
	return Config{
		Name: "BidSeal CA", Country: "CN", Family: issuance.SM2, RootYears: 20, IssuingYears: 10,
		OrganisationIdentity: issuance.IdentityNone, PersonIdentity: issuance.IdentityHashed,
		OCSPLifetime: Duration(10 * time.Minute), CRLLifetime: Duration(24 * time.Hour), PassLifetime: Duration(24 * time.Hour),
		CRLShards: 1, Keys: map[string]string{},
		OIDs: OIDConfig{
			Lineage: oids.Lineage.String(), Role: oids.Role.String(), PlatformID: oids.PlatformID.String(),
			PlatformUsage: oids.PlatformUsage.String(), SealMakerUsage: oids.SealMakerUsage.String(),
			OperatorUsage: oids.OperatorUsage.String(), Identity: oids.Identity.String(), TimestampPolicy: oids.TimestampPolicy.String(), CreditCode: oids.CreditCode.String(),
		},
	}
}

// maxBaseURL is how long the iss of a device pass may be (protocol.Pass).
const maxBaseURL = 128

// Check says what is wrong with a configuration.
func (c *Config) Check() error {
	switch base, err := url.Parse(c.BaseURL); {
	case err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" || base.RawQuery != "" || base.Fragment != "" || base.User != nil:
		return fmt.Errorf("base_url %q is not an http URL", c.BaseURL)
	case len(c.BaseURL) > maxBaseURL:
		return fmt.Errorf("base_url of more than %d bytes", maxBaseURL)
	case strings.HasSuffix(c.BaseURL, "/"):
		return errors.New("base_url ends in a slash")
	case c.Name == "":
		return errors.New("name is empty")
	case !slices.Contains(issuance.Families(), c.Family):
		return fmt.Errorf("family %q is none of %v", c.Family, issuance.Families())
	case c.RootYears < 1 || c.RootYears > 30 || c.IssuingYears < 1 || c.IssuingYears > 15 || c.IssuingYears > c.RootYears:
		return errors.New("root_years at most 30, issuing_years at most 15 and not longer than the root's")
	}
	for name, d := range map[string]struct{ value, least, most time.Duration }{
		"ocsp_lifetime": {time.Duration(c.OCSPLifetime), time.Minute, 24 * time.Hour},
		"crl_lifetime":  {time.Duration(c.CRLLifetime), time.Hour, 30 * 24 * time.Hour},
		"pass_lifetime": {time.Duration(c.PassLifetime), time.Minute, 24 * time.Hour},
	} {
		if d.value < d.least || d.value > d.most {
			return fmt.Errorf("%s is %v, allowed are %v to %v", name, d.value, d.least, d.most)
		}
	}
	if c.CRLShards < 0 || c.CRLShards > status.MaxCRLShards { // 0: a configuration of before there were shards
		return fmt.Errorf("crl_shards is %d, allowed are 1 to %d", c.CRLShards, status.MaxCRLShards)
	}
	if err := errors.Join(c.OrganisationIdentity.Check(), c.PersonIdentity.Check(), c.checkKeys()); err != nil {
		return err
	}
	if err := c.Database.check(); err != nil {
		return err
	}
	_, err := c.oids()
	return err
}

// CheckIdentifiers refuses identifiers of the documentation arc unless they are
// acknowledged. Only a ceremony asks: later they cannot be changed.
func (c *Config) CheckIdentifiers() error {
	oids, err := c.oids()
	if err != nil || c.DocumentationOIDs {
		return err
	}
	if found := oids.Documentation(); len(found) > 0 {
		return fmt.Errorf("%d identifiers of [oids] stand under the arc for documentation, %v among them: set your own, or documentation_oids for a demonstration",
			len(found), found[0])
	}
	return nil
}

// keyFamily is the family of a key of the authority's. Passes and the audit log
// are read by the protocol's verifiers, which know no RSA.
func (c *Config) keyFamily(purpose string) issuance.Family {
	if c.Family == issuance.RSA3072 && (purpose == keyPass || purpose == keyAudit) {
		return issuance.ECDSAP256
	}
	return c.Family
}

func (c *Config) oids() (trust.OIDs, error) {
	oids := trust.DocumentationOIDs()
	for _, f := range []struct {
		text string
		into *asn1.ObjectIdentifier
	}{
		{c.OIDs.Lineage, &oids.Lineage}, {c.OIDs.Role, &oids.Role}, {c.OIDs.PlatformID, &oids.PlatformID},
		{c.OIDs.PlatformUsage, &oids.PlatformUsage}, {c.OIDs.SealMakerUsage, &oids.SealMakerUsage},
		{c.OIDs.OperatorUsage, &oids.OperatorUsage}, {c.OIDs.Identity, &oids.Identity}, {c.OIDs.TimestampPolicy, &oids.TimestampPolicy},
		{c.OIDs.CreditCode, &oids.CreditCode},
	} {
		if f.text == "" {
			continue
		}
		id, err := trust.ParseOID(f.text)
		if err != nil {
			return oids, err
		}
		*f.into = id
	}
	return oids, oids.Check()
}

// Names of the issuing authorities, in file names and URLs.
const (
	issuingPrefix = "issuing-"
	issuingName   = issuingPrefix + "1" // of the ceremony; rotation adds others
)

// CRLURL is the distribution point of an authority's list.
func (c *Config) CRLURL(issuer string) string { return c.BaseURL + "/crl/" + issuer + ".crl" }

// issuanceConfig is what certificates under an authority point to.
func (c *Config) issuanceConfig(issuer string) (issuance.Config, error) {
	oids, err := c.oids()
	return issuance.Config{
		OIDs: oids, CRLURL: c.CRLURL(issuer), OCSPURL: c.BaseURL + "/ocsp", IssuerURL: c.BaseURL + "/certs/" + issuer + ".cer",
		OrganisationIdentity: c.OrganisationIdentity, PersonIdentity: c.PersonIdentity,
	}, err
}

// subject of one of the authority's own certificates: "Name Root", "Name Issuing
// 1", "Name OCSP".
func (c *Config) subject(name string) issuance.Subject {
	suffix := map[string]string{status.RootName: " Root", keyOCSP: " OCSP", keyTSA: " TSA"}[name]
	if number, ok := strings.CutPrefix(name, issuingPrefix); ok {
		suffix = " Issuing " + number
	}
	return issuance.Subject{Country: c.Country, Organisation: c.Organisation, CommonName: c.Name + suffix}
}

// OCSPSubject is the subject of the OCSP responder's certificate.
func (c *Config) OCSPSubject() issuance.Subject { return c.subject(keyOCSP) }

// TimestampSubject is the subject of the timestamp authority's certificate.
func (c *Config) TimestampSubject() issuance.Subject { return c.subject(keyTSA) }

func readConfig(dir string) (Config, error) {
	raw, err := os.ReadFile(filepath.Join(dir, configFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, fmt.Errorf("%s holds no authority: run the ceremony first", dir)
	}
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	var c Config
	if err := toml.NewDecoder(bytes.NewReader(raw)).DisallowUnknownFields().Decode(&c); err != nil {
		return Config{}, fmt.Errorf("read %s: %w", configFile, err)
	}
	if err := c.Check(); err != nil {
		return Config{}, fmt.Errorf("read %s: %w", configFile, err)
	}
	return c, nil
}
