package imports

import (
	"bytes"
	"path"
	"strings"
	"testing"
)

// A package that has outgrown these has more than one room in it. Tests are not counted.
const (
	maxFiles = 32
	maxLines = 5000
)

func TestPackagesStaySmall(t *testing.T) {
	files, lines := map[string]int{}, map[string]int{}
	walk(t, func(name string, data []byte) {
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			files[path.Dir(name)]++
			lines[path.Dir(name)] += bytes.Count(data, []byte("\n"))
		}
	})
	for dir := range files {
		if files[dir] > maxFiles || lines[dir] > maxLines {
			t.Errorf("%s has %d files and %d lines, at most %d and %d are readable", dir, files[dir], lines[dir], maxFiles, maxLines)
		}
	}
}
