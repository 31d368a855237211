package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Limits of strict JSON (SPEC.md, section 3).
const (
	// MaxJSON bounds what is signed or sealed, in bytes: a request, a
	// statement, a receipt, the plaintext of a box.
	MaxJSON = 1 << 20
	// MaxDocument bounds every other document, in bytes. It leaves room for a
	// challenge's state with three boxes of the largest size in base64url.
	MaxDocument = 6 << 20
	// MaxJSONDepth is how deep objects and arrays nest, the outermost counted.
	MaxJSONDepth = 8

	maxName    = 64 // bytes of a member name
	maxSafeInt = int64(1)<<53 - 1
)

// DecodeJSON reads one strict JSON document into v, a pointer to a zero
// struct, and refuses names that v does not know (a struct that embeds Kept takes
// them). Strict means: valid UTF-8,
// one object, nothing but white space around it, names of a-z, 0-9 and _ only
// and none twice, no null, integers only and below 2^53 in magnitude, at most
// MaxJSONDepth levels and MaxDocument bytes. A member that is left out reads as
// the zero value of its type.
//
// Refusals are an *Error with CodeMalformed or CodeTooLarge.
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
// stands there as "outer.inner". Further error: CodeCritUnknown.
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
			return Errorf(CodeCritUnknown, "critical name %q is not understood", clip(name))
		}
	}
	if err := json.Unmarshal(data, v, json.RejectUnknownMembers(false)); err != nil {
		return malformed(err)
	}
	return nil
}

// EncodeJSON writes v, which holds no floats and no null, in the form that
// DecodeJSON reads.
func EncodeJSON(v any) ([]byte, error) {
	out, err := json.Marshal(v, jsontext.EscapeForHTML(false))
	if err != nil {
		return nil, fmt.Errorf("encode json: %w", err)
	}
	if len(out) > MaxDocument {
		return nil, Errorf(CodeTooLarge, "document of %d bytes exceeds %d", len(out), MaxDocument)
	}
	return out, nil
}

// encodeBounded is EncodeJSON for what is signed or sealed.
func encodeBounded(v any) ([]byte, error) {
	out, err := EncodeJSON(v)
	if err == nil && len(out) > MaxJSON {
		clear(out)
		return nil, Errorf(CodeTooLarge, "document of %d bytes exceeds %d", len(out), MaxJSON)
	}
	return out, err
}

// decodeInner reads a document that stood inside another one or under a
// signature. What is wrong with it is the fault of whoever made it: code.
func decodeInner(data []byte, v any, code Code) error {
	if len(data) > MaxJSON {
		return Errorf(code, "document of %d bytes exceeds %d", len(data), MaxJSON)
	}
	if err := DecodeJSON(data, v); err != nil {
		return Errorf(code, "%v", err)
	}
	return nil
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
// entries of the outermost object's "crit" array.
func scanJSON(data []byte) ([]string, error) {
	if len(data) > MaxDocument {
		return nil, Errorf(CodeTooLarge, "document of %d bytes exceeds %d", len(data), MaxDocument)
	}
	s := jsonScan{dec: jsontext.NewDecoder(bytes.NewReader(data))}
	if s.dec.PeekKind() != '{' {
		return nil, Errorf(CodeMalformed, "json: want one object")
	}
	if err := s.value(false); err != nil {
		return nil, malformed(err)
	}
	if _, err := s.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, Errorf(CodeMalformed, "json: data after the object")
	}
	return s.crit, nil
}

// value reads one value; inCrit is true within the outermost "crit".
func (s *jsonScan) value(inCrit bool) error {
	tok, err := s.dec.ReadToken()
	if err != nil {
		return err
	}
	if s.dec.StackDepth() > MaxJSONDepth {
		return Errorf(CodeMalformed, "json: deeper than %d levels", MaxJSONDepth)
	}
	switch tok.Kind() {
	case 'n':
		return Errorf(CodeMalformed, "json: null at %s", clip(string(s.dec.StackPointer())))
	case '0':
		return checkNumber(tok.String())
	case '"':
		if inCrit {
			s.crit = append(s.crit, tok.String())
		}
	case '[':
		for s.dec.PeekKind() != ']' {
			if err := s.value(inCrit); err != nil {
				return err
			}
		}
		_, err = s.dec.ReadToken()
	case '{':
		return s.object()
	}
	return err
}

// object reads the members of an object whose brace was read. The decoder
// itself refuses a name that stands twice.
func (s *jsonScan) object() error {
	outermost := s.dec.StackDepth() == 1
	for s.dec.PeekKind() != '}' {
		tok, err := s.dec.ReadToken()
		if err != nil {
			return err
		}
		name := tok.String()
		if !memberName(name) {
			return Errorf(CodeMalformed, "json: name %q is not of a-z, 0-9 and _", clip(name))
		}
		if err := s.value(outermost && name == "crit"); err != nil {
			return err
		}
	}
	_, err := s.dec.ReadToken()
	return err
}

// memberName holds the rule that makes "exact case" decidable without tables:
// no name has another spelling that a lax reader would take for it.
func memberName(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

func checkNumber(lit string) error {
	if strings.ContainsAny(lit, ".eE") || lit == "-0" {
		return Errorf(CodeMalformed, "json: number %s is not an integer", clip(lit))
	}
	if n, err := strconv.ParseInt(lit, 10, 64); err != nil || n > maxSafeInt || n < -maxSafeInt {
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
