package ca_test

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// owners are the rooms and leaves that write each table: one a table.
func owners() map[string]string {
	return map[string]string{
		"ca_audit":        "audit",
		"ca_tree_leaves":  "listing",
		"ca_tree_nodes":   "listing",
		"ca_certificates": "status",
		"ca_counters":     "status",
		"ca_crls":         "status",
		"ca_issuances":    "life",
		"ca_lineages":     "life",
		"ca_codes":        "life",
		"ca_devices":      "life",
		"ca_destructions": "life",
		"ca_releases":     "life",
		"ca_operators":    "registry",
		"ca_nonces":       "registry",
		"ca_applications": "registry",
		"ca_recoveries":   "registry",
		"ca_platforms":    "registry",
		"ca_issuers":      "folder",
		"kmc_keys":        "kmc",
	}
}

// written are the writes of all tests of this package.
var written writers

// writers notes which package under ca writes which table: the innermost one on
// the stack of the write itself, so that SQL which is put together counts as much
// as a literal.
type writers struct {
	mu   sync.Mutex
	seen map[string]map[string]bool
}

// note notes a write of its caller's stack. Tests that alter the database by
// themselves and migrations do not count.
func (w *writers) note(table string) {
	stack := make([]uintptr, 256)
	frames := runtime.CallersFrames(stack[:runtime.Callers(2, stack)])
	for more := true; more; {
		var frame runtime.Frame
		frame, more = frames.Next()
		if strings.Contains(frame.Function, "/sqldb.(*DB).Migrate") {
			return
		}
		below, ours := strings.CutPrefix(frame.Function, "github.com/bidseal/bidseal/ca/")
		if !ours {
			if strings.HasPrefix(frame.Function, "github.com/bidseal/bidseal/ca_test.") && !strings.Contains(frame.Function, "watchConnection") {
				return
			}
			continue
		}
		room, _, _ := strings.Cut(below, ".")
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.seen == nil {
			w.seen = make(map[string]map[string]bool)
		}
		if w.seen[table] == nil {
			w.seen[table] = make(map[string]bool)
		}
		w.seen[table][room] = true
		return
	}
}

// wrong lists the tables that others than their owner wrote, and, where all tests
// ran, those that nobody did.
func (w *writers) wrong(all bool) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []string
	for table, rooms := range w.seen {
		owner, known := owners()[table]
		if !known && !needsAudit(table) {
			continue
		}
		for room := range rooms {
			if room != owner {
				found = append(found, fmt.Sprintf("table %s is written by ca/%s, its owner is %q", table, room, owner))
			}
		}
	}
	for table := range owners() {
		if all && len(w.seen[table]) == 0 {
			found = append(found, fmt.Sprintf("no test wrote table %s", table))
		}
	}
	slices.Sort(found)
	return found
}

// TestWritersAreSeen: a write is attributed to the room that makes it, and one by
// a second room is named.
func TestWritersAreSeen(t *testing.T) {
	f := newFixture(t)
	f.enrol(t)
	written.mu.Lock()
	seen := slices.Collect(maps.Keys(written.seen["ca_certificates"]))
	written.mu.Unlock()
	if watchesAll && !slices.Equal(seen, []string{"status"}) {
		t.Errorf("ca_certificates is written by %q", seen)
	}
	two := writers{seen: map[string]map[string]bool{"ca_codes": {"life": true, "registry": true}, "sqlite_sequence": {"life": true}}}
	if wrong := two.wrong(false); len(wrong) != 1 || !strings.Contains(wrong[0], "ca/registry") {
		t.Errorf("%q", wrong)
	}
}
