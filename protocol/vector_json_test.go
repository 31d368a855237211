package protocol_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/protocol"
)

// runJSON reads a document as the body that a page's watcher sends: the closed
// object {cid, watch, after, wait} with 16 bytes, bytes and two integers.
func runJSON(i in) (values, error) {
	var w protocol.WatchBody
	if err := protocol.DecodeJSON(i.hex("document"), &w); err != nil {
		return nil, err
	}
	return values{"cid": w.CID.String(), "watch": hexed(w.Watch), "after": w.After, "wait": w.Wait}, nil
}

func jsonCases(t testing.TB) []tried {
	const cid = `"cid":"AAECAwQFBgcICQoLDA0ODw"`
	var out []tried
	doc := func(name, description, text string, want protocol.Code) {
		shown := strings.ToValidUTF8(text, "?")
		if len(shown) > 400 {
			shown = shown[:400] + " ..."
		}
		out = append(out, tried{"json_" + name, "json", description, values{"document": hexed([]byte(text)), "document_text": shown}, want})
	}
	bad := protocol.CodeMalformed
	doc("sound", "a sound document", `{`+cid+`,"watch":"-_8","after":1,"wait":25}`, "")
	doc("white_space", "white space around and between", " \t\r\n{ "+cid+" ,\n\"after\" : 0 }\n", "")
	doc("escapes", "escaped characters are read", `{"\u0063id":"AAECAwQFBgcICQoLDA0OD\u0077","watch":""}`, "")
	doc("empty_object", "what is left out reads as zero", `{}`, "")
	doc("largest_integer", "2^53 - 1", `{"after":9007199254740991}`, "")
	doc("too_large_integer", "2^53", `{"after":9007199254740992}`, bad)
	doc("too_small_integer", "-2^53", `{"after":-9007199254740992}`, bad)
	doc("huge_integer", "more than 64 bits", `{"after":18446744073709551617}`, bad)
	doc("minus_zero", "-0", `{"after":-0}`, bad)
	doc("fraction", "1.0", `{"after":1.0}`, bad)
	doc("exponent", "1e2", `{"after":1e2}`, bad)
	doc("leading_zero", "01", `{"after":01}`, bad)
	doc("plus", "+1", `{"after":+1}`, bad)
	doc("nan", "NaN", `{"after":NaN}`, bad)
	doc("integer_as_text", "an integer in quotes", `{"after":"1"}`, bad)
	doc("null", "null", `{"watch":null}`, bad)
	doc("null_unknown", "null in a list", `{"watch":[null]}`, bad)
	doc("duplicate", "a name stands twice", `{"after":1,"after":1}`, bad)
	doc("duplicate_escaped", "a name stands twice, once escaped", `{"after":1,"\u0061fter":1}`, bad)
	doc("two_cases", "a name stands in two cases", `{"after":1,"After":1}`, bad)
	doc("other_case", "a name in another case", `{"After":1}`, bad)
	doc("kelvin", "a name with a letter that folds to another", `{"\u212a":1}`, bad)
	doc("hyphen", "a name with a hyphen", `{"a-b":1}`, bad)
	doc("empty_name", "an empty name", `{"":1}`, bad)
	doc("long_name", "a name of 65 characters", `{"`+strings.Repeat("a", 65)+`":1}`, bad)
	doc("unknown_name", "a closed document has no other names", `{"more":1}`, bad)
	doc("bom", "a byte order mark", "\xef\xbb\xbf{}", bad)
	doc("invalid_utf8", "a byte that is not UTF-8", "{\"watch\":\"\xff\"}", bad)
	doc("overlong_utf8", "an overlong form of a character", "{\"watch\":\"\xc1\x81\"}", bad)
	doc("encoded_surrogate", "a surrogate in UTF-8", "{\"watch\":\"\xed\xa0\x80\"}", bad)
	doc("lone_surrogate", "an escaped surrogate without its other half", `{"watch":"\ud800"}`, bad)
	doc("swapped_surrogates", "an escaped pair in the wrong order", `{"watch":"\udc00\ud800"}`, bad)
	doc("control_character", "a raw control character in a text", "{\"watch\":\"\x01\"}", bad)
	doc("trailing", "data after the object", `{} {}`, bad)
	doc("trailing_zero", "a zero byte after the object", "{}\x00", bad)
	doc("trailing_comma", "a comma before the brace", `{"after":1,}`, bad)
	doc("comment", "a comment", `{/**/}`, bad)
	doc("single_quotes", "single quotes", `{'after':1}`, bad)
	doc("array", "a list in place of the object", `[{}]`, bad)
	doc("text", "a text in place of the object", `"{}"`, bad)
	doc("empty", "no bytes", ``, bad)
	doc("truncated", "the last byte is missing", `{"after":1`, bad)
	doc("padding", "base64url with padding", `{"watch":"AA=="}`, bad)
	doc("standard_alphabet", "the alphabet of base64", `{"watch":"+/8"}`, bad)
	doc("trailing_bits", "bits beyond the last byte", `{"watch":"AB"}`, bad)
	doc("base64_line_break", "a line break in base64url", `{"watch":"AA\nAA"}`, bad)
	doc("base64_lonely", "one character is no byte", `{"watch":"A"}`, bad)
	doc("cid_short", "an identifier of 15 bytes", `{"cid":"AAECAwQFBgcICQoLDA0O"}`, bad)
	doc("cid_hex", "an identifier in hexadecimal", `{"cid":"000102030405060708090a0b0c0d0e0f"}`, bad)
	doc("bool_as_integer", "true in place of an integer", `{"after":true}`, bad)
	doc("out_of_range", "an integer beyond its field's 32 bits", fmt.Sprintf(`{"wait":%d}`, int64(1)<<53), bad)
	return out
}
