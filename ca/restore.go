package ca

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// ErrOlder: a backup is older than a state of the authority that is known.
var ErrOlder = errors.New("the backup is older than a state that is known")

// Restoration brings an authority back from a backup.
type Restoration struct {
	// File is the backup, under BackupPassphrase.
	File             string
	BackupPassphrase []byte
	// Dir is the folder to be made; it must not exist or be empty.
	Dir string
	// Kept are heads of the audit log that were kept elsewhere. A backup that is
	// older than one of them is refused, unless AcceptLoss.
	Kept       []Head
	AcceptLoss bool
	// Lists are published revocation lists of the authority's: revocations that
	// are on them and not in the backup are made again.
	Lists [][]byte
	// Options to open the authority with.
	Options Options
}

// RestoreReport says what a restoration found and did.
type RestoreReport struct {
	Manifest BackupManifest `json:"manifest"`
	Log      LogReport      `json:"log"`
	// Lost are the entries of the audit log that a kept head shows and the backup
	// lacks; -1 if no head was given, so that nothing is known.
	Lost int64 `json:"lost"`
	// CodesVoided is how many open enrolment codes were made void.
	CodesVoided int `json:"codes_voided"`
	// Revoked are certificates that were revoked again from the lists, Unknown
	// serial numbers on them of which the backup knows nothing.
	Revoked []string `json:"revoked,omitempty"`
	Unknown []string `json:"unknown,omitempty"`
}

// Restore makes the folder of an authority from a backup. The folder appears
// under its name only when the manifest, the audit log and every row under it
// were found good. After that
//
//   - every open enrolment code is withdrawn, and every approval without a code:
//     it may have been used since the backup;
//   - new revocation lists are signed at the next question; their numbers follow
//     the clock and so stand above those of lists that were lost, which is why a
//     clock before the backup's is refused;
//   - timestamp serial numbers begin a new block with its own random bytes.
//
// Certificates issued after the backup are unknown to the restored authority:
// its OCSP calls them unknown and its lists cannot revoke them.
func Restore(ctx context.Context, r Restoration) (report *RestoreReport, err error) {
	if entries, err := os.ReadDir(r.Dir); err == nil && len(entries) > 0 {
		return nil, fmt.Errorf("%s is not empty", r.Dir)
	}
	stage := filepath.Clean(r.Dir) + ".restore"
	if err := os.RemoveAll(stage); err != nil { // of a restoration that was broken off
		return nil, fmt.Errorf("restore: %w", err)
	}
	if err := os.MkdirAll(stage, 0o700); err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	if report, err = r.perform(ctx, stage); err != nil {
		return nil, errors.Join(fmt.Errorf("restore: %w", err), os.RemoveAll(stage))
	}
	if err := os.Remove(r.Dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("restore: %w", err)
	}
	if err := os.Rename(stage, r.Dir); err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	return report, nil
}

func (r *Restoration) perform(ctx context.Context, stage string) (report *RestoreReport, err error) {
	file, err := os.Open(filepath.Clean(r.File))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	manifest, err := extractBackup(file, r.BackupPassphrase, stage)
	if err != nil {
		return nil, err
	}
	if r.Options.Now == nil || r.Options.Now().Before(time.UnixMilli(manifest.Created)) {
		return nil, fmt.Errorf("the clock stands before the backup of %s", time.UnixMilli(manifest.Created).UTC().Format(time.RFC3339))
	}
	a, err := Open(ctx, stage, r.Options)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	report = &RestoreReport{Manifest: *manifest}
	if err := r.verify(ctx, a, report); err != nil {
		return nil, err
	}
	return report, r.settle(ctx, a, report)
}

// verify holds the restored state against itself, the manifest's head and the
// heads that were kept.
func (r *Restoration) verify(ctx context.Context, a *Authority, report *RestoreReport) error {
	if root := trust.Digest(a.root); fmt.Sprintf("%x", root) != report.Manifest.Root {
		return fmt.Errorf("the database's root is not the manifest's: %w", ErrBackup)
	}
	now, err := a.AuditHead(ctx)
	if err != nil {
		return err
	}
	known, lost := []Head{report.Manifest.Head}, int64(-1)
	for _, head := range r.Kept {
		if !head.Verify(a.AuditKey()) {
			return fmt.Errorf("kept head %d: not signed by this authority: %w", head.Seq, ErrLog)
		}
		lost = max(lost, head.Seq-now.Seq, 0)
		if head.Seq <= now.Seq {
			known = append(known, head)
		}
	}
	if lost > 0 && !r.AcceptLoss {
		return fmt.Errorf("%w: it ends at entry %d of the audit log, %d entries are lost", ErrOlder, now.Seq, lost)
	}
	log, err := a.VerifyLog(ctx, known...)
	if err != nil {
		return err
	}
	report.Log, report.Lost = *log, lost
	return nil
}

// settle makes what was restored safe to run.
func (r *Restoration) settle(ctx context.Context, a *Authority, report *RestoreReport) error {
	lists, err := a.readLists(r.Lists)
	if err != nil {
		return err
	}
	return a.db.Update(ctx, func(tx *sql.Tx) error {
		report.Revoked, report.Unknown = nil, nil
		for _, list := range lists {
			if err := a.applyList(ctx, tx, list, report); err != nil {
				return err
			}
		}
		codes, err := voidOpenCodes(ctx, tx)
		if err != nil {
			return err
		}
		report.CodesVoided = len(codes)
		if err := a.withdrawApplications(ctx, tx, "", "restored from a backup"); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM ca_crls WHERE issuer <> $1`, rootName); err != nil { // newer ones are published
			return fmt.Errorf("new lists: %w", err)
		}
		return a.audit.append(ctx, tx, a.operator, eventRestored, map[string]any{
			"backup": report.Manifest.Created, "seq": report.Log.Head.Seq, "lost": report.Lost, "codes": codes, "revoked": len(report.Revoked), "unknown": report.Unknown,
		})
	})
}

func voidOpenCodes(ctx context.Context, tx *sql.Tx) ([]string, error) {
	rows, err := tx.QueryContext(ctx, `SELECT digest FROM ca_codes WHERE state IN ('open', 'void') ORDER BY digest`)
	if err != nil {
		return nil, fmt.Errorf("open codes: %w", err)
	}
	defer rows.Close()
	codes := []string{}
	for rows.Next() {
		var digest string
		if err := rows.Scan(&digest); err != nil {
			return nil, fmt.Errorf("open codes: %w", err)
		}
		codes = append(codes, digest)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("open codes: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `UPDATE ca_codes SET state = 'withdrawn' WHERE state IN ('open', 'void')`); err != nil {
		return nil, fmt.Errorf("void codes: %w", err)
	}
	return codes, nil
}

// readLists believes lists that one of the issuing authorities signed, however
// old they are.
func (a *Authority) readLists(ders [][]byte) ([]*smx509.RevocationList, error) {
	var lists []*smx509.RevocationList
	for n, der := range ders {
		list, err := smx509.ParseRevocationList(der)
		if err != nil {
			return nil, fmt.Errorf("revocation list %d: %w", n+1, err)
		}
		believed := false
		for _, i := range a.issuers {
			believed = believed || bytes.Equal(list.RawIssuer, i.Certificate().RawSubject) && list.CheckSignatureFrom(i.Certificate()) == nil
		}
		if !believed {
			return nil, fmt.Errorf("revocation list %d is not of an issuing authority of this backup", n+1)
		}
		lists = append(lists, list)
	}
	return lists, nil
}

// applyList revokes what the list has and the database has not.
func (a *Authority) applyList(ctx context.Context, tx *sql.Tx, list *smx509.RevocationList, report *RestoreReport) error {
	for _, entry := range list.RevokedCertificateEntries {
		serial, at, reason := trust.SerialHex(entry.SerialNumber), entry.RevocationTime.Unix(), trust.Reason(entry.ReasonCode)
		found, err := standing(ctx, tx, serial, "")
		if err != nil {
			return err
		}
		if len(found) == 0 {
			report.Unknown = append(report.Unknown, serial)
			continue
		}
		if found[0].state == stateRevoked && (!found[0].held() || reason == trust.CertificateHold) {
			continue
		}
		if err := a.moveStatus(ctx, tx, found[0], stateRevoked, reason, at); err != nil {
			return err
		}
		event := eventRevoked
		if reason == trust.CertificateHold {
			event = eventHeld
		}
		if err := a.audit.append(ctx, tx, a.operator, event, revokedContent{Serial: serial, Reason: reason.String(), At: at}); err != nil {
			return err
		}
		report.Revoked = append(report.Revoked, serial)
	}
	return nil
}
