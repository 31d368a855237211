package ca_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/realname"
	"github.com/bidseal/bidseal/ca/server"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
)

// beginOf is an enrolled phone's first call for its password.
func beginOf(t testing.TB, p *phone) (body []byte, proof string) {
	t.Helper()
	ephemeral, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	point, err := assistapi.Point(&ephemeral.PublicKey)
	must(t, err)
	id, err := protocol.Random(assistapi.IDSize)
	must(t, err)
	spki, err := protocol.MarshalKey(p.device.Public())
	must(t, err)
	body, err = protocol.EncodeJSON(assistapi.BeginRequest{V: 1, Device: protocol.DeviceID(spki), Keystore: id, Begin: id, ProofKey: make([]byte, 32), Ephemeral: point})
	must(t, err)
	return body, signedCall(t, p.device, "", assistapi.PathBegin, body, p.clock.Now()).Proof
}

func TestAssistOverHTTP(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	handler := ca.NewHandler(f.Authority, server.Options{})
	post := func(body []byte, proof string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, assistapi.PathBegin, strings.NewReader(string(body)))
		r.Header.Set(protocol.HeaderProof, proof)
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, r)
		return rec
	}
	body, proof := beginOf(t, e.phone)
	rec := post(body, proof)
	var answer assistapi.BeginAnswer
	must(t, protocol.DecodeJSON(rec.Body.Bytes(), &answer))
	if rec.Code != http.StatusOK || answer.Epoch != 1 || answer.Suite != assistapi.Suite {
		t.Fatalf("%d %+v", rec.Code, answer)
	}
	if rec := post(body, ""); rec.Code != http.StatusUnauthorized || rec.Header().Get("Content-Type") != protocol.ProblemType {
		t.Errorf("without a proof: %d", rec.Code)
	}
	unknown := newPhone(t, f.clock, "")
	if rec := post(beginOf(t, unknown)); rec.Code != http.StatusUnauthorized {
		t.Errorf("a phone that was never enrolled: %d", rec.Code)
	}
	info, err := f.Folder.Info()
	must(t, err)
	if info.Assist != f.Folder.URL() {
		t.Errorf("the information names %q", info.Assist)
	}
	must(t, exec(t, f, `UPDATE ca_devices SET state = 'blocked'`))
	if rec := post(beginOf(t, e.phone)); rec.Code != http.StatusForbidden {
		t.Errorf("a blocked phone: %d", rec.Code)
	}
}

func TestRealNameToken(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	spki, err := protocol.MarshalKey(e.device.Public())
	must(t, err)
	device := protocol.DeviceID(spki)
	want := realname.Want{Purpose: realname.PasswordReset, Account: e.answer.Account, Device: device}
	serial := strings.ToLower(trust.SerialHex(e.sign.SerialNumber))
	for name, r := range map[string]life.RealNameRequest{
		"by serial number": {Purpose: realname.PasswordReset, Serial: serial},
		"by account":       {Purpose: realname.PasswordReset, Account: e.answer.Account, Device: device},
	} {
		text, expires, err := f.Life.RealNameToken(t.Context(), audit.Local(""), r)
		must(t, err)
		got, err := realname.Verify([]crypto.PublicKey{f.keys.RealName.Public()}, text, want, f.clock.Now())
		must(t, err)
		if got.Expires != expires.Unix() {
			t.Errorf("%s: %d", name, got.Expires)
		}
	}
	for name, r := range map[string]life.RealNameRequest{
		"unknown serial number":   {Purpose: realname.PasswordReset, Serial: "00"},
		"another account":         {Purpose: realname.PasswordReset, Account: "x", Device: device},
		"a device that is no one": {Purpose: realname.PasswordReset, Account: e.answer.Account, Device: "00"},
	} {
		if _, _, err := f.Life.RealNameToken(t.Context(), audit.Local(""), r); err == nil {
			t.Errorf("%s got a token", name)
		}
	}
	if n := f.count(t, `SELECT count(*) FROM ca_audit WHERE event = 'realname.token'`); n != 2 {
		t.Errorf("%d entries in the log", n)
	}
}

// A folder from before the password assist gets its keys when it is opened, by
// many processes at once the same ones.
func TestAssistKeysAreMadeWhereTheyAreMissing(t *testing.T) {
	f := newFixture(t)
	names := []string{"assist.key", "realname.key"}
	for _, name := range names {
		must(t, os.Remove(filepath.Join(f.dir, name)))
	}
	var group sync.WaitGroup
	opened := make([][]byte, 8)
	for i := range opened {
		group.Go(func() {
			f.openWith(t, ca.Options{}, ca.Seams{Opened: func(o *folder.Opened) { opened[i] = bytes.Clone(o.Assist) }})
		})
	}
	group.Wait()
	for _, key := range opened {
		if len(key) == 0 || !protocol.Equal(key, opened[0]) {
			t.Error("two processes have different keys")
		}
	}
	if left, err := filepath.Glob(filepath.Join(f.dir, ".key-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
