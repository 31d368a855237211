package folder_test

import (
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/folder"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestRecordCannotBeForged: a name that breaks lines stays on its line.
func TestRecordCannotBeForged(t *testing.T) {
	text := folder.CeremonyRecordText("x", "title", time.Unix(0, 0), "me\nSignature 1.2.3 AAAA", []string{"you\u202e"})
	if strings.Count(text, "\n") != 5 || strings.Contains(text, "\u202e") {
		t.Errorf("%q", text)
	}
}
