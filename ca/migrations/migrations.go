// Package migrations holds the schema of an authority's database, one series for
// all of its rooms.
package migrations

import (
	"embed"
	"io/fs"
)

//go:embed *.sql
var files embed.FS

// Files of the series, by name.
func Files() fs.FS { return files }
