package demoplatform

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func open(t *testing.T, dir string) *usageRecords {
	t.Helper()
	r, err := openRecords(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Errorf("close: %v", err)
		}
	})
	return r
}

func signInRecord(who account) usageRecord {
	return usageRecord{ID: who.CID, Action: actionSignIn, Result: resultDone, At: morning(), Account: who}
}

func mustAdd(t *testing.T, r *usageRecords, rec usageRecord, evidence string) {
	t.Helper()
	if fresh, err := r.add(rec, []byte(evidence)); err != nil || !fresh {
		t.Fatalf("add %s: %v, %v", rec.ID, fresh, err)
	}
}

func TestRecordsSurvive(t *testing.T) {
	for name, dir := range map[string]string{"memory": "", "folder": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			r := open(t, dir)
			mustAdd(t, r, signInRecord(zhang()), `{"v":1}`)
			mustAdd(t, r, signInRecord(li()), `{"v":2}`)
			if fresh, err := r.add(signInRecord(zhang()), []byte(`{"v":3}`)); fresh || err != nil {
				t.Errorf("the same record again: %v, %v", fresh, err)
			}
			if dir != "" {
				if err := r.close(); err != nil {
					t.Fatal(err)
				}
				r = open(t, dir)
			}
			own := r.of(zhang())
			if len(own) != 1 || own[0].Account != zhang() && !own[0].Account.At.Equal(zhang().At) || !own[0].Evidence {
				t.Errorf("own records: %+v", own)
			}
			if evidence, err := r.evidenceOf(zhang(), zhang().CID); err != nil || string(evidence) != `{"v":1}` {
				t.Errorf("own evidence: %s, %v", evidence, err)
			}
			if _, err := r.evidenceOf(li(), zhang().CID); !errors.Is(err, errNoEvidence) {
				t.Errorf("foreign evidence: %v", err)
			}
			if fresh, err := r.add(signInRecord(zhang()), nil); fresh || err != nil {
				t.Errorf("the same record after a restart: %v, %v", fresh, err)
			}
		})
	}
}

// A process killed half-way through a line leaves a half line, which was never promised; what is added afterwards must
// not be glued to it.
func TestHalfALineIsDropped(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	mustAdd(t, r, signInRecord(zhang()), `{"v":1}`)
	whole, err := os.ReadFile(filepath.Join(dir, "records.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	for cutAt := range len(whole) {
		if err := os.WriteFile(filepath.Join(dir, "records.jsonl"), append(bytes.Clone(whole), whole[:cutAt]...), 0o600); err != nil {
			t.Fatal(err)
		}
		r := open(t, dir)
		mustAdd(t, r, signInRecord(li()), `{"v":2}`)
		if err := r.close(); err != nil {
			t.Fatal(err)
		}
		if again := open(t, dir); len(again.of(zhang())) != 1 || len(again.of(li())) != 1 {
			t.Fatalf("cut at %d: %+v", cutAt, again.all)
		}
	}
}

func TestBrokenRecordsAreNotPassedOver(t *testing.T) {
	for name, content := range map[string]string{
		"no JSON":  "hello\n",
		"too long": strings.Repeat("x", maxRecord+1) + "\n",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "records.jsonl"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := openRecords(dir); err == nil {
			t.Errorf("%s: opened", name)
			_ = r.close()
		}
	}
}

func TestRecordsAreBounded(t *testing.T) {
	r := open(t, "")
	big := signInRecord(zhang())
	big.Device = strings.Repeat("x", maxRecord)
	if _, err := r.add(big, nil); err == nil {
		t.Error("a record beyond the bound is added")
	}
	if _, err := r.add(signInRecord(zhang()), make([]byte, maxEvidence+1)); err == nil {
		t.Error("evidence beyond the bound is added")
	}
	r.all = make([]usageRecord, maxRecords)
	if _, err := r.add(signInRecord(zhang()), nil); !errors.Is(err, errRecordsFull) {
		t.Errorf("one record too many: %v", err)
	}
}

// A file that can no longer be written is an error, and the record is not kept in memory either.
func TestAFailedWriteIsAnError(t *testing.T) {
	r := open(t, t.TempDir())
	if err := r.file.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := r.add(signInRecord(zhang()), []byte(`{}`)); err == nil {
			t.Error("a record is added to a closed file")
		}
	}
	if len(r.of(zhang())) != 0 {
		t.Error("the record is kept in memory")
	}
}

// Evidence is named by the challenge's id and by nothing else.
func TestEvidenceNames(t *testing.T) {
	dir := t.TempDir()
	r := open(t, filepath.Join(dir, "site"))
	for _, id := range []string{"../escape", "", "A" + strings.Repeat("1", 31), strings.Repeat("1", 33)} {
		rec := signInRecord(zhang())
		rec.ID = id
		if _, err := r.add(rec, []byte(`{}`)); !errors.Is(err, errNoEvidence) {
			t.Errorf("evidence under %q: %v", id, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "site", "evidence", "new-1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, filepath.Join(dir, "site"))
	if _, err := os.Stat(filepath.Join(dir, "site", "evidence", "new-1")); !errors.Is(err, os.ErrNotExist) {
		t.Error("what a crash left behind stays")
	}
}
