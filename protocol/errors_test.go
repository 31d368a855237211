package protocol_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/protocol"
)

// errorTable is the catalogue as people read it.
func errorTable() []byte {
	var b bytes.Buffer
	b.WriteString("# Error catalogue\n\nGenerated from `catalogue.go` by `go test ./protocol -run TestErrorTable -update`. A code never changes its meaning and is\n" +
		"never used again. `SPEC.md`, section 18, says how a code travels.\n\n| code | status | retry | side | what happened | what to do | 说明 | 怎么办 |\n|---|---|---|---|---|---|---|---|\n")
	for _, code := range protocol.Codes() {
		e := protocol.Lookup(code)
		retry := "no"
		if e.Retryable {
			retry = "yes"
		}
		fmt.Fprintf(&b, "| `%s` | %d | %s | %s | %s | %s | %s | %s |\n", code, e.Status, retry, e.Side, e.Title, e.Action, e.TitleZH, e.ActionZH)
	}
	return b.Bytes()
}

func TestErrorTable(t *testing.T) {
	if *update {
		noErr(t, os.WriteFile("ERRORS.md", errorTable(), 0o644))
	}
	if got := must(os.ReadFile("ERRORS.md"))(t); !bytes.Equal(got, errorTable()) {
		t.Fatal("ERRORS.md is stale: go test ./protocol -run TestErrorTable -update")
	}
}

// TestCatalogueIsWhole holds every entry to what users and programs need of it.
func TestCatalogueIsWhole(t *testing.T) {
	sides := []protocol.Side{protocol.SideBidder, protocol.SidePlatform, protocol.SideOperator, protocol.SideNetwork}
	codes := protocol.Codes()
	if len(codes) < 70 || !slices.IsSorted(codes) {
		t.Fatalf("%d codes, sorted: %v", len(codes), slices.IsSorted(codes))
	}
	for _, code := range codes {
		e := protocol.Lookup(code)
		for _, text := range []string{e.Title, e.TitleZH, e.Action, e.ActionZH} {
			if text == "" || strings.ContainsAny(text, "|\n") {
				t.Errorf("%s: %q is no text for people", code, text)
			}
		}
		if e.Status < 400 || e.Status > 599 || !slices.Contains(sides, e.Side) {
			t.Errorf("%s: status %d, side %q", code, e.Status, e.Side)
		}
		for _, c := range string(code) {
			if (c < 'a' || c > 'z') && c != '_' {
				t.Errorf("%s is not of a-z and _", code)
			}
		}
	}
	if protocol.Lookup("no such code") != protocol.Lookup(protocol.CodeInternal) {
		t.Error("an unknown code does not read as internal")
	}
}

func TestProblems(t *testing.T) {
	winner := &protocol.ChallengeState{State: protocol.StateFulfilled}
	own := &protocol.Error{Code: protocol.CodeAlreadyEnded, Detail: "a \xff b", ServerTime: 7, Winner: winner, RetryAfter: 3}
	p := protocol.ProblemOf(fmt.Errorf("while answering: %w", own))
	if p.Status != 409 || p.Type != "urn:bidseal:error:already_ended" || p.Detail != "a \uFFFD b" || p.Winner != winner || p.RetryAfter != 3 {
		t.Fatalf("%+v", p)
	}
	raw := must(protocol.EncodeJSON(p))(t)
	var back protocol.Problem
	noErr(t, protocol.DecodeJSON(raw, &back))
	if e := back.Err(); !errors.Is(e, own) || e.Winner.State != protocol.StateFulfilled || e.ServerTime != 7 {
		t.Fatalf("%+v", e)
	}
	secret := protocol.ProblemOf(errors.New("dial tcp 10.0.0.7: refused"))
	if secret.Code != protocol.CodeInternal || secret.Detail != "" || secret.Status != 500 {
		t.Fatalf("%+v", secret)
	}
	if p := protocol.ProblemOf(protocol.Errorf(protocol.CodeInternal, "password of the database")); p.Detail != "" {
		t.Fatalf("%+v", p)
	}
	if e := (protocol.Problem{Code: "invented"}).Err(); e.Code != protocol.CodeInternal {
		t.Fatalf("%+v", e)
	}
	if protocol.CodeOf(nil) != "" || protocol.CodeOf(errors.New("x")) != protocol.CodeInternal || own.Error() != "already_ended: a \xff b" {
		t.Fatal("codes of errors")
	}
	if (&protocol.Error{Code: protocol.CodeExpired}).Error() != "expired" {
		t.Fatal("an error without detail")
	}
}
