package folder

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/internal/sqldb"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm3"
)

// Backup of an authority: a copy of its folder without the root's key, whose
// copies are made at the ceremony. It may be made while servers run.
type Backup struct {
	// File to be made; it must not exist.
	File string
	// Passphrase under which it is sealed; the key files inside stay under
	// theirs as well.
	Passphrase []byte
	// KDF of the backup; DefaultKDF if zero.
	KDF KDF
}

// BackupManifest says what a backup holds. It is its first member.
type BackupManifest struct {
	V       int    `json:"v"`
	Name    string `json:"name"`
	Root    string `json:"root"`    // SM3 of the root's certificate
	Created int64  `json:"created"` // Unix milliseconds
	// Server says that the database is on a server and is not in the backup.
	Server bool `json:"server,omitempty"`
	// Head of the audit log not after the copy of the database.
	Head  audit.Head   `json:"head"`
	Files []BackupFile `json:"files"`
}

// BackupFile is one file of a backup.
type BackupFile struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
	SM3  string `json:"sm3"`
}

const (
	manifestFile  = "manifest.json"
	maxManifest   = 1 << 20
	maxBackupFile = 1 << 40
)

// Backup writes one and returns what it holds. Nothing is left of one that
// failed.
func (f *Folder) Backup(ctx context.Context, b Backup) (manifest *BackupManifest, err error) {
	if b.KDF == (KDF{}) {
		b.KDF = DefaultKDF()
	}
	if _, err := os.Lstat(b.File); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", b.File, errors.Join(fs.ErrExist, err))
	}
	if inside(f.dir, b.File) {
		return nil, fmt.Errorf("%s lies in the authority's folder: a backup belongs elsewhere", b.File)
	}
	stage, err := os.MkdirTemp(filepath.Dir(b.File), ".backup-*")
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(stage)) }()
	paths, manifest, err := f.collectBackup(ctx, stage)
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	sealed := filepath.Join(stage, "sealed")
	if err := writeBackup(sealed, b, manifest, paths); err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	if err := place(sealed, b.File); err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	return manifest, nil
}

// collectBackup copies the database and lists what goes in: file names to paths.
func (f *Folder) collectBackup(ctx context.Context, stage string) (map[string]string, *BackupManifest, error) {
	root := trust.Digest(f.root)
	manifest := &BackupManifest{V: backupVersion, Name: f.config.Name, Root: fmt.Sprintf("%x", root), Created: f.now().UnixMilli()}
	var err error
	if manifest.Head, err = f.audit.Head(ctx); err != nil {
		return nil, nil, err
	}
	paths := make(map[string]string)
	copied := filepath.Join(stage, databaseFile)
	switch err := f.db.Snapshot(ctx, copied); {
	case err == nil:
		paths[databaseFile] = copied
	case errors.Is(err, sqldb.ErrSnapshot):
		manifest.Server = true
	default:
		return nil, nil, err
	}
	// after the database: each key that it knows has its file by then
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, nil, err
	}
	for _, entry := range entries {
		if name := entry.Name(); entry.Type().IsRegular() && inBackup(name) {
			paths[name] = filepath.Join(f.dir, name)
		}
	}
	for name, path := range paths {
		size, digest, err := digestFile(path)
		if err != nil {
			return nil, nil, err
		}
		manifest.Files = append(manifest.Files, BackupFile{Name: name, Size: size, SM3: digest})
	}
	slices.SortFunc(manifest.Files, func(x, y BackupFile) int { return strings.Compare(x.Name, y.Name) })
	return paths, manifest, nil
}

// inside reports whether a file would lie directly in a folder.
func inside(dir, file string) bool {
	d, errD := filepath.Abs(dir)
	f, errF := filepath.Abs(file)
	return errD == nil && errF == nil && filepath.Dir(f) == d
}

// inBackup leaves out the root's key, the live database and temporary files.
func inBackup(name string) bool {
	return name != keyFileName(keyRoot) && !strings.HasPrefix(name, databaseFile) && !strings.HasPrefix(name, ".")
}

func digestFile(path string) (size int64, digest string, err error) {
	file, err := os.Open(filepath.Clean(path))
	if err != nil {
		return 0, "", err
	}
	defer file.Close()
	sum := sm3.New()
	size, err = io.Copy(sum, file)
	return size, fmt.Sprintf("%x", sum.Sum(nil)), err
}

func writeBackup(path string, b Backup, manifest *BackupManifest, paths map[string]string) (err error) {
	file, err := os.OpenFile(filepath.Clean(path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	sealed, err := newSealWriter(file, b.Passphrase, b.KDF)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(sealed)
	raw, err := protocol.EncodeJSON(manifest)
	if err != nil {
		return err
	}
	at := time.UnixMilli(manifest.Created).UTC().Truncate(time.Second)
	if err := archive.WriteHeader(&tar.Header{Name: manifestFile, Mode: 0o600, Size: int64(len(raw)), ModTime: at}); err != nil {
		return err
	}
	if _, err := archive.Write(raw); err != nil {
		return err
	}
	for _, f := range manifest.Files {
		if err := archive.WriteHeader(&tar.Header{Name: f.Name, Mode: 0o600, Size: f.Size, ModTime: at}); err != nil {
			return err
		}
		if err := copyInto(archive, paths[f.Name]); err != nil {
			return err
		}
	}
	return errors.Join(archive.Close(), sealed.Close(), file.Sync())
}

func copyInto(to io.Writer, path string) error {
	file, err := os.Open(filepath.Clean(path))
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(to, file)
	return err
}

// extractBackup opens a backup into an empty folder, file by file as the
// manifest says, and returns the manifest.
func extractBackup(from io.Reader, passphrase []byte, dir string) (*BackupManifest, error) {
	opened, err := newOpenReader(from, passphrase)
	if err != nil {
		return nil, err
	}
	archive := tar.NewReader(opened)
	manifest, err := readManifest(archive)
	if err != nil {
		return nil, err
	}
	for _, f := range manifest.Files {
		header, err := archive.Next()
		if err != nil {
			return nil, fmt.Errorf("file %s: %w: %w", f.Name, ErrBackup, err)
		}
		if header.Name != f.Name || header.Size != f.Size || header.Typeflag != tar.TypeReg {
			return nil, fmt.Errorf("file %q stands where the manifest has %q: %w", header.Name, f.Name, ErrBackup)
		}
		if err := extractFile(archive, filepath.Join(dir, f.Name), f); err != nil {
			return nil, err
		}
	}
	if _, err := archive.Next(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("more than the manifest says: %w", ErrBackup)
	}
	if n, err := io.Copy(io.Discard, io.LimitReader(opened, 2*backupChunk)); err != nil || n > backupChunk { // tar's padding, and the last chunk
		return nil, fmt.Errorf("end of the backup: %w", errors.Join(ErrBackup, err))
	}
	return manifest, nil
}

func readManifest(archive *tar.Reader) (*BackupManifest, error) {
	header, err := archive.Next()
	if err != nil || header.Name != manifestFile || header.Size > maxManifest {
		return nil, fmt.Errorf("manifest: %w", errors.Join(ErrBackup, err))
	}
	raw, err := io.ReadAll(io.LimitReader(archive, maxManifest))
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	var manifest BackupManifest
	if err := protocol.DecodeJSON(raw, &manifest); err != nil || manifest.V != backupVersion {
		return nil, fmt.Errorf("manifest: %w", errors.Join(ErrBackup, err))
	}
	for _, f := range manifest.Files {
		if f.Name != filepath.Base(f.Name) || f.Name != databaseFile && !inBackup(f.Name) || f.Size < 0 || f.Size > maxBackupFile {
			return nil, fmt.Errorf("manifest: file %q: %w", f.Name, ErrBackup)
		}
	}
	return &manifest, nil
}

func extractFile(from io.Reader, path string, f BackupFile) (err error) {
	file, err := os.OpenFile(filepath.Clean(path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	var sum hash.Hash = sm3.New()
	if _, err := io.CopyN(io.MultiWriter(file, sum), from, f.Size); err != nil {
		return fmt.Errorf("file %s: %w", f.Name, err)
	}
	if fmt.Sprintf("%x", sum.Sum(nil)) != f.SM3 {
		return fmt.Errorf("file %s is not the one of the manifest: %w", f.Name, ErrBackup)
	}
	return file.Sync()
}
