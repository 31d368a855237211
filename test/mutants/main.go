// Command mutants removes one security rule after the other and looks whether a
// test notices. The rules stand in table.go; whoever adds a rule adds a row.
//
//	go run ./test/mutants              rows whose file or whose test changed since MUTANTS_BASE
//	go run ./test/mutants -all         every row
//	go run ./test/mutants -rule kem    rows whose rule contains the text
//
// MUTANTS_BASE is a commit; without it the merge base with origin/main counts,
// without such a branch the commit before HEAD, and in a fresh clone, where
// origin/main is HEAD, the ten commits before. A row holds when its texts stand
// exactly once in their file, the mutated package compiles, and its test is green
// without the mutation and fails by an assertion with it: not by a panic, a timeout
// or a compiler's error.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
)

func main() {
	all := flag.Bool("all", false, "check every row")
	rule := flag.String("rule", "", "check the rows whose rule contains this text")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *all, *rule); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, all bool, rule string) error {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		return fmt.Errorf("run it at the top of the repository: %w", err)
	}
	scratch, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	r := &runner{root: root, scratch: scratch, goTool: "go"}
	rows := table()
	switch {
	case rule != "":
		var found []row
		for _, row := range rows {
			if strings.Contains(row.Rule, rule) {
				found = append(found, row)
			}
		}
		rows = found
	case !all:
		changed, err := r.changed(ctx, os.Getenv("MUTANTS_BASE"))
		if err != nil {
			return err
		}
		rows = choose(rows, changed)
	}
	bad := 0
	for i := range rows {
		if err := r.check(ctx, &rows[i]); err != nil {
			bad++
			fmt.Printf("FAIL  %s\n      %s: %v\n", rows[i].Rule, rows[i].File, err)
			continue
		}
		fmt.Printf("ok    %s\n", rows[i].Rule)
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d rules are not under guard", bad, len(rows))
	}
	fmt.Printf("%d rules are under guard\n", len(rows))
	return nil
}
