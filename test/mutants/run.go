package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// row is one rule that a test has to notice the removal of.
type row struct {
	Rule string // what is removed, in one line
	File string // path in the repository
	Edit []edit // removes the rule; each text stands once in the file
	Test string // "./package TestName" or "./package TestName/subtest"
}

// edit replaces a text that stands exactly once in a file.
type edit struct{ Old, New string }

// mutate applies the edits of a row.
func (r *row) mutate(source string) (string, error) {
	if len(r.Edit) == 0 {
		return "", errors.New("the row changes nothing")
	}
	for _, e := range r.Edit {
		if n := strings.Count(source, e.Old); n != 1 || e.Old == "" {
			return "", fmt.Errorf("old text occurs %d times in %s, want once: %q", n, r.File, e.Old)
		}
		source = strings.Replace(source, e.Old, e.New, 1)
	}
	return source, nil
}

// target splits Test into what go test takes: the package, the pattern for -run and
// the test's full name.
func (r *row) target() (pkg, pattern, name string, err error) {
	pkg, name, found := strings.Cut(r.Test, " ")
	if !found || !strings.HasPrefix(pkg, "./") || !strings.HasPrefix(name, "Test") {
		return "", "", "", fmt.Errorf("test %q: want \"./package TestName\"", r.Test)
	}
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		parts = append(parts, "^"+regexp.QuoteMeta(part)+"$")
	}
	return pkg, strings.Join(parts, "/"), strings.ReplaceAll(name, " ", "_"), nil
}

// testTime ends a test that hangs without its rule: a hang is not an assertion.
const testTime = "90s"

// runner runs go in a tree.
type runner struct {
	root    string // of the repository
	scratch string // for mutated files
	goTool  string
}

// check judges one row; nil means that the test notices.
func (r *runner) check(ctx context.Context, row *row) error {
	pkg, pattern, name, err := row.target()
	if err != nil {
		return err
	}
	path := filepath.Join(r.root, filepath.FromSlash(row.File))
	source, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("file %s not found", row.File)
	}
	if err != nil {
		return err
	}
	mutated, err := row.mutate(string(source))
	if err != nil {
		return err
	}
	overlay, err := r.overlay(path, mutated)
	if err != nil {
		return err
	}
	clean, err := r.test(ctx, pkg, pattern, name, "")
	switch {
	case err != nil:
		return err
	case clean.verdict != passed:
		return fmt.Errorf("without the mutation: %s\n%s", clean.verdict, clean.output)
	}
	if out, err := r.command(ctx, "build", "-overlay", overlay, "./"+filepath.ToSlash(filepath.Dir(row.File))); err != nil {
		return fmt.Errorf("the mutated file does not compile: %w\n%s", err, out)
	}
	broken, err := r.test(ctx, pkg, pattern, name, overlay)
	switch {
	case err != nil:
		return err
	case broken.verdict == passed:
		return fmt.Errorf("nobody noticed: %s is green without the rule", row.Test)
	case broken.verdict != failed:
		return fmt.Errorf("with the mutation: %s, want an assertion that fails\n%s", broken.verdict, broken.output)
	}
	return nil
}

// overlay writes the mutated file and the map that go build -overlay takes.
func (r *runner) overlay(path, mutated string) (string, error) {
	file, list := filepath.Join(r.scratch, "mutated.go"), filepath.Join(r.scratch, "overlay.json")
	raw, err := json.Marshal(map[string]map[string]string{"Replace": {path: file}})
	if err != nil {
		return "", err
	}
	return list, errors.Join(os.WriteFile(file, []byte(mutated), 0o600), os.WriteFile(list, raw, 0o600))
}

func (r *runner) command(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, r.goTool, args...)
	cmd.Dir = r.root
	return cmd.CombinedOutput()
}

// verdict is how a test ended.
type verdict string

const (
	passed   verdict = "the test passes"
	failed   verdict = "the test fails by an assertion"
	absent   verdict = "there is no such test"
	panicked verdict = "the test panics or hangs"
	unbuilt  verdict = "the test does not build"
)

type outcome struct {
	verdict verdict
	output  string // the end of it
}

func (r *runner) test(ctx context.Context, pkg, pattern, name, overlay string) (outcome, error) {
	args := []string{"test", "-json", "-timeout", testTime, "-run", pattern}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	out, err := r.command(ctx, append(args, pkg)...)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return outcome{}, fmt.Errorf("run go test: %w", err)
	}
	return judge(out, name), ctx.Err()
}

// event is a line of go test -json.
type event struct{ Action, Test, Output string }

// judge reads the output of go test -json for one test.
func judge(raw []byte, name string) outcome {
	var text strings.Builder
	var ended string
	crashed, built := false, true
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			text.WriteString(lines.Text() + "\n")
			continue
		}
		text.WriteString(e.Output)
		switch {
		case e.Action == "build-fail":
			built = false
		case e.Test == name && (e.Action == "pass" || e.Action == "fail" || e.Action == "skip"):
			ended = e.Action
		case strings.HasPrefix(e.Output, "panic: "), strings.HasPrefix(e.Output, "fatal error: "):
			crashed = true
		}
	}
	o := outcome{verdict: absent, output: tail(text.String())}
	switch {
	case !built:
		o.verdict = unbuilt
	case crashed:
		o.verdict = panicked
	case ended == "pass":
		o.verdict = passed
	case ended == "fail":
		o.verdict = failed
	}
	return o
}

// tail is what fits a report.
func tail(text string) string {
	const most = 2000
	return text[max(0, len(text)-most):]
}

// changed lists the files that differ from the merge base of HEAD and base, those that are not committed included.
func (r *runner) changed(ctx context.Context, base string) ([]string, error) {
	git := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = r.root
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("git %s: %w", strings.Join(args, " "), err)
		}
		return strings.TrimSpace(string(out)), nil
	}
	if base == "" {
		base = "HEAD~1"
		if _, err := git("rev-parse", "--verify", "-q", "origin/main"); err == nil {
			base = "origin/main"
		}
	}
	from, err := git("merge-base", "HEAD", base)
	if err != nil {
		return nil, err
	}
	if head, err := git("rev-parse", "HEAD"); err != nil {
		return nil, err
	} else if from == head { // a clone of what has landed: what landed last
		if from, err = git("rev-list", "-1", fmt.Sprintf("--skip=%d", landing), "HEAD"); err != nil {
			return nil, err
		}
	}
	out, err := git("diff", "--name-only", from)
	return strings.Fields(out), err
}

// tableFile is where the rows stand.
const tableFile = "test/mutants/table.go"

// landing is how many commits count as changed where there is no branch that HEAD
// could be compared with.
const landing = 10

// choose picks the rows whose file, or whose test's folder, is among the changed
// ones; all of them where the table changed.
func choose(all []row, changed []string) []row {
	if slices.ContainsFunc(changed, func(name string) bool { return name == tableFile }) {
		return all
	}
	var out []row
	for _, r := range all {
		pkg, _, _ := strings.Cut(strings.TrimPrefix(r.Test, "./"), " ")
		if slices.ContainsFunc(changed, func(name string) bool {
			return name == r.File || strings.HasSuffix(name, "_test.go") && filepath.ToSlash(filepath.Dir(name)) == pkg
		}) {
			out = append(out, r)
		}
	}
	return out
}
