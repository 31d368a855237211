package imports

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// sourceRules looks at one parsed Go file, given its slash-separated path below the module, and says what is wrong.
func sourceRules(path string, file *ast.File) []string {
	var wrong []string
	name := filepath.Base(path)
	isTest := strings.HasSuffix(name, "_test.go")
	switch strings.TrimSuffix(file.Name.Name, "_test") {
	case "util", "utils", "common", "helper", "helpers", "misc":
		wrong = append(wrong, "package "+file.Name.Name+": a name that says nothing about what belongs there")
	}
	imported := map[string]string{} // local name -> path
	for _, spec := range file.Imports {
		target, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		local := target[strings.LastIndex(target, "/")+1:]
		if spec.Name != nil {
			local = spec.Name.Name
		}
		imported[local] = target
		handler := strings.Contains(name, "handler") || strings.HasPrefix(name, "http")
		if strings.HasPrefix(target, strings.TrimSuffix(gin, "/...")) && !handler {
			wrong = append(wrong, "imports gin: its types stop at the files named *handler*.go and http*.go")
		}
	}
	for _, decl := range file.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			wrong = append(wrong, "func init: nothing happens by being imported")
		}
	}
	handed := !isTest && (strings.HasPrefix(path, "ca/audit/") || strings.HasPrefix(path, "ca/listing/") || strings.HasPrefix(path, "ca/status/"))
	ast.Inspect(file, func(node ast.Node) bool {
		selector, ok := node.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if on, ok := selector.X.(*ast.SelectorExpr); ok && handed && on.Sel.Name == "db" && (selector.Sel.Name == "Update" || selector.Sel.Name == "Exec") {
			wrong = append(wrong, "db."+selector.Sel.Name+": log, listing and status are handed the transaction in which they write")
		}
		pkg, ok := selector.X.(*ast.Ident)
		if !ok {
			return true
		}
		switch {
		case imported[pkg.Name] == "time" && selector.Sel.Name == "Sleep":
			wrong = append(wrong, "time.Sleep: wait for the event or move the injected clock")
		case isTest && strings.HasPrefix(selector.Sel.Name, "Skip") && (pkg.Name == "t" || pkg.Name == "b" || pkg.Name == "f"):
			wrong = append(wrong, pkg.Name+"."+selector.Sel.Name+": a suite whose tool is missing fails")
		}
		return true
	})
	return wrong
}

// foreignPath finds the folders of somebody's machine. The pattern is written so that it does not find itself.
var foreignPath = regexp.MustCompile(`(^|[^A-Za-z0-9_.])/(wor[k]|roo[t])/|[.]librar[y]/`)

// walk visits every file of the module that is not build output.
func walk(t *testing.T, visit func(path string, data []byte)) {
	t.Helper()
	base := root(t)
	seen := 0
	err := filepath.WalkDir(base, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			switch entry.Name() {
			case ".git", "bin", "dist", ".demo", "node_modules":
				return filepath.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() || entry.Name() == ".git" { // a file in a linked work tree
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		below, err := filepath.Rel(base, path)
		if err != nil {
			return err
		}
		seen++
		visit(filepath.ToSlash(below), data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen == 0 {
		t.Fatal("no file found")
	}
}

func TestSource(t *testing.T) {
	walk(t, func(path string, data []byte) {
		if !strings.HasSuffix(path, ".go") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, data, parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		for _, wrong := range sourceRules(path, file) {
			t.Errorf("%s: %s", path, wrong)
		}
	})
}

func TestNoForeignPaths(t *testing.T) {
	walk(t, func(path string, data []byte) {
		if bytes.IndexByte(data[:min(len(data), 8000)], 0) >= 0 {
			return // binary
		}
		for number, line := range strings.Split(string(data), "\n") {
			if found := foreignPath.FindString(line); found != "" {
				t.Errorf("%s:%d: %q is a folder of one machine", path, number+1, found)
			}
		}
	})
}

// The rules above must be able to fail.
func TestSourceRulesFire(t *testing.T) {
	for name, source := range map[string]struct{ path, text string }{
		"sleep":         {"relay/a.go", `package relay; import "time"; func f() { time.Sleep(1) }`},
		"renamed sleep": {"relay/a.go", `package relay; import clock "time"; func f() { clock.Sleep(1) }`},
		"init":          {"relay/a.go", `package relay; func init() {}`},
		"package name":  {"relay/util/a.go", `package util`},
		"gin":           {"relay/store.go", `package relay; import "github.com/gin-gonic/gin"; var _ gin.Context`},
		"transaction":   {"ca/status/a.go", `package status; func (s *Status) f() { s.db.Update() }`},
		"skip":          {"relay/a_test.go", `package relay; func f(t T) { t.Skip() }`},
	} {
		file, err := parser.ParseFile(token.NewFileSet(), source.path, source.text, 0)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if wrong := sourceRules(source.path, file); len(wrong) != 1 {
			t.Errorf("%s: found %q", name, wrong)
		}
	}
	text := `package relay; import ("time"; "github.com/gin-gonic/gin"); func Init(c *gin.Context) { time.Now() }`
	file, err := parser.ParseFile(token.NewFileSet(), "relay/handler.go", text, 0)
	if err != nil {
		t.Fatal(err)
	}
	if wrong := sourceRules("relay/handler.go", file); len(wrong) != 0 {
		t.Errorf("a sound file is refused: %q", wrong)
	}
	for text, foreign := range map[string]bool{
		"see /wor" + "k/main/x":  true,
		"\"/roo" + "t/.cache\"":  true,
		"GET /v1/framework/cid":  false,
		"https://h.example/work": false,
	} {
		if (foreignPath.FindString(text) != "") != foreign {
			t.Errorf("%q: want %v", text, foreign)
		}
	}
}
