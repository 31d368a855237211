package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Limits of strict JSON (SPEC.md, section 3).
const (
	MaxJSON      = 1 << 20 // bytes of one document
	MaxJSONDepth = 8
	maxSafeInt   = int64(1)<<53 - 1
)

// DecodeJSON reads one strict JSON document into v, a pointer to a struct, and
// refuses names that v does not know. Strict means: valid UTF-8, one object,
// no duplicate names (also none that differ only in case), names in exact
// case, no null, integers only and below 2^53 in magnitude, at most 8 levels
// deep and 1 MiB long, nothing after the object.
//
// Every refusal is an *Error with CodeMalformed.
func DecodeJSON(data []byte, v any) error {
	if _, err := scanJSON(data); err != nil {
		return err
	}
	if err := json.Unmarshal(data, v, json.RejectUnknownMembers(true)); err != nil {
		return malformed(err)
	}
	return nil
}

// DecodeJSONOpen is DecodeJSON for documents that later versions may extend:
// unknown names are passed over unless the document lists them in its "crit"
// array. known holds the names that this version understands; a nested name
// stands there as "outer.inner".
func DecodeJSONOpen(data []byte, v any, known []string) error {
	crit, err := scanJSON(data)
	if err != nil {
		return err
	}
	understood := make(map[string]bool, len(known))
	for _, name := range known {
		understood[name] = true
	}
	for _, name := range crit {
		if !understood[name] {
			return Errorf(CodeCritUnknown, "critical name %q is not understood", name)
		}
	}
	if err := json.Unmarshal(data, v, json.RejectUnknownMembers(false)); err != nil {
		return malformed(err)
	}
	for _, name := range known {
		if strings.Contains(name, ".") {
			continue
		}
		if err := refuseOtherCase(data, name); err != nil {
			return err
		}
	}
	return nil
}

// EncodeJSON writes v in the form that DecodeJSON reads.
func EncodeJSON(v any) ([]byte, error) {
	out, err := json.Marshal(v, jsontext.EscapeForHTML(false))
	if err != nil {
		return nil, fmt.Errorf("encode json: %w", err)
	}
	if len(out) > MaxJSON {
		return nil, Errorf(CodeTooLarge, "document of %d bytes exceeds %d", len(out), MaxJSON)
	}
	return out, nil
}

func malformed(err error) error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	return Errorf(CodeMalformed, "json: %v", err)
}

// jsonScan walks the tokens of one document.
type jsonScan struct {
	dec  *jsontext.Decoder
	crit []string
}

// scanJSON checks the rules that a schema cannot express and returns the
// entries of a top-level "crit" array.
func scanJSON(data []byte) ([]string, error) {
	if len(data) > MaxJSON {
		return nil, Errorf(CodeTooLarge, "document of %d bytes exceeds %d", len(data), MaxJSON)
	}
	s := jsonScan{dec: jsontext.NewDecoder(bytes.NewReader(data))}
	if s.dec.PeekKind() != '{' {
		return nil, Errorf(CodeMalformed, "json: want one object")
	}
	if err := s.value(""); err != nil {
		return nil, malformed(err)
	}
	if _, err := s.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, Errorf(CodeMalformed, "json: data after the object")
	}
	return s.crit, nil
}

func (s *jsonScan) value(path string) error {
	tok, err := s.dec.ReadToken()
	if err != nil {
		return err
	}
	if s.dec.StackDepth() > MaxJSONDepth {
		return Errorf(CodeMalformed, "json: deeper than %d levels", MaxJSONDepth)
	}
	switch tok.Kind() {
	case 'n':
		return Errorf(CodeMalformed, "json: null at %q", path)
	case '0':
		return checkNumber(tok.String())
	case '"':
		if path == "crit" {
			s.crit = append(s.crit, tok.String())
		}
	case '[':
		for s.dec.PeekKind() != ']' {
			if err := s.value(path); err != nil {
				return err
			}
		}
		_, err = s.dec.ReadToken()
	case '{':
		return s.object(path)
	}
	return err
}

func (s *jsonScan) object(path string) error {
	seen := make(map[string]bool)
	for s.dec.PeekKind() != '}' {
		name, err := s.dec.ReadToken()
		if err != nil {
			return err
		}
		n := name.String()
		folded := strings.ToLower(n)
		if seen[folded] {
			return Errorf(CodeMalformed, "json: name %q stands twice or in two cases", n)
		}
		seen[folded] = true
		if err := s.value(join(path, n)); err != nil {
			return err
		}
	}
	_, err := s.dec.ReadToken()
	return err
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func checkNumber(lit string) error {
	if strings.ContainsAny(lit, ".eE") || lit == "-0" {
		return Errorf(CodeMalformed, "json: number %s is not an integer", clip(lit))
	}
	var n int64
	if _, err := fmt.Sscanf(lit, "%d", &n); err != nil || n > maxSafeInt || n < -maxSafeInt {
		return Errorf(CodeMalformed, "json: integer %s is out of range", clip(lit))
	}
	return nil
}

func clip(s string) string {
	if len(s) > 24 {
		return s[:24] + "..."
	}
	return s
}

// refuseOtherCase reports a top-level name that differs from a known one only
// in its case: an unknown name that a lax reader would take for the known one.
func refuseOtherCase(data []byte, known string) error {
	dec := jsontext.NewDecoder(bytes.NewReader(data))
	if _, err := dec.ReadToken(); err != nil {
		return malformed(err)
	}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return malformed(err)
		}
		if n := name.String(); n != known && strings.EqualFold(n, known) {
			return Errorf(CodeMalformed, "json: name %q, want %q", n, known)
		}
		if err := dec.SkipValue(); err != nil {
			return malformed(err)
		}
	}
	return nil
}
