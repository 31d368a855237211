package demoplatform

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// recordsSize is how many usage records a page shows.
const recordsSize = 10

// accountPage is what the account page shows: the owner's own data, whole.
type accountPage struct {
	Session  session
	Ends     time.Time
	Records  []usageRecord
	Paging   paging
	Evidence bool   // whether the evidence of this sign-in is kept
	Command  string // that verifies the evidence
}

func (s *Site) showAccount(w http.ResponseWriter, r *http.Request, current session) {
	own := s.records.of(current.Account)
	shown := accountPage{Session: current, Ends: current.ends()}
	shown.Records, shown.Paging = cut(own, pageNumber(r.URL.Query()), recordsSize)
	for _, rec := range own {
		if rec.ID == current.Account.CID {
			shown.Evidence = rec.Evidence
		}
	}
	trust := "trust.json"
	if s.demo != nil && s.demo.TrustFile != "" {
		trust = s.demo.TrustFile
	}
	shown.Command = fmt.Sprintf("bidseal evidence verify %s --trust %s", evidenceName(current.Account.CID), shellWord(trust))
	s.render(w, r, http.StatusOK, "account", "account.title", shown)
}

// evidenceName is the name under which an evidence file is saved.
func evidenceName(cid string) string {
	if len(cid) > 8 {
		cid = cid[:8]
	}
	return "bidseal-evidence-" + cid + ".json"
}

// shellWord quotes a word for a POSIX shell where it needs quoting.
func shellWord(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@%", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

func (s *Site) downloadEvidence(w http.ResponseWriter, r *http.Request, current session) {
	cid := r.PathValue("cid")
	evidence, err := s.records.evidenceOf(current.Account, cid)
	switch {
	case errors.Is(err, errNoEvidence):
		s.notFound(w, r)
	case err != nil:
		s.fail(w, r, http.StatusInternalServerError, err)
	default:
		s.attach(w, evidenceName(cid), "application/json", s.stamped(r.Context(), cid, evidence))
	}
}

// stampWait bounds how long a download waits for a timestamp.
const stampWait = 3 * time.Second

// stamped adds a timestamp to an evidence file that has none, because a sign-in does not wait for an authority that is down.
func (s *Site) stamped(ctx context.Context, cid string, evidence []byte) []byte {
	if s.client == nil {
		return evidence
	}
	ctx, cancel := context.WithTimeout(ctx, stampWait)
	defer cancel()
	stamped, err := s.client.Timestamp(ctx, evidence)
	if err != nil || bytes.Equal(stamped, evidence) {
		return evidence // it verifies without one, and says so
	}
	if err := s.records.keepStamped(cid, stamped); err != nil {
		s.logger.ErrorContext(ctx, "keep a timestamp", "error", err)
	}
	return stamped
}

// exportRecords writes the owner's records as CSV. The mark in front makes spreadsheet programs read it as UTF-8.
func (s *Site) exportRecords(w http.ResponseWriter, r *http.Request, current session) {
	texts := s.tables[chosen(r)]
	var out bytes.Buffer
	out.WriteString("\uFEFF")
	table := csv.NewWriter(&out)
	table.UseCRLF = true
	rows := [][]string{{
		texts.text("records.time"), texts.text("records.action"), texts.text("records.object"), texts.text("records.result"),
		texts.text("records.user"), texts.text("records.organisation"), texts.text("records.serial"), texts.text("records.device"), texts.text("records.id"),
	}}
	for _, rec := range s.records.of(current.Account) {
		rows = append(rows, []string{
			rec.At.In(beijing()).Format(time.RFC3339), texts.text("action." + rec.Action), rec.Object, texts.text("result." + rec.Result),
			rec.Account.Person, rec.Account.Organisation, rec.Account.Serial, rec.Device, rec.ID,
		})
	}
	for _, row := range rows {
		for i := range row {
			row[i] = harmless(row[i])
		}
	}
	if err := table.WriteAll(rows); err != nil {
		s.fail(w, r, http.StatusInternalServerError, err)
		return
	}
	s.attach(w, "bidseal-records.csv", "text/csv; charset=utf-8", out.Bytes())
}

// harmless keeps a spreadsheet program from reading a cell as a formula. Serials get the same mark where a program
// would otherwise read digits as a number and round it.
func harmless(cell string) string {
	if cell != "" && (strings.ContainsRune("=+-@\t\r", rune(cell[0])) || len(cell) > 15 && strings.Trim(cell, "0123456789E") == "") {
		return "'" + cell
	}
	return cell
}
