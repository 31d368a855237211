package ca

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
	"strconv"
	"strings"
	"time"

	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/trust"
	"github.com/pelletier/go-toml/v2"
)

// configFile is the configuration inside an authority's folder.
const configFile = "ca.toml"

// Config is what an authority is. It is written by the ceremony and holds no
// secret; identifiers and URLs in it stand in every certificate and do not
// change afterwards.
type Config struct {
	// Name of the authority, in the common names of its certificates.
	Name string `toml:"name"`
	// Organisation that runs it; may be empty.
	Organisation string `toml:"organisation"`
	// Country, two letters.
	Country string `toml:"country"`
	// BaseURL under which the authority is reached by phones, platforms and
	// whoever checks a certificate (http or https, no trailing slash).
	BaseURL string `toml:"base_url"`
	// Family of all keys of the authority: "SM2" (dual certificates for phones),
	// "ECDSA-P256" or "RSA-3072" (one signing certificate). An operator of two
	// families runs two authorities, each in a folder of its own.
	Family issuance.Family `toml:"family"`
	// RootYears and IssuingYears are the lives of the authority's certificates.
	RootYears    int `toml:"root_years"`
	IssuingYears int `toml:"issuing_years"`
	// OCSPLifetime is how long an OCSP answer says that it is good for.
	OCSPLifetime Duration `toml:"ocsp_lifetime"`
	// CRLLifetime is the time from a revocation list to its nextUpdate.
	CRLLifetime Duration `toml:"crl_lifetime"`
	// CRLShards is over how many lists the revocations of new certificates are
	// spread; 1 for a full list alone, at most 256. It may change later.
	CRLShards int `toml:"crl_shards"`
	// PassLifetime of device passes, at most protocol.MaxPassLife.
	PassLifetime Duration `toml:"pass_lifetime"`
	// OIDs of extensions; empty ones take trust.DefaultOIDs.
	OIDs OIDConfig `toml:"oids"`
	// Database of the authority.
	Database Database `toml:"database"`
}

// OIDConfig are identifiers in dotted notation.
type OIDConfig struct {
	Lineage        string `toml:"lineage"`
	Role           string `toml:"role"`
	PlatformID     string `toml:"platform_id"`
	PlatformUsage  string `toml:"platform_usage"`
	SealMakerUsage string `toml:"seal_maker_usage"`
	OperatorUsage  string `toml:"operator_usage"`
	Identity       string `toml:"identity"`
	CreditCode     string `toml:"credit_code"`
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
	oids := trust.DefaultOIDs()
	return Config{
		Name: "BidSeal CA", Country: "CN", Family: issuance.SM2, RootYears: 20, IssuingYears: 10,
		OCSPLifetime: Duration(10 * time.Minute), CRLLifetime: Duration(24 * time.Hour), PassLifetime: Duration(24 * time.Hour),
		CRLShards: 1,
		OIDs: OIDConfig{
			Lineage: oids.Lineage.String(), Role: oids.Role.String(), PlatformID: oids.PlatformID.String(),
			PlatformUsage: oids.PlatformUsage.String(), SealMakerUsage: oids.SealMakerUsage.String(),
			OperatorUsage: oids.OperatorUsage.String(), Identity: oids.Identity.String(), CreditCode: oids.CreditCode.String(),
		},
	}
}

// maxBaseURL is how long the iss of a device pass may be (protocol.Pass).
const maxBaseURL = 128

// Check says what is wrong with a configuration.
func (c *Config) Check() error {
	switch base, err := url.Parse(c.BaseURL); {
	case err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" || base.RawQuery != "" || base.Fragment != "" || base.User != nil:
		return fmt.Errorf("base_url %q is no http URL", c.BaseURL)
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
	if c.CRLShards < 0 || c.CRLShards > maxCRLShards { // 0: a configuration of before there were shards
		return fmt.Errorf("crl_shards is %d, allowed are 1 to %d", c.CRLShards, maxCRLShards)
	}
	if err := c.Database.check(); err != nil {
		return err
	}
	_, err := c.oids()
	return err
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
	oids := trust.DefaultOIDs()
	for _, f := range []struct {
		text string
		into *asn1.ObjectIdentifier
	}{
		{c.OIDs.Lineage, &oids.Lineage}, {c.OIDs.Role, &oids.Role}, {c.OIDs.PlatformID, &oids.PlatformID},
		{c.OIDs.PlatformUsage, &oids.PlatformUsage}, {c.OIDs.SealMakerUsage, &oids.SealMakerUsage},
		{c.OIDs.OperatorUsage, &oids.OperatorUsage}, {c.OIDs.Identity, &oids.Identity}, {c.OIDs.CreditCode, &oids.CreditCode},
	} {
		if f.text == "" {
			continue
		}
		id, err := parseOID(f.text)
		if err != nil {
			return oids, err
		}
		*f.into = id
	}
	all := []asn1.ObjectIdentifier{oids.Lineage, oids.Role, oids.PlatformID, oids.PlatformUsage, oids.SealMakerUsage, oids.OperatorUsage,
		oids.Identity, oids.CreditCode}
	for i, id := range all {
		if slices.ContainsFunc(all[:i], id.Equal) {
			return oids, fmt.Errorf("identifier %v stands for two things", id)
		}
	}
	return oids, nil
}

func parseOID(text string) (asn1.ObjectIdentifier, error) {
	var id asn1.ObjectIdentifier
	for arc := range strings.SplitSeq(text, ".") {
		n, err := strconv.Atoi(arc)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("identifier %q", text)
		}
		id = append(id, n)
	}
	if len(id) < 3 || id[0] > 2 {
		return nil, fmt.Errorf("identifier %q", text)
	}
	return id, nil
}

// Names of the authorities, in file names and URLs.
const (
	rootName      = "root"
	issuingPrefix = "issuing-"
	issuingName   = issuingPrefix + "1" // of the ceremony; rotation adds others
)

// crlURL is the distribution point of an authority's list.
func (c *Config) crlURL(issuer string) string { return c.BaseURL + "/crl/" + issuer + ".crl" }

// issuanceConfig is what certificates under an authority point to.
func (c *Config) issuanceConfig(issuer string) (issuance.Config, error) {
	oids, err := c.oids()
	return issuance.Config{
		OIDs: oids, CRLURL: c.crlURL(issuer), OCSPURL: c.BaseURL + "/ocsp", IssuerURL: c.BaseURL + "/certs/" + issuer + ".cer",
	}, err
}

// subject of one of the authority's own certificates: "Name Root", "Name Issuing
// 1", "Name OCSP".
func (c *Config) subject(name string) issuance.Subject {
	suffix := map[string]string{rootName: " Root", keyOCSP: " OCSP"}[name]
	if number, ok := strings.CutPrefix(name, issuingPrefix); ok {
		suffix = " Issuing " + number
	}
	return issuance.Subject{Country: c.Country, Organisation: c.Organisation, CommonName: c.Name + suffix}
}

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
