package life

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// reissueExpiry is how long a reissue's code may be used if nothing else is said.
// Whoever holds it gets the certificate and every encryption key behind it.
const reissueExpiry = 24 * time.Hour

// Reissue is what an operator authorises for somebody whose phone is lost.
type Reissue struct {
	// Serial number of the newest certificate of the lineage, either half.
	Serial string
	// Reason for which the signing certificates before are revoked: superseded
	// if zero, or keyCompromise, where somebody may have the old phone and its
	// password.
	Reason trust.Reason
	// Device is the id of the only phone that may use the code; any if empty.
	// With it a stolen code is worth nothing.
	Device string
	// NewEncryptionKey gives the lineage a new encryption key pair; the one
	// before becomes historic. Otherwise it continues.
	NewEncryptionKey bool
	// Expires is how long the code may be used; a day if zero.
	Expires time.Duration
}

// AuthoriseReissue makes a one-use code by which a new phone gets the
// certificate of a lost one: same subject and end, a new signing key, all
// encryption keys of the lineage. In the transaction that stores it every other
// signing certificate of the lineage is revoked and the old phone blocked.
//
// Errors: cert_revoked, cert_expired, conflict, issuance_conflict, lint_failed,
// malformed, not_found.
func (l *Life) AuthoriseReissue(ctx context.Context, actor audit.Actor, r Reissue) (*caapi.EnrolmentFile, error) {
	if r.Expires == 0 {
		r.Expires = reissueExpiry
	}
	switch r.Reason {
	case trust.Unspecified:
		r.Reason = trust.Superseded
	case trust.Superseded, trust.KeyCompromise:
	default:
		return nil, protocol.Errorf(protocol.CodeMalformed, "a reissue is for superseded or keyCompromise")
	}
	return l.authorise(ctx, actor, r.Serial, codeRow{operation: opReissue, reason: r.Reason, device: r.Device, rekey: r.NewEncryptionKey}, r.Expires)
}

// checkReissue: the code is all that a new phone has to show.
func checkReissue(request *caapi.EnrolRequest, code *codeRow) error {
	if code.device != "" && protocol.DeviceID(request.DeviceKey) != code.device {
		return protocol.Errorf(protocol.CodeForbidden, "the code is for another phone")
	}
	return nil
}

// retireDevice ends the phone from which a reissue takes the certificate: it
// gets no pass, and what helps it to open its keystore is to be destroyed. A
// certificate that is set up anew on the same phone retires nothing.
func (l *Life) retireDevice(ctx context.Context, tx *sql.Tx, r *Issuance) error {
	line, err := readLineage(ctx, tx, r.lineage)
	if err != nil || line == nil || line.device == "" || line.device == r.device {
		return err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO ca_destructions (issuance, lineage, device, account, state) VALUES ($1, $2, $3, $4, $5)`,
		r.ID, r.lineage, line.device, r.account, StatePending); err != nil {
		return fmt.Errorf("retire device: %w", err)
	}
	_, err = l.setDevice(ctx, tx, audit.ActorAuthority, line.device, deviceBlocked)
	return err
}

// history are the earlier encryption keys of a lineage for a new phone, each
// enveloped under its signing key, and the earlier certificates over all of
// them. Each release stands in the log.
func (l *Life) history(ctx context.Context, tx *sql.Tx, r *Issuance, signing *smx509.Certificate) ([]caapi.EncryptionKey, error) {
	if r.Operation != opReissue {
		return nil, nil
	}
	records, err := l.encryptionRecords(ctx, tx, r)
	if err != nil {
		return nil, err
	}
	var all []caapi.EncryptionKey
	for _, record := range records {
		key := caapi.EncryptionKey{Chains: record.chains}
		if record.id != r.keyRecord {
			if key.Enveloped, err = l.kmc.Envelope(ctx, tx, record.id, releaseReason(r.Operation), signing); err != nil {
				return nil, err
			}
		}
		all = append(all, key)
	}
	return all, nil
}

// encryptionRecord is a key record with the certificates over its key.
type encryptionRecord struct {
	id     string
	chains [][]protocol.Bytes
}

// maxHistory bounds the encryption certificates of a lineage that a reissue
// brings. Beyond it the oldest are left out; their keys are not.
const maxHistory = 60

// encryptionRecords are the encryption keys of a lineage with their earlier
// certificates, newest first.
func (l *Life) encryptionRecords(ctx context.Context, tx *sql.Tx, r *Issuance) ([]encryptionRecord, error) {
	rows, err := tx.QueryContext(ctx, `SELECT i.key_record, c.der, c.issuer FROM ca_certificates c JOIN ca_issuances i ON i.encrypt_serial = c.serial
		WHERE i.lineage = $1 AND i.id <> $2 ORDER BY c.not_before DESC, c.serial`, r.lineage, r.ID)
	if err != nil {
		return nil, fmt.Errorf("read encryption certificates: %w", err)
	}
	defer rows.Close()
	var all []encryptionRecord
	place := make(map[string]int)
	for total := 0; rows.Next(); total++ {
		var id, issuer string
		var der []byte
		if err := rows.Scan(&id, &der, &issuer); err != nil {
			return nil, fmt.Errorf("read encryption certificates: %w", err)
		}
		i, known := place[id]
		if !known {
			i = len(all)
			place[id], all = i, append(all, encryptionRecord{id: id})
		}
		if known && total >= maxHistory {
			continue
		}
		authority := l.status.Issuer(issuer)
		if authority == nil {
			return nil, fmt.Errorf("read encryption certificates: no authority %s", issuer)
		}
		all[i].chains = append(all[i].chains, append([]protocol.Bytes{der}, authority.Chain(l.status.Root())...))
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read encryption certificates: %w", err)
	}
	return all, nil
}
