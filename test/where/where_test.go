// Package where holds docs/where.md against the code: whatever it says stands in a file is declared there, once, and
// nowhere else.
package where

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// answer is one line of the document: **question** `file: identifier`
type answer struct{ question, file, identifier string }

var lineForm = regexp.MustCompile("^- (.+\\?) `([^`: ]+): ([A-Za-z0-9_.]+)`$")

// least is how many questions the document has to have.
const least = 20

func answers(t *testing.T) []answer {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "where.md"))
	if err != nil {
		t.Fatal(err)
	}
	var out []answer
	for line := range strings.SplitSeq(string(raw), "\n") {
		if !strings.HasPrefix(line, "- ") {
			continue
		}
		parts := lineForm.FindStringSubmatch(line)
		if parts == nil {
			t.Errorf("a line of another form: %s", line)
			continue
		}
		out = append(out, answer{parts[1], parts[2], parts[3]})
	}
	if len(out) < least {
		t.Fatalf("%d questions, want %d", len(out), least)
	}
	return out
}

// declarations are the names that a file declares at the top: constants, variables, types, functions, methods as
// Type.Method, and the fields of structs as Type.Field.
func declarations(file *ast.File) []string {
	var names []string
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			name := d.Name.Name
			if d.Recv != nil && len(d.Recv.List) == 1 {
				name = typeName(d.Recv.List[0].Type) + "." + name
			}
			names = append(names, name)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.ValueSpec:
					for _, name := range s.Names {
						names = append(names, name.Name)
					}
				case *ast.TypeSpec:
					names = append(names, s.Name.Name)
					structure, ok := s.Type.(*ast.StructType)
					if !ok {
						continue
					}
					for _, field := range structure.Fields.List {
						for _, name := range field.Names {
							names = append(names, s.Name.Name+"."+name.Name)
						}
					}
				}
			}
		}
	}
	return names
}

func typeName(expr ast.Expr) string {
	switch e := expr.(type) {
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.IndexExpr:
		return typeName(e.X)
	case *ast.IndexListExpr:
		return typeName(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// everything maps each declared name of the product to the files that declare it. Tests are left out.
func everything(t *testing.T) map[string][]string {
	t.Helper()
	base := filepath.Join("..", "..")
	found := map[string][]string{}
	err := filepath.WalkDir(base, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			switch entry.Name() {
			case ".git", "bin", "node_modules", ".demo":
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		below, err := filepath.Rel(base, path)
		if err != nil {
			return err
		}
		for _, name := range declarations(file) {
			found[name] = append(found[name], filepath.ToSlash(below))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestEverythingStandsWhereTheDocumentSays(t *testing.T) {
	all := everything(t)
	for _, a := range answers(t) {
		switch files := all[a.identifier]; {
		case len(files) == 0:
			t.Errorf("%s %s is declared nowhere", a.question, a.identifier)
		case len(files) > 1:
			t.Errorf("%s %s is declared %d times: %s", a.question, a.identifier, len(files), strings.Join(files, ", "))
		case files[0] != a.file:
			t.Errorf("%s %s stands in %s, the document says %s", a.question, a.identifier, files[0], a.file)
		}
	}
}

func TestDeclarations(t *testing.T) {
	source := `package p
const a, b = 1, 2
var c int
type T struct{ d, e int }
func f() {}
func (*T) g() {}
func (l *L[K]) h() { const inner = 1 }`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(declarations(file), " "), "a b c T T.d T.e f T.g L.h"; got != want {
		t.Errorf("declarations %q, want %q", got, want)
	}
}
