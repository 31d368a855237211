package folder

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// storeIssuing makes an issuing authority known under its name; from then on it
// is the current one.
func storeIssuing(ctx context.Context, tx kmc.Querier, name string, cert *smx509.Certificate) error {
	var last int64
	if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(position), 0) FROM ca_issuers`).Scan(&last); err != nil {
		return fmt.Errorf("store issuing authority: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO ca_issuers (name, position, serial) VALUES ($1, $2, $3)`,
		name, last+1, trust.SerialHex(cert.SerialNumber)); err != nil {
		return fmt.Errorf("store issuing authority: %w", err)
	}
	return nil
}

// namedCertificate is an issuing authority as the database knows it.
type namedCertificate struct {
	name string
	cert *smx509.Certificate
}

// readIssuing lists the issuing authorities, oldest first.
func readIssuing(ctx context.Context, q *sql.DB) ([]namedCertificate, error) {
	rows, err := q.QueryContext(ctx, `SELECT i.name, c.der FROM ca_issuers i JOIN ca_certificates c ON c.serial = i.serial ORDER BY i.position`)
	if err != nil {
		return nil, fmt.Errorf("read issuing authorities: %w", err)
	}
	defer rows.Close()
	var all []namedCertificate
	for rows.Next() {
		var n namedCertificate
		var der []byte
		if err := rows.Scan(&n.name, &der); err != nil {
			return nil, fmt.Errorf("read issuing authorities: %w", err)
		}
		if n.cert, err = trust.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("read issuing authorities: %w", err)
		}
		all = append(all, n)
	}
	return all, rows.Err()
}

// readIssuers reads the issuing authorities and their keys.
func (o *Opened) readIssuers(ctx context.Context, ring *keyring) error {
	known, err := readIssuing(ctx, o.DB.Reader())
	if err != nil {
		return err
	}
	if len(known) == 0 {
		return errors.New("the database holds no issuing authority")
	}
	for _, n := range known {
		key, err := ring.readSigner(ctx, n.name)
		if err != nil {
			return err
		}
		config, err := o.Config.issuanceConfig(n.name)
		if err != nil {
			return err
		}
		issuer, err := issuance.NewIssuer(n.cert, key, config)
		if err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
		o.issuers = append(o.issuers, openedIssuer{n.name, key, issuer})
	}
	return nil
}
