package ca

import (
	"context"
	"crypto"
	"database/sql"
	"errors"
	"io"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/internal/sqldb"
)

// VerifyExport verifies an exported log with nothing but the audit key; see
// audit.VerifyExport.
func VerifyExport(r io.Reader, public crypto.PublicKey, kept ...audit.Head) (*audit.Report, error) {
	return audit.VerifyExport(r, public, folder.LogChecks(), kept)
}

// VerifyDatabase verifies a copy of the authority's database, a backup for
// example, with nothing but the audit key: a file, or a PostgreSQL database by its
// URL (see Database). See audit.Log.Verify.
func VerifyDatabase(ctx context.Context, location string, public crypto.PublicKey, kept ...audit.Head) (report *audit.Report, err error) {
	db, err := sqldb.Open(ctx, sqldb.Source{Location: location, Component: folder.Component})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.View(ctx, func(tx *sql.Tx) error {
		report, err = audit.VerifyRows(ctx, tx, public, folder.LogChecks(), kept)
		return err
	})
	return report, err
}
