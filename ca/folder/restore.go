package folder

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/life"
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
	Kept       []audit.Head
	AcceptLoss bool
	// Lists are published revocation lists of the authority's: revocations that
	// are on them and not in the backup are made again.
	Lists [][]byte
	// Actor who restores, for the audit log.
	Actor audit.Actor
}

// RestoreReport says what a restoration found and did.
type RestoreReport struct {
	Manifest BackupManifest `json:"manifest"`
	Log      audit.Report   `json:"log"`
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
//
// open opens the restored folder before it has its name.
func Restore(ctx context.Context, r Restoration, now func() time.Time, open func(ctx context.Context, dir string) (*Folder, error)) (report *RestoreReport, err error) {
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
	if report, err = r.perform(ctx, stage, now, open); err != nil {
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

func (r *Restoration) perform(ctx context.Context, stage string, now func() time.Time, open func(ctx context.Context, dir string) (*Folder, error)) (report *RestoreReport, err error) {
	file, err := os.Open(filepath.Clean(r.File))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	manifest, err := extractBackup(file, r.BackupPassphrase, stage)
	if err != nil {
		return nil, err
	}
	if now == nil || now().Before(time.UnixMilli(manifest.Created)) {
		return nil, fmt.Errorf("the clock stands before the backup of %s", time.UnixMilli(manifest.Created).UTC().Format(time.RFC3339))
	}
	a, err := open(ctx, stage)
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
func (r *Restoration) verify(ctx context.Context, a *Folder, report *RestoreReport) error {
	if root := trust.Digest(a.root); fmt.Sprintf("%x", root) != report.Manifest.Root {
		return fmt.Errorf("the database's root is not the manifest's: %w", ErrBackup)
	}
	now, err := a.audit.Head(ctx)
	if err != nil {
		return err
	}
	known, lost := []audit.Head{report.Manifest.Head}, int64(-1)
	for _, head := range r.Kept {
		if !head.Verify(a.audit.Key()) {
			return fmt.Errorf("kept head %d: not signed by this authority: %w", head.Seq, audit.ErrLog)
		}
		lost = max(lost, head.Seq-now.Seq, 0)
		if head.Seq <= now.Seq {
			known = append(known, head)
		}
	}
	if lost > 0 && !r.AcceptLoss {
		return fmt.Errorf("%w: it ends at entry %d of the audit log, %d entries are lost", ErrOlder, now.Seq, lost)
	}
	log, err := a.audit.Verify(ctx, known...)
	if err != nil {
		return err
	}
	report.Log, report.Lost = *log, lost
	return nil
}

// settle makes what was restored safe to run.
func (r *Restoration) settle(ctx context.Context, a *Folder, report *RestoreReport) error {
	lists, err := a.readLists(r.Lists)
	if err != nil {
		return err
	}
	return a.db.Update(ctx, func(tx *sql.Tx) error {
		report.Revoked, report.Unknown = nil, nil
		for _, list := range lists {
			if err := a.applyList(ctx, tx, r.Actor, list, report); err != nil {
				return err
			}
		}
		codes, err := life.WithdrawCodes(ctx, tx)
		if err != nil {
			return err
		}
		report.CodesVoided = len(codes)
		if err := a.registry.Withdraw(ctx, tx, r.Actor, "", "restored from a backup"); err != nil {
			return err
		}
		if err := a.status.ForgetLists(ctx, tx); err != nil {
			return err
		}
		return a.audit.Append(ctx, tx, r.Actor, audit.EventRestored, map[string]any{
			"backup": report.Manifest.Created, "seq": report.Log.Head.Seq, "lost": report.Lost, "codes": codes, "revoked": len(report.Revoked), "unknown": report.Unknown,
		})
	})
}

// readLists believes lists that one of the issuing authorities signed, however
// old they are.
func (f *Folder) readLists(ders [][]byte) ([]*smx509.RevocationList, error) {
	var lists []*smx509.RevocationList
	for n, der := range ders {
		list, err := smx509.ParseRevocationList(der)
		if err != nil {
			return nil, fmt.Errorf("revocation list %d: %w", n+1, err)
		}
		believed := false
		for _, i := range f.status.Issuers() {
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
func (f *Folder) applyList(ctx context.Context, tx *sql.Tx, actor audit.Actor, list *smx509.RevocationList, report *RestoreReport) error {
	for _, entry := range list.RevokedCertificateEntries {
		serial := trust.SerialHex(entry.SerialNumber)
		found, changed, err := f.status.Reapply(ctx, tx, actor, serial, entry.RevocationTime, trust.Reason(entry.ReasonCode))
		switch {
		case err != nil:
			return err
		case !found:
			report.Unknown = append(report.Unknown, serial)
		case changed:
			report.Revoked = append(report.Revoked, serial)
		}
	}
	return nil
}
