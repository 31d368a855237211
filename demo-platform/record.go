package demoplatform

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds of the records.
const (
	maxRecords  = 100_000
	maxRecord   = 16 << 10 // bytes of one line
	maxEvidence = 4 << 20  // bytes of one evidence file
)

// What a record can say.
const (
	actionSignIn   = "signin"
	actionSignOut  = "signout"
	actionDocument = "document"

	resultDone    = "done"
	resultRefused = "refused"
)

// recordVersion is the version of the lines that are written.
const recordVersion = 1

var (
	errRecordsFull = errors.New("the records are full")
	errNoEvidence  = errors.New("no such evidence")
)

// usageRecord is one use of a certificate on this site.
type usageRecord struct {
	// V is the version of the line; absent means 1.
	V int `json:"v,omitempty"`
	// ID makes a record that is written again the same record: the challenge of a sign-in, the session of the rest.
	ID      string    `json:"id"`
	Action  string    `json:"action"`
	Result  string    `json:"result"`
	At      time.Time `json:"at"`
	Account account   `json:"account"`
	Device  string    `json:"device,omitempty"`
	Object  string    `json:"object,omitempty"` // the project number, where there is one
	// Evidence is set where the sign-in's evidence file is kept.
	Evidence bool `json:"evidence,omitempty"`
}

// usageRecords is an append-only file of JSON lines, one record each, and a folder of evidence files. A record is on the
// disk before add returns; a line that was cut off by a crash was never promised and is dropped. With no folder
// everything stays in memory.
type usageRecords struct {
	dir string

	mu       sync.Mutex
	file     *os.File
	size     int64 // bytes of the file that hold whole lines
	broken   error // a write that could not be undone: nothing more is added
	all      []usageRecord
	byID     map[string]int
	evidence map[string][]byte // by challenge, in memory only
}

// openRecords reads what is there. The folder is made if it is missing.
func openRecords(dir string) (*usageRecords, error) {
	r := &usageRecords{dir: dir, byID: map[string]int{}, evidence: map[string][]byte{}}
	if dir == "" {
		return r, nil
	}
	if err := os.MkdirAll(filepath.Join(dir, "evidence"), 0o700); err != nil {
		return nil, fmt.Errorf("open the records: %w", err)
	}
	halves, err := filepath.Glob(filepath.Join(dir, "evidence", "new-*")) // left by a crash
	if err != nil {
		return nil, fmt.Errorf("open the records: %w", err)
	}
	for _, half := range halves {
		if err := os.Remove(half); err != nil {
			return nil, fmt.Errorf("open the records: %w", err)
		}
	}
	file, err := os.OpenFile(filepath.Join(dir, "records.jsonl"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the records: %w", err)
	}
	if err := r.load(file); err != nil {
		return nil, errors.Join(fmt.Errorf("read the records: %w", err), file.Close())
	}
	r.file = file
	if err := syncFolder(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("open the records: %w", err), file.Close())
	}
	return r, nil
}

// load reads whole lines and cuts off what follows the last one.
func (r *usageRecords) load(file *os.File) error {
	reader := bufio.NewReaderSize(file, maxRecord)
	for number := 1; ; number++ {
		line, err := reader.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		var rec usageRecord
		if err := json.Unmarshal(line, &rec); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if len(r.all) == maxRecords {
			return errRecordsFull
		}
		r.keep(rec)
		r.size += int64(len(line))
	}
	if err := file.Truncate(r.size); err != nil {
		return err
	}
	_, err := file.Seek(r.size, io.SeekStart)
	return err
}

func (r *usageRecords) keep(rec usageRecord) {
	r.byID[rec.ID] = len(r.all)
	r.all = append(r.all, rec)
}

// add writes the record, with the evidence of a sign-in, and reports whether it is new: a record whose ID is there
// already is left as it is.
func (r *usageRecords) add(rec usageRecord, evidence []byte) (fresh bool, err error) {
	rec.V, rec.At, rec.Evidence = recordVersion, rec.At.UTC(), len(evidence) > 0
	line, err := json.Marshal(rec)
	if err != nil {
		return false, fmt.Errorf("add a record: %w", err)
	}
	line = append(line, '\n')
	if len(line) > maxRecord || len(evidence) > maxEvidence {
		return false, fmt.Errorf("add a record: %d bytes with %d bytes of evidence are too much", len(line), len(evidence))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, there := r.byID[rec.ID]; there {
		return false, nil
	}
	if len(r.all) >= maxRecords {
		return false, errRecordsFull
	}
	if r.broken != nil {
		return false, fmt.Errorf("add a record: %w", r.broken)
	}
	// The evidence first: a record that names it must never be without it.
	if len(evidence) > 0 {
		if err := r.putEvidence(rec.ID, evidence); err != nil {
			return false, fmt.Errorf("keep the evidence: %w", err)
		}
	}
	if err := r.append(line); err != nil {
		return false, fmt.Errorf("add a record: %w", err)
	}
	r.keep(rec)
	return true, nil
}

// append writes one line and waits until it is on the disk. After a failed write the half line is cut off again; where
// even that fails nothing more is written, because the next line would be glued to the half one.
func (r *usageRecords) append(line []byte) error {
	if r.dir == "" {
		return nil
	}
	_, err := r.file.Write(line)
	if err == nil {
		err = r.file.Sync()
	}
	if err == nil {
		r.size += int64(len(line))
		return nil
	}
	if undo := r.file.Truncate(r.size); undo != nil {
		r.broken = errors.Join(err, undo)
	} else if _, undo := r.file.Seek(r.size, io.SeekStart); undo != nil {
		r.broken = errors.Join(err, undo)
	}
	return err
}

// isCID reports whether the text is a challenge's id, which names the evidence file: 32 lower-case hex digits.
func isCID(text string) bool {
	return len(text) == 32 && strings.Trim(text, "0123456789abcdef") == ""
}

// putEvidence writes the file under another name first, so that it is there whole or not at all.
func (r *usageRecords) putEvidence(cid string, evidence []byte) error {
	if !isCID(cid) {
		return fmt.Errorf("challenge id %q: %w", cid, errNoEvidence)
	}
	if r.dir == "" {
		r.evidence[cid] = bytes.Clone(evidence)
		return nil
	}
	folder := filepath.Join(r.dir, "evidence")
	file, err := os.CreateTemp(folder, "new-*")
	if err != nil {
		return err
	}
	_, err = file.Write(evidence)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), filepath.Join(folder, cid+".json"))
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return syncFolder(folder)
}

// keepStamped replaces an evidence file by the same file with its timestamp.
func (r *usageRecords) keepStamped(cid string, evidence []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(evidence) > maxEvidence {
		return fmt.Errorf("%d bytes of evidence are too much", len(evidence))
	}
	return r.putEvidence(cid, evidence)
}

// syncFolder makes names in a folder survive a crash.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// evidenceOf returns the evidence file of the holder's own sign-in. Another holder's returns errNoEvidence, like one
// that does not exist.
func (r *usageRecords) evidenceOf(who account, cid string) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.byID[cid]
	if !ok || !isCID(cid) || !r.all[at].Evidence || !r.all[at].Account.owns(who) {
		return nil, errNoEvidence
	}
	if r.dir == "" {
		return r.evidence[cid], nil
	}
	evidence, err := os.ReadFile(filepath.Join(r.dir, "evidence", cid+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("a record without its file: %w", err)
	}
	return evidence, err
}

// of returns the holder's own records, the newest first.
func (r *usageRecords) of(who account) []usageRecord {
	r.mu.Lock()
	defer r.mu.Unlock()
	var own []usageRecord
	for _, rec := range slices.Backward(r.all) {
		if rec.Account.owns(who) {
			own = append(own, rec)
		}
	}
	return own
}

// close releases the file.
func (r *usageRecords) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}
