package ca_test

import (
	"bytes"
	"database/sql"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/bidseal/bidseal/trust/timestamp"
)

// stamp asks an authority for a token and judges it under the root alone.
func (f *fixture) stamp(t testing.TB, a *ca.Authority) (*timestamp.Stamp, error) {
	t.Helper()
	imprint := timestamp.SumSM3([]byte("message"))
	nonce, question, err := timestamp.NewRequest(imprint)
	must(t, err)
	answer, err := a.Life.Timestamp(t.Context(), question)
	if err != nil {
		return nil, err
	}
	token, err := timestamp.ReadResponse(answer)
	if err != nil {
		return nil, err
	}
	store, err := trust.NewStore(trust.DocumentationAuthority(f.Folder.Root()))
	must(t, err)
	stamp, err := timestamp.Verify(token, timestamp.Options{Anchors: store, Imprint: imprint, Nonce: nonce, Policy: a.Folder.OIDs().TimestampPolicy})
	must(t, err)
	return stamp, nil
}

func TestTimestampEachFamily(t *testing.T) {
	for _, family := range issuance.Families() {
		t.Run(string(family), func(t *testing.T) {
			f := newFixture(t, func(c *folder.Config) { c.Family = family })
			stamp, err := f.stamp(t, f.Authority)
			must(t, err)
			if !stamp.Info.Time.Equal(f.clock.Now()) || len(stamp.Authority.Chain) != 3 {
				t.Errorf("%+v", stamp.Info)
			}
			cert, err := f.Life.TimestampCertificate(t.Context())
			must(t, err)
			if !cert.Equal(stamp.Authority.Leaf()) {
				t.Error("signed by another certificate")
			}
		})
	}
}

// TestTimestampSerialsNeverRepeat: two processes, restarts, and an old copy of
// the database; blocks stand in the audit log.
func TestTimestampSerialsNeverRepeat(t *testing.T) {
	f := newFixture(t)
	seen := make(map[string]bool)
	draw := func(a *ca.Authority) {
		t.Helper()
		stamp, err := f.stamp(t, a)
		must(t, err)
		serial := trust.SerialHex(stamp.Info.Serial)
		if seen[serial] {
			t.Errorf("serial number %s twice", serial)
		}
		seen[serial] = true
		var logged int
		prefix := strings.TrimLeft(serial[:len(serial)-8], "0")
		must(t, f.database(t).Reader().QueryRowContext(t.Context(), `SELECT count(*) FROM ca_audit WHERE event = $1 AND content LIKE $2`,
			audit.EventTimestamps, "%"+prefix+`"%`).Scan(&logged))
		if logged != 1 {
			t.Errorf("the block of %s is in the log %d times", serial, logged)
		}
	}
	for range 3 {
		for _, a := range []*ca.Authority{f.Authority, f.open(t)} {
			draw(a)
			draw(a)
		}
	}
	must(t, f.database(t).Update(t.Context(), func(tx *sql.Tx) error { // as an old copy would have it
		_, err := tx.ExecContext(t.Context(), `DELETE FROM ca_counters WHERE name = $1`, "timestamp_block")
		return err
	}))
	for range 3 {
		draw(f.open(t))
	}
	if len(seen) != 15 {
		t.Errorf("%d serial numbers", len(seen))
	}
}

func TestTimestampRefusesAClockThatWentBack(t *testing.T) {
	f := newFixture(t)
	_, err := f.stamp(t, f.Authority)
	must(t, err)
	f.clock.add(-10 * time.Second)
	for name, a := range map[string]*ca.Authority{"same process": f.Authority, "after a restart": f.open(t)} {
		var refused *timestamp.Rejection
		if _, err := f.stamp(t, a); !errors.As(err, &refused) || refused.Failure != timestamp.TimeNotAvailable {
			t.Errorf("%s: %v", name, err)
		}
	}
	f.clock.add(10 * time.Second)
	_, err = f.stamp(t, f.open(t))
	must(t, err)
}

// TestTimestampCertificateIsReplacedInTime and by the issuing authority that is
// current then.
func TestTimestampCertificateIsReplacedInTime(t *testing.T) {
	f := newFixture(t)
	first, err := f.Life.TimestampCertificate(t.Context())
	must(t, err)
	f.clock.add(3 * 365 * 24 * time.Hour)
	same, err := f.Life.TimestampCertificate(t.Context())
	must(t, err)
	if !same.Equal(first) {
		t.Error("replaced after three of five years")
	}
	f.clock.add(400 * 24 * time.Hour)
	_, err = f.stamp(t, f.Authority)
	must(t, err)
	second, err := f.Life.TimestampCertificate(t.Context())
	must(t, err)
	if second.Equal(first) || second.NotAfter.Sub(f.clock.Now()) < 4*365*24*time.Hour {
		t.Errorf("until %v", second.NotAfter)
	}
	again, err := f.open(t).Life.TimestampCertificate(t.Context())
	must(t, err)
	if !again.Equal(second) {
		t.Error("another process has another certificate")
	}
}

func TestTimestampState(t *testing.T) {
	f := newFixture(t)
	state, err := f.Life.Timestamps(t.Context())
	must(t, err)
	if state.Blocks != 0 || state.LatestToken != nil || state.URL != testBase+caapi.PathTimestamp {
		t.Errorf("%+v", state)
	}
	_, err = f.stamp(t, f.Authority)
	must(t, err)
	state, err = f.Life.Timestamps(t.Context())
	must(t, err)
	if state.Blocks != 1 || state.LatestToken.Before(f.clock.Now()) {
		t.Errorf("%+v", state)
	}
}

func TestWithoutATimestampKey(t *testing.T) {
	f := newFixture(t)
	must(t, os.Remove(filepath.Join(f.dir, "tsa.key")))
	_, err := f.stamp(t, f.open(t))
	refusedWith(t, err, protocol.CodeNotFound)
}

func TestHTTPTimestamp(t *testing.T) {
	f := newFixture(t)
	_, question, err := timestamp.NewRequest(timestamp.SumSM3([]byte("message")))
	must(t, err)
	as := func(kind string) http.Header { return http.Header{"Content-Type": {kind}} }
	r := f.serve(t, http.MethodPost, caapi.PathTimestamp, as("application/timestamp-query"), question)
	if _, err := timestamp.ReadResponse(r.body); err != nil || r.status != http.StatusOK ||
		r.Header.Get("Content-Type") != "application/timestamp-reply" || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("status %d, %v, %v", r.status, r.Header, err)
	}
	var refused *timestamp.Rejection
	r = f.serve(t, http.MethodPost, caapi.PathTimestamp, as("application/timestamp-query"), []byte("?"))
	if _, err := timestamp.ReadResponse(r.body); r.status != http.StatusOK || !errors.As(err, &refused) || refused.Failure != timestamp.BadDataFormat {
		t.Errorf("no request: status %d, %v", r.status, err)
	}
	for name, c := range map[string]struct {
		method, kind string
		body         []byte
		status       int
	}{
		"another type": {http.MethodPost, "application/json", question, http.StatusBadRequest},
		"too long":     {http.MethodPost, "application/timestamp-query", bytes.Repeat([]byte{1}, timestamp.MaxRequest+1), http.StatusBadRequest},
		"GET":          {http.MethodGet, "", nil, http.StatusNotFound},
	} {
		if r := f.serve(t, c.method, caapi.PathTimestamp, as(c.kind), c.body); r.status != c.status {
			t.Errorf("%s: status %d", name, r.status)
		}
	}
}
