package timestamp

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/bidseal/bidseal/trust"
)

// Info is what an authority states in a token (TSTInfo, RFC 3161 2.4.2).
type Info struct {
	Policy  asn1.ObjectIdentifier
	Imprint Imprint
	// Serial of the token, unique at its authority, at most 160 bits.
	Serial *big.Int
	// Time, in UTC: the data existed before it. Whole seconds are written;
	// fractions are read.
	Time time.Time
	// Accuracy of Time, to both sides; zero where the token states none.
	Accuracy time.Duration
	// Ordering: tokens of this authority can be ordered by Time alone. Our
	// authority never says so: two of its processes share no clock.
	Ordering bool
	// Nonce of the request, nil if it had none.
	Nonce *big.Int

	tsa asn1.RawValue // [0] EXPLICIT GeneralName
}

const generalizedTime = "20060102150405Z"

func (i *Info) marshal() ([]byte, error) {
	out := tstInfo{
		Version: 1, Policy: i.Policy, Imprint: i.Imprint.der(), Serial: i.Serial, Ordering: i.Ordering, Nonce: i.Nonce,
		GenTime: asn1.RawValue{Tag: asn1.TagGeneralizedTime, Bytes: []byte(i.Time.UTC().Format(generalizedTime))},
		Accuracy: accuracy{
			Seconds: int(i.Accuracy / time.Second), Millis: int(i.Accuracy % time.Second / time.Millisecond), Micros: int(i.Accuracy % time.Millisecond / time.Microsecond),
		},
	}
	der, err := asn1.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("timestamp: %w", err)
	}
	return der, nil
}

func parseInfo(der []byte) (*Info, error) {
	var raw tstInfo
	if err := exactly(der, &raw); err != nil {
		return nil, fmt.Errorf("timestamp's content: %w", err)
	}
	if err := same(der, raw); err != nil {
		return nil, fmt.Errorf("timestamp's content: %w", err)
	}
	for _, ext := range raw.Extensions {
		if ext.Critical {
			return nil, fmt.Errorf("extension %v of a timestamp: %w", ext.Id, trust.ErrCritical)
		}
	}
	d, err := digestOf(raw.Imprint.Algorithm)
	if err != nil {
		return nil, err
	}
	if raw.Version != 1 || len(raw.Imprint.Digest) != d.size || raw.Serial == nil || raw.Serial.Sign() < 0 || raw.Serial.BitLen() > 160 {
		return nil, fmt.Errorf("timestamp's version, imprint or serial number: %w", trust.ErrMalformed)
	}
	at, err := parseTime(raw.GenTime)
	if err != nil {
		return nil, err
	}
	width, err := raw.Accuracy.duration()
	if err != nil {
		return nil, err
	}
	return &Info{
		Policy: raw.Policy, Imprint: Imprint{Algorithm: raw.Imprint.Algorithm.Algorithm, Digest: raw.Imprint.Digest},
		Serial: raw.Serial, Time: at, Accuracy: width, Ordering: raw.Ordering, Nonce: raw.Nonce, tsa: raw.TSA,
	}, nil
}

// parseTime reads YYYYMMDDhhmmss[.s...]Z (RFC 3161 2.4.2): no trailing zeros.
func parseTime(raw asn1.RawValue) (time.Time, error) {
	text := string(raw.Bytes)
	if raw.Class != asn1.ClassUniversal || raw.Tag != asn1.TagGeneralizedTime || raw.IsCompound || len(text) < len(generalizedTime) || len(text) > 32 {
		return time.Time{}, fmt.Errorf("timestamp's time: %w", trust.ErrMalformed)
	}
	at, err := time.Parse("20060102150405Z", text) // Parse takes a fraction after the seconds
	if err != nil || strings.HasSuffix(text, ".Z") || strings.Contains(text, ".") && strings.HasSuffix(text, "0Z") || strings.Contains(text, ",") {
		return time.Time{}, fmt.Errorf("timestamp's time: %w", trust.ErrMalformed)
	}
	return at.UTC(), nil
}

func (a accuracy) duration() (time.Duration, error) {
	if a.Seconds < 0 || a.Seconds > 24*60*60 || a.Millis < 0 || a.Millis > 999 || a.Micros < 0 || a.Micros > 999 {
		return 0, fmt.Errorf("timestamp's accuracy: %w", trust.ErrMalformed)
	}
	return time.Duration(a.Seconds)*time.Second + time.Duration(a.Millis)*time.Millisecond + time.Duration(a.Micros)*time.Microsecond, nil
}

// directoryName returns the Name in a GeneralName [4], nil for other kinds.
func directoryName(general []byte) []byte {
	var outer asn1.RawValue
	if rest, err := asn1.Unmarshal(general, &outer); err != nil || len(rest) != 0 || outer.Class != asn1.ClassContextSpecific || outer.Tag != 4 {
		return nil
	}
	return outer.Bytes
}

func generalName(name []byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: name}
}

func algorithm(id asn1.ObjectIdentifier) pkix.AlgorithmIdentifier {
	return pkix.AlgorithmIdentifier{Algorithm: id}
}
