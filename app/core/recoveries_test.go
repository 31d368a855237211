package core_test

import (
	"testing"

	"github.com/bidseal/bidseal/ca/caapi"
)

// TestRecoveries: the phone proves itself and shows what the authority says.
func TestRecoveries(t *testing.T) {
	w := enrolled(t)
	w.authority.recoveries = []caapi.KeyRecovery{{ID: "0a", Lineage: "0b", Reason: "recovery", To: "0c", At: 7}}
	got, err := w.phone.Recoveries(t.Context())
	must(t, err)
	if len(got) != 1 || got[0] != w.authority.recoveries[0] {
		t.Errorf("%+v", got)
	}
}
