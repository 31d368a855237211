package trust_test

import (
	"testing"

	"github.com/bidseal/bidseal/trust"
)

func TestCheckDigits(t *testing.T) {
	for code, want := range map[string]bool{
		"91350100M000100Y43": true, // the example of GB 32100
		"91350100M000100Y44": false, "91350100M000100Y4": false, "9135010OM000100Y43": false, "": false,
	} {
		if trust.CreditCodeChecks(code) != want {
			t.Errorf("credit code %q", code)
		}
	}
	for number, want := range map[string]bool{
		"11010519491231002X": true, // the example of GB 11643
		"440524188001010014": true, // the second example of GB 11643
		"110105194912310021": false, "11010519490231002X": false, "11010519491231002x": false, "1101051949123100": false, "": false,
	} {
		if trust.IsIdentityNumber(number) != want {
			t.Errorf("identity number %q", number)
		}
	}
}

func TestDocumentationIdentifiers(t *testing.T) {
	oids := trust.DocumentationOIDs()
	if got := oids.Documentation(); len(got) != 8 {
		t.Errorf("defaults: %v", got)
	}
	oids.Lineage = []int{1, 3, 6, 1, 4, 1, 99999, 1}
	if got := oids.Documentation(); len(got) != 7 {
		t.Errorf("one of them set: %v", got)
	}
}
