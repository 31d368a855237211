package protocol

import (
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// CheckDisplay holds the rules of one display line: 1 to 80 code points in
// normalization form C, each graphic (categories L, M, N, P, S), a space
// (U+0020) or an ideographic space (U+3000). What shows nothing or moves other
// characters is refused: controls and format characters, among them all
// bidirectional ones, every other space, fillers and variation selectors.
func CheckDisplay(line string) error {
	n := len([]rune(line))
	switch {
	case n == 0 || n > MaxDisplayRunes:
		return Errorf(CodeRequestInvalid, "%d characters, want 1 to %d", n, MaxDisplayRunes)
	case !norm.NFC.IsNormalString(line):
		return Errorf(CodeRequestInvalid, "not in normalization form C")
	case !graphic(line):
		return Errorf(CodeRequestInvalid, "control, format or unassigned character")
	}
	return nil
}

func graphic(s string) bool {
	for _, c := range s {
		switch {
		case c == ' ' || c == '\u3000':
		case c == unicode.ReplacementChar, !unicode.IsGraphic(c), unicode.IsSpace(c), unicode.Is(unicode.Zs, c),
			unicode.In(c, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector), c == '\u2800':
			return false
		}
	}
	return true
}

// KindLabel is the operation's name as phones show it.
func KindLabel(k Kind) string {
	switch k {
	case KindLogin:
		return "登录"
	case KindSubmit:
		return "递交投标文件"
	case KindDecrypt:
		return "解密投标文件"
	case KindSeal:
		return "电子签章"
	}
	return string(k)
}

// ShownLines are the lines that a phone shows for a request, in order: the
// verified name and id of the platform, the operation, the platform's display
// lines, the initiator. Both sides compute them from the same bytes; the
// statement signs their digest.
func ShownLines(r *Request, platformName string) []string {
	lines := []string{"平台：" + platformName, "平台编号：" + r.Platform, "操作：" + KindLabel(r.Kind)}
	lines = append(lines, r.Display...)
	if in := r.Initiator; in != nil {
		for _, f := range []struct{ label, value string }{{"发起地址：", in.IP}, {"发起地区：", in.Region}, {"浏览器：", in.UserAgent}, {"网址：", in.Origin}} {
			if f.value != "" {
				lines = append(lines, f.label+f.value)
			}
		}
	}
	return lines
}

// ShownDigest is SM3 over u32 count, then u32 length and bytes of each line.
func ShownDigest(lines []string) []byte {
	buf := u32(uint32(len(lines)))
	for _, l := range lines {
		buf = append(append(buf, u32(uint32(len(l)))...), l...)
	}
	return H(buf)
}
