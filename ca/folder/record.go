package folder

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// ceremonyRecord is the transcript of a ceremony: text for the people in the room, to be
// printed and signed by hand, sealed by the root's key so that a copy can be
// checked later.
type ceremonyRecord struct {
	file string
	text strings.Builder
}

// Format of a record: lines of text, then
//
//	SM3 <64 hexadecimal digits>         over all bytes above, "\n" of the last line included
//	Signature <OID> <standard base64>   of the root's key over recordPrefix and the same bytes
const (
	recordPrefix    = "bidseal/ca record 1\x00"
	recordDigest    = "SM3 "
	recordSignature = "Signature "
	maxRecord       = 1 << 20
)

func newCeremonyRecord(file, title string, now time.Time) *ceremonyRecord {
	r := &ceremonyRecord{file: file}
	r.line("%s", title)
	r.line("")
	r.line("Time                %s", now.UTC().Format(time.RFC3339))
	return r
}

// line writes one line; what would break it is replaced.
func (r *ceremonyRecord) line(format string, args ...any) {
	text := strings.Map(func(c rune) rune {
		if c != ' ' && trust.Deceptive(c) {
			return '?'
		}
		return c
	}, fmt.Sprintf(format, args...))
	r.text.WriteString(text + "\n")
}

// certificate writes what a witness compares.
func (r *ceremonyRecord) certificate(name string, cert *smx509.Certificate) {
	gm, sha := trust.Digest(cert), sha256.Sum256(cert.Raw)
	r.line("")
	r.line("Certificate         %s", name)
	r.line("  subject           %s", cert.Subject.String())
	r.line("  serial            %s", trust.SerialHex(cert.SerialNumber))
	r.line("  valid             %s to %s", cert.NotBefore.UTC().Format(time.RFC3339), cert.NotAfter.UTC().Format(time.RFC3339))
	r.line("  SM3               %s", grouped(gm[:]))
	r.line("  SHA-256           %s", grouped(sha[:]))
}

// grouped is a digest as people read it aloud.
func grouped(digest []byte) string {
	text := strings.ToUpper(hex.EncodeToString(digest))
	var groups []string
	for i := 0; i < len(text); i += 4 {
		groups = append(groups, text[i:min(i+4, len(text))])
	}
	return strings.Join(groups, " ")
}

// key writes where a key lives, and its public half's digest.
func (r *ceremonyRecord) key(purpose, where string, public crypto.PublicKey) error {
	spki, err := smx509.MarshalPKIXPublicKey(public)
	if err != nil {
		return fmt.Errorf("record: key %s: %w", purpose, err)
	}
	r.line("  %-17s SM3 of the public key %s", purpose, hex.EncodeToString(protocol.H(spki)))
	r.line("  %-17s %s", "", where)
	return nil
}

// seal ends the text with its digest and the root's signature.
func (r *ceremonyRecord) seal(root crypto.Signer) ([]byte, error) {
	text := []byte(r.text.String())
	id, signature, err := trust.SignASN1(rand.Reader, root, append([]byte(recordPrefix), text...))
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	text = fmt.Appendf(text, "%s%x\n", recordDigest, protocol.H(text))
	return fmt.Appendf(text, "%s%v %s\n", recordSignature, id.Algorithm, base64.StdEncoding.EncodeToString(signature)), nil
}

// VerifyCeremonyRecord checks the record of a ceremony against the root's certificate.
func VerifyCeremonyRecord(raw []byte, root *smx509.Certificate) error {
	if len(raw) > maxRecord {
		return fmt.Errorf("record of %d bytes", len(raw))
	}
	at := bytes.LastIndex(raw, []byte("\n"+recordDigest))
	if at < 0 {
		return errors.New("record: no digest")
	}
	text, tail := raw[:at+1], string(raw[at+1:])
	digest, signature, found := strings.Cut(strings.TrimSuffix(tail, "\n"), "\n"+recordSignature)
	if !found || digest != recordDigest+hex.EncodeToString(protocol.H(text)) {
		return errors.New("record: the digest does not match")
	}
	dotted, text64, _ := strings.Cut(signature, " ")
	id, err := trust.ParseOID(dotted)
	if err != nil {
		return fmt.Errorf("record: signature: %w", err)
	}
	der, err := base64.StdEncoding.Strict().DecodeString(text64)
	if err != nil {
		return errors.New("record: signature is not base64")
	}
	if err := trust.CheckSignature(root, id, append([]byte(recordPrefix), text...), der); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

// write seals the record and writes it into a folder.
func (r *ceremonyRecord) write(dir string, root *smx509.Certificate, key crypto.Signer) error {
	raw, err := r.seal(key)
	if err != nil {
		return err
	}
	if err := VerifyCeremonyRecord(raw, root); err != nil {
		return err
	}
	return writeNew(filepath.Join(dir, r.file), raw)
}

// CeremonyRecordFile is the name of a ceremony's record in the authority's folder.
const CeremonyRecordFile = "ceremony-record.txt"

// ceremonyRecord writes the record of making an authority. config is the configuration file's text.
func (c *Ceremony) ceremonyRecord(m *made, config []byte) (*ceremonyRecord, error) {
	r := newCeremonyRecord(CeremonyRecordFile, "密钥仪式记录 / RECORD OF A KEY CEREMONY: "+c.Config.Name, c.Now())
	r.people(c.Operator, c.Witnesses)
	r.line("Program             %s", c.Program)
	r.line("Family              %s", c.Config.Family)
	r.line("URL in certificates %s", c.Config.BaseURL)
	r.line("Configuration       %s, SM3 %x", configFile, protocol.H(config))
	r.line("")
	r.line("Keys")
	for _, purpose := range ceremonyKeys() {
		where := "file " + keyFileName(purpose) + " under the passphrase"
		switch uri := c.Config.keyURI(purpose); {
		case uri != "":
			where = "token " + uri
		case purpose == keyRoot && c.RootDir != c.Dir:
			where = "file " + keyFileName(purpose) + " on a medium of its own"
		}
		if err := r.key(purpose, where, m.keys[purpose].Public()); err != nil {
			return nil, err
		}
	}
	r.line("  %-17s file %s under the passphrase: wraps escrowed encryption keys", keyKEK, keyFileName(keyKEK))
	r.line("  %-17s file %s under the passphrase: digests of identity numbers", keyIdentity, keyFileName(keyIdentity))
	for _, cert := range []struct {
		name string
		cert *smx509.Certificate
	}{{status.RootName, m.root}, {issuingName, m.issuing}, {keyOCSP, m.ocsp}, {keyTSA, m.tsa}} {
		r.certificate(cert.name, cert.cert)
	}
	r.line("")
	r.line("Revocation list of the root, number %d, next update %s, SM3 %x", m.rootCRL.Number, m.rootCRL.NextUpdate.UTC().Format(time.RFC3339), protocol.H(m.rootCRL.DER))
	r.line("")
	return r, nil
}

func (r *ceremonyRecord) people(operator string, witnesses []string) {
	r.line("Operator            %s", operator)
	for _, w := range witnesses {
		r.line("Witness             %s    signature ______________________", w)
	}
}
