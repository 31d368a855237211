package trust

import (
	"bytes"
	"crypto"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"

	"github.com/emmansun/gmsm/smx509"
)

// FileName is the name of the trust file in the folders of the components.
const FileName = "trust.json"

const (
	// FileVersion is the only version of the file that there is.
	FileVersion = 1
	// MaxFile is the largest trust file in bytes.
	MaxFile = 256 << 10
	// maxAuthorities and maxRelays bound the file's lists, maxKeys the keys and
	// roots of one entry.
	maxAuthorities = 32
	maxRelays      = 32
	maxKeys        = 16
)

// File is the trust file: whom its reader believes. The ceremony of an authority
// writes it, a relay adds itself, and platforms, phones and verifiers of evidence
// read it. It changes by an operator's hand or through the app's origin, never
// through anything that was scanned or fetched along the way.
//
//	{"v": 1,
//	 "authorities": [{"name": "...", "roots": ["-----BEGIN CERTIFICATE-----..."],
//	   "oids": {"lineage": "1.2.156...", ...}, "ocsp": "https://...", "crl": "https://...", "tsa": "https://...",
//	   "pass_keys": ["-----BEGIN PUBLIC KEY-----..."],
//	   "operations": {"login": {"from": "2026-01-01T00:00:00Z", "until": "2027-01-01T00:00:00Z"}}}],
//	 "relays": [{"origin": "https://...", "ledger_keys": ["-----BEGIN PUBLIC KEY-----..."]}]}
//
// ocsp, crl, tsa, pass_keys, operations and relays may be left out. Without
// operations an authority is believed for everything at all times; with them,
// only for those listed, from "from" until just before "until".
type File struct {
	Authorities []Authority
	Relays      []Relay
}

// Relay is a relay whose ledger is believed.
type Relay struct {
	// Origin is scheme://host[:port].
	Origin string
	// LedgerKeys sign its promises and heads, the present one first.
	LedgerKeys []crypto.PublicKey
}

// fileJSON, authorityJSON and relayJSON are the file as it is written.
type fileJSON struct {
	V           int             `json:"v"`
	Authorities []authorityJSON `json:"authorities"`
	Relays      []relayJSON     `json:"relays,omitempty"`
}

type authorityJSON struct {
	Name       string               `json:"name"`
	Roots      []string             `json:"roots"` // PEM, CERTIFICATE
	OIDs       *OIDs                `json:"oids"`
	OCSP       string               `json:"ocsp,omitempty"`
	CRL        string               `json:"crl,omitempty"`
	TSA        string               `json:"tsa,omitempty"`
	PassKeys   []string             `json:"pass_keys,omitempty"` // PEM, PUBLIC KEY
	Operations map[Operation]Period `json:"operations,omitzero"`
}

type relayJSON struct {
	Origin     string   `json:"origin"`
	LedgerKeys []string `json:"ledger_keys"` // PEM, PUBLIC KEY
}

// IsPEM reports whether bytes that were handed over as a trust file are a PEM
// file of roots: what people had before there were trust files.
func IsPEM(raw []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(raw), []byte("-----BEGIN ")) }

// ParseFile reads a trust file strictly: a name that it does not know may be a
// restriction that somebody misspelt. The error wraps ErrMalformed, or what
// NewStore says of an authority.
func ParseFile(raw []byte) (*File, error) {
	if len(raw) > MaxFile {
		return nil, fmt.Errorf("trust file of %d bytes, at most %d: %w", len(raw), MaxFile, ErrMalformed)
	}
	var read fileJSON
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&read); err != nil {
		return nil, fmt.Errorf("trust file: %w: %w", ErrMalformed, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("trust file: more than one document: %w", ErrMalformed)
	}
	if read.V != FileVersion {
		return nil, fmt.Errorf("trust file of version %d, want %d: %w", read.V, FileVersion, ErrMalformed)
	}
	if len(read.Authorities) == 0 || len(read.Authorities) > maxAuthorities || len(read.Relays) > maxRelays {
		return nil, fmt.Errorf("trust file with %d authorities and %d relays: %w", len(read.Authorities), len(read.Relays), ErrMalformed)
	}
	file := &File{}
	for _, a := range read.Authorities {
		authority, err := a.authority()
		if err != nil {
			return nil, fmt.Errorf("trust file: authority %q: %w", a.Name, err)
		}
		file.Authorities = append(file.Authorities, authority)
	}
	for _, r := range read.Relays {
		relay, err := r.relay()
		if err != nil {
			return nil, fmt.Errorf("trust file: relay %q: %w", r.Origin, err)
		}
		file.Relays = append(file.Relays, relay)
	}
	if err := file.check(); err != nil {
		return nil, fmt.Errorf("trust file: %w", err)
	}
	return file, nil
}

func (f *File) check() error {
	for i, r := range f.Relays {
		if slices.ContainsFunc(f.Relays[:i], func(other Relay) bool { return other.Origin == r.Origin }) {
			return fmt.Errorf("relay %q stands twice: %w", r.Origin, ErrMalformed)
		}
	}
	_, err := f.Store()
	return err
}

// Store of the file's authorities.
func (f *File) Store() (*Store, error) { return NewStore(f.Authorities...) }

// LedgerKeys are the keys of a relay's ledger, the present one first; none where
// the file does not know the relay.
func (f *File) LedgerKeys(origin string) []crypto.PublicKey {
	for _, r := range f.Relays {
		if r.Origin == origin {
			return slices.Clone(r.LedgerKeys)
		}
	}
	return nil
}

// PassKeys are the keys of all authorities that sign device passes.
func (f *File) PassKeys() []crypto.PublicKey {
	var keys []crypto.PublicKey
	for _, a := range f.Authorities {
		keys = append(keys, a.PassKeys...)
	}
	return keys
}

// WithRelay returns the file with a relay added, or with its keys replaced where
// the origin is known.
func (f *File) WithRelay(r Relay) *File {
	next := &File{Authorities: slices.Clone(f.Authorities), Relays: slices.Clone(f.Relays)}
	if i := slices.IndexFunc(next.Relays, func(other Relay) bool { return other.Origin == r.Origin }); i >= 0 {
		next.Relays[i] = r
		return next
	}
	next.Relays = append(next.Relays, r)
	return next
}

// Join returns a file with everything that either file names. An authority that
// stands in both alike is taken once; a relay gets the ledger keys of both. The
// error, of files that contradict each other, wraps ErrMalformed.
func (f *File) Join(other *File) (*File, error) {
	next := &File{Authorities: slices.Clone(f.Authorities), Relays: slices.Clone(f.Relays)}
	for _, a := range other.Authorities {
		if !slices.ContainsFunc(next.Authorities, a.equal) {
			next.Authorities = append(next.Authorities, a)
		}
	}
	for _, r := range other.Relays {
		keys := next.LedgerKeys(r.Origin)
		for _, key := range r.LedgerKeys {
			if !slices.ContainsFunc(keys, func(known crypto.PublicKey) bool { return equalKeys(known, key) }) {
				keys = append(keys, key)
			}
		}
		next = next.WithRelay(Relay{Origin: r.Origin, LedgerKeys: keys})
	}
	return next, next.check()
}

// equalKeys compares keys of any algorithm.
func equalKeys(a, b crypto.PublicKey) bool {
	comparable, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && comparable.Equal(b)
}

// Encode writes the file, indented for people.
func (f *File) Encode() ([]byte, error) {
	if err := f.check(); err != nil {
		return nil, fmt.Errorf("trust file: %w", err)
	}
	out := fileJSON{V: FileVersion}
	for _, a := range f.Authorities {
		keys, err := encodeKeys(a.PassKeys)
		if err != nil {
			return nil, err
		}
		written := authorityJSON{Name: a.Name, OIDs: &a.OIDs, OCSP: a.OCSP, CRL: a.CRL, TSA: a.TSA, PassKeys: keys, Operations: maps.Clone(a.Operations)}
		for _, root := range a.Roots {
			written.Roots = append(written.Roots, string(pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: root.Raw})))
		}
		out.Authorities = append(out.Authorities, written)
	}
	for _, r := range f.Relays {
		keys, err := encodeKeys(r.LedgerKeys)
		if err != nil {
			return nil, err
		}
		out.Relays = append(out.Relays, relayJSON{r.Origin, keys})
	}
	raw, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode trust file: %w", err)
	}
	return append(raw, '\n'), nil
}

const (
	pemCertificate = "CERTIFICATE"
	pemPublicKey   = "PUBLIC KEY"
)

func (a authorityJSON) authority() (Authority, error) {
	out := Authority{Name: a.Name, OCSP: a.OCSP, CRL: a.CRL, TSA: a.TSA, Operations: a.Operations}
	switch {
	case a.Name == "":
		return out, fmt.Errorf("no name: %w", ErrMalformed)
	case a.OIDs == nil:
		return out, fmt.Errorf("no oids: %w", ErrMalformed)
	case len(a.Roots) > maxKeys:
		return out, fmt.Errorf("%d roots: %w", len(a.Roots), ErrMalformed)
	}
	out.OIDs = *a.OIDs
	for i, text := range a.Roots {
		der, err := onePEM(text, pemCertificate)
		if err != nil {
			return out, fmt.Errorf("root %d: %w", i, err)
		}
		root, err := ParseCertificate(der)
		if err != nil {
			return out, fmt.Errorf("root %d: %w", i, err)
		}
		out.Roots = append(out.Roots, root)
	}
	var err error
	out.PassKeys, err = decodeKeys(a.PassKeys)
	if err != nil {
		return out, fmt.Errorf("pass_keys: %w", err)
	}
	return out, nil
}

func (r relayJSON) relay() (Relay, error) {
	u, err := url.Parse(r.Origin)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || r.Origin != u.Scheme+"://"+u.Host {
		return Relay{}, fmt.Errorf("origin, want scheme://host[:port]: %w", ErrMalformed)
	}
	if len(r.LedgerKeys) == 0 {
		return Relay{}, fmt.Errorf("no ledger_keys: %w", ErrMalformed)
	}
	keys, err := decodeKeys(r.LedgerKeys)
	if err != nil {
		return Relay{}, fmt.Errorf("ledger_keys: %w", err)
	}
	return Relay{Origin: r.Origin, LedgerKeys: keys}, nil
}

// onePEM returns the content of a text that is one PEM block and nothing else.
func onePEM(text, blockType string) ([]byte, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != blockType || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("not one %s in PEM: %w", blockType, ErrMalformed)
	}
	return block.Bytes, nil
}

func decodeKeys(texts []string) ([]crypto.PublicKey, error) {
	if len(texts) > maxKeys {
		return nil, fmt.Errorf("%d keys: %w", len(texts), ErrMalformed)
	}
	var keys []crypto.PublicKey
	for i, text := range texts {
		der, err := onePEM(text, pemPublicKey)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i, err)
		}
		key, err := smx509.ParsePKIXPublicKey(der)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i, ErrMalformed)
		}
		if err := checkPublicKey(key); err != nil {
			return nil, fmt.Errorf("key %d: %w", i, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func encodeKeys(keys []crypto.PublicKey) ([]string, error) {
	var texts []string
	for _, key := range keys {
		der, err := smx509.MarshalPKIXPublicKey(key)
		if err != nil {
			return nil, fmt.Errorf("encode trust file: %w", err)
		}
		texts = append(texts, string(pem.EncodeToMemory(&pem.Block{Type: pemPublicKey, Bytes: der})))
	}
	return texts, nil
}

// memberAlso is the identifiers' member for CreditCodeAlso.
const memberAlso = "credit_code_also"

// MarshalJSON writes the identifiers as dotted strings.
func (o OIDs) MarshalJSON() ([]byte, error) {
	out := map[string]any{}
	for _, f := range o.oidFields() {
		out[f.name] = f.id.String()
	}
	if len(o.CreditCodeAlso) > 0 {
		var also []string
		for _, id := range o.CreditCodeAlso {
			also = append(also, id.String())
		}
		out[memberAlso] = also
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads dotted strings; every identifier has to be there.
func (o *OIDs) UnmarshalJSON(raw []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return fmt.Errorf("oids: %w", err)
	}
	var read OIDs
	for _, f := range read.oidFields() {
		if err := unmarshalOID(members[f.name], f.id); err != nil {
			return fmt.Errorf("oids: %s: %w", f.name, err)
		}
		delete(members, f.name)
	}
	if also, ok := members[memberAlso]; ok {
		var list []json.RawMessage
		if err := json.Unmarshal(also, &list); err != nil {
			return fmt.Errorf("oids: %s: %w", memberAlso, err)
		}
		for _, text := range list {
			var id asn1.ObjectIdentifier
			if err := unmarshalOID(text, &id); err != nil {
				return fmt.Errorf("oids: %s: %w", memberAlso, err)
			}
			read.CreditCodeAlso = append(read.CreditCodeAlso, id)
		}
		delete(members, memberAlso)
	}
	for name := range members {
		return fmt.Errorf("oids: %q is not known", name)
	}
	*o = read
	return nil
}

func unmarshalOID(raw json.RawMessage, into *asn1.ObjectIdentifier) error {
	if raw == nil {
		return fmt.Errorf("missing: %w", ErrMalformed)
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return err
	}
	id, err := ParseOID(text)
	*into = id
	return err
}
