package demoplatform

import (
	"strings"
	"unicode/utf8"
)

// maskName keeps the first character of a name: 张*, 欧***. The length is kept, as people know it from bank letters.
func maskName(name string) string {
	first, size := utf8.DecodeRuneInString(name)
	if size == 0 {
		return ""
	}
	return string(first) + strings.Repeat("*", min(3, max(1, utf8.RuneCountInString(name[size:]))))
}

// inFours writes a serial, digest or code in groups of four, as people read them aloud.
func inFours(text string) string {
	var out strings.Builder
	for i, r := range []rune(text) {
		if i > 0 && i%4 == 0 {
			out.WriteByte(' ')
		}
		out.WriteRune(r)
	}
	return out.String()
}
