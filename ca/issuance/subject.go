package issuance

import (
	"encoding/asn1"
	"fmt"
)

// Subject is a distinguished name in the layout of GM/T 0015: country first,
// common name last, one attribute in each relative name; country and serial
// number as PrintableString, everything else as UTF8String.
type Subject struct {
	Country      string // two letters, ISO 3166
	Province     string
	Locality     string
	Organisation string
	Unit         string
	// Serial tells two holders of the same name apart (RFC 5280 4.1.2.6: a name
	// belongs to one entity); the authority writes the lineage id here.
	Serial     string
	CommonName string
}

// attribute is one attribute type of the layout.
type attribute struct {
	name      string
	id        asn1.ObjectIdentifier
	printable bool
	max       int // characters, upper bounds of X.520
	get       func(Subject) string
	allowed   func(profile) presence
}

func mandatory(profile) presence  { return required }
func locality(p profile) presence { return p.locality }

// layout is the order of attributes in every subject.
func layout() []attribute {
	return []attribute{
		{"C", asn1.ObjectIdentifier{2, 5, 4, 6}, true, 2, func(s Subject) string { return s.Country }, mandatory},
		{"ST", asn1.ObjectIdentifier{2, 5, 4, 8}, false, 128, func(s Subject) string { return s.Province }, locality},
		{"L", asn1.ObjectIdentifier{2, 5, 4, 7}, false, 128, func(s Subject) string { return s.Locality }, locality},
		{"O", asn1.ObjectIdentifier{2, 5, 4, 10}, false, 64, func(s Subject) string { return s.Organisation }, func(p profile) presence { return p.organisation }},
		{"OU", asn1.ObjectIdentifier{2, 5, 4, 11}, false, 64, func(s Subject) string { return s.Unit }, func(p profile) presence { return p.unit }},
		{"serialNumber", asn1.ObjectIdentifier{2, 5, 4, 5}, true, 64, func(s Subject) string { return s.Serial }, func(p profile) presence { return p.subjectSerial }},
		{"CN", asn1.ObjectIdentifier{2, 5, 4, 3}, false, 64, func(s Subject) string { return s.CommonName }, mandatory},
	}
}

// nameAttribute is AttributeTypeAndValue with the value's encoding kept.
type nameAttribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

type relativeName []nameAttribute

// relativeNameSET has the suffix by which encoding/asn1 knows a SET OF.
type relativeNameSET relativeName

// marshal is the DER of the name. Rules are judged by the lints, not here.
func (s Subject) marshal() ([]byte, error) {
	var name []relativeNameSET
	for _, a := range layout() {
		text := a.get(s)
		if text == "" {
			continue
		}
		tag := asn1.TagUTF8String
		if a.printable {
			tag = asn1.TagPrintableString
		}
		name = append(name, relativeNameSET{{a.id, asn1.RawValue{Tag: tag, Bytes: []byte(text)}}})
	}
	der, err := asn1.Marshal(name)
	if err != nil {
		return nil, fmt.Errorf("subject: %w", err)
	}
	return der, nil
}
