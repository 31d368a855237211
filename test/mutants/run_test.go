package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tree is a module of one package with one rule and tests of different worth.
func tree(t *testing.T) *runner {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":         "module example.org/tree\n\ngo 1.26\n",
		"rule/rule.go":   "package rule\n\n// Small refuses more than nine.\nfunc Small(n int) bool { return n < 10 }\n",
		"rule/r_test.go": "package rule\n\nimport \"testing\"\n\nfunc TestNotices(t *testing.T) {\n\tif Small(10) {\n\t\tt.Error(\"ten\")\n\t}\n}\n\nfunc TestSleeps(t *testing.T) { Small(3) }\n\nfunc TestPanics(t *testing.T) {\n\tif Small(10) {\n\t\tpanic(\"ten\")\n\t}\n}\n\nfunc TestIsRed(t *testing.T) { t.Error(\"always\") }\n",
	} {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &runner{root: root, scratch: t.TempDir(), goTool: "go"}
}

// TestCheck: a row holds only where its test fails by an assertion.
func TestCheck(t *testing.T) {
	r := tree(t)
	remove := []edit{{"n < 10", "n < 1000"}}
	for _, c := range []struct {
		row  row
		want string // part of the error; empty for none
	}{
		{row{"holds", "rule/rule.go", remove, "./rule TestNotices"}, ""},
		{row{"unnoticed", "rule/rule.go", remove, "./rule TestSleeps"}, "nobody noticed"},
		{row{"panic", "rule/rule.go", remove, "./rule TestPanics"}, "panics or hangs"},
		{row{"red before", "rule/rule.go", remove, "./rule TestIsRed"}, "without the mutation: the test fails"},
		{row{"no test", "rule/rule.go", remove, "./rule TestNobodyWrote"}, "no such test"},
		{row{"moved file", "old/rule.go", remove, "./rule TestNotices"}, "file old/rule.go not found"},
		{row{"moved text", "rule/rule.go", []edit{{"n < 11", "true"}}, "./rule TestNotices"}, "old text occurs 0 times"},
		{row{"text twice", "rule/rule.go", []edit{{"rule", "rules"}, {"n", "m"}}, "./rule TestNotices"}, "times in rule/rule.go, want once"},
		{row{"no program", "rule/rule.go", []edit{{"n < 10", "n <"}}, "./rule TestNotices"}, "does not compile"},
		{row{"no edit", "rule/rule.go", nil, "./rule TestNotices"}, "changes nothing"},
	} {
		err := r.check(context.Background(), &c.row)
		switch {
		case err == nil && c.want != "":
			t.Errorf("%s: holds, want %q", c.row.Rule, c.want)
		case err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.row.Rule, err, c.want)
		}
	}
}

// TestChoose: a change of a file or of its test's folder brings its rows.
func TestChoose(t *testing.T) {
	all := []row{{Rule: "a", File: "x/a.go", Test: "./x TestA"}, {Rule: "b", File: "y/b.go", Test: "./x/deep TestB"}}
	for _, c := range []struct {
		changed []string
		want    []string
	}{
		{[]string{"x/a.go"}, []string{"a"}},
		{[]string{"x/deep/b_test.go"}, []string{"b"}},
		{[]string{"x/other.go", "README.md"}, nil},
		{[]string{"test/mutants/table.go"}, []string{"a", "b"}},
	} {
		var got []string
		for _, r := range choose(all, c.changed) {
			got = append(got, r.Rule)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v: rows %v, want %v", c.changed, got, c.want)
		}
	}
}

// TestRowsAreWhole: every row names what the runner needs, and no two share a name.
func TestRowsAreWhole(t *testing.T) {
	seen := make(map[string]bool)
	for _, r := range table() {
		if _, _, _, err := r.target(); err != nil || r.Rule == "" || len(r.Edit) == 0 || seen[r.Rule] {
			t.Errorf("row %q: %v", r.Rule, err)
		}
		seen[r.Rule] = true
	}
}
