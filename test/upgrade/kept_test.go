package upgrade_test

import (
	"crypto/cipher"
	"crypto/hkdf"
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/internal/sqldb"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm3"
	"github.com/emmansun/gmsm/sm4"
)

// later is a member that a newer version wrote.
const later = `{"since":[1,2]}`

type members = map[string]json.RawMessage

func (w *world) decode(raw []byte) members {
	w.t.Helper()
	var m members
	w.must(json.Unmarshal(raw, &m))
	return m
}

// edit changes the members of a JSON file.
func (w *world) edit(path string, change func(members)) {
	w.t.Helper()
	raw, err := os.ReadFile(path)
	w.must(err)
	m := w.decode(raw)
	change(m)
	raw, err = json.Marshal(m)
	w.must(err)
	w.must(os.WriteFile(path, raw, 0o600))
}

func addLater(m members) { m["later"] = json.RawMessage(later) }

func (w *world) wantLater(what string, m members) {
	w.t.Helper()
	if string(m["later"]) != later {
		w.t.Errorf("%s lost what a newer version wrote: %s", what, m["later"])
	}
}

// wantFile reads a file that has to be written again, with what a newer version wrote.
func (w *world) wantFile(path string, before []byte) {
	w.t.Helper()
	raw, err := os.ReadFile(path)
	w.must(err)
	if string(raw) == string(before) {
		w.t.Errorf("%s was not written again: the test shows nothing", filepath.Base(path))
	}
	w.wantLater(filepath.Base(path), w.decode(raw))
}

// TestPhoneKeepsUnknownMembers: each file that a phone reads, changes and writes keeps
// what a newer version wrote into it.
func TestPhoneKeepsUnknownMembers(t *testing.T) {
	w := newWorld(t)
	client := w.client(w.config())
	undelivered := w.challenge(client, "file_undelivered")
	before := make(map[string][]byte)
	for _, name := range []string{"settings.json", "pins.json", "keystore.json", "assist.json", "device.json", "storage.json",
		"outbox-" + undelivered.CID().String() + ".json"} {
		path := w.path("phone-li", name)
		w.edit(path, func(m members) {
			addLater(m)
			if name == "pins.json" {
				m["platforms"] = json.RawMessage(`[]`)
			}
			if name == "keystore.json" {
				var keys []members
				w.must(json.Unmarshal(m["keys"], &keys))
				for _, k := range keys {
					addLater(k)
				}
				raw, err := json.Marshal(keys)
				w.must(err)
				m["keys"] = raw
			}
		})
		raw, err := os.ReadFile(path)
		w.must(err)
		before[path] = raw
	}
	li := w.phone("phone-li")
	if done, err := li.Resume(t.Context()); err != nil || len(done) != 1 || done[0].Err != nil {
		t.Fatalf("deliveries: %+v, %v", done, err)
	}
	ch := w.challenge(client, "file_open")
	s, err := li.Scan(t.Context(), ch.Payload())
	w.must(err)
	claim := w.path("phone-li", "claim-"+ch.CID().String()+".json")
	w.edit(claim, addLater)
	before[claim], err = os.ReadFile(claim)
	w.must(err)
	s.Close()
	w.approve(li, ch.Payload(), "")
	w.wantLogin(ch, "李四")
	w.must(w.keys.ChangePassword(t.Context(), []byte(password), []byte("another-password")))
	for path, raw := range before {
		switch name := filepath.Base(path); {
		case strings.HasPrefix(name, "outbox-"), name == "device.json", name == "storage.json": // read alone
		case name == "keystore.json":
			w.wantFile(path, raw)
			written, err := os.ReadFile(path)
			w.must(err)
			var keys []members
			w.must(json.Unmarshal(w.decode(written)["keys"], &keys))
			for _, k := range keys {
				w.wantLater("a key of the keystore", k)
			}
		default:
			w.wantFile(path, raw)
		}
	}
}

// aead seals what the SDK stores.
func (w *world) aead() cipher.AEAD {
	w.t.Helper()
	key, err := hkdf.Key(sm3.New, w.config().StoreKey, []byte("bidseal/1"), "sdk store", 16)
	w.must(err)
	block, err := sm4.NewCipher(key)
	w.must(err)
	aead, err := cipher.NewGCM(block)
	w.must(err)
	return aead
}

// TestSDKKeepsUnknownMembers: the file of a record, and what is sealed in it.
func TestSDKKeepsUnknownMembers(t *testing.T) {
	w := newWorld(t)
	aead, cid := w.aead(), ""
	paths, err := filepath.Glob(w.path("platform", "store", "[cs]-*.json"))
	w.must(err)
	open := func(m members) (key string, plain members) {
		var sealed []byte
		w.must(json.Unmarshal(m["key"], &key))
		w.must(json.Unmarshal(m["value"], &sealed))
		raw, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], []byte(key))
		w.must(err)
		return key, w.decode(raw)
	}
	for _, path := range paths {
		w.edit(path, func(m members) {
			addLater(m)
			key, plain := open(m)
			addLater(plain)
			raw, err := json.Marshal(plain)
			w.must(err)
			nonce, err := protocol.Random(aead.NonceSize())
			w.must(err)
			m["value"], err = json.Marshal(aead.Seal(nonce, nonce, raw, []byte(key)))
			w.must(err)
		})
	}
	client := w.client(w.config())
	ch := w.challenge(client, "file_open")
	cid = ch.CID().String()
	w.approve(w.phone("phone-zhang"), ch.Payload(), "")
	w.wantLogin(ch, "张三")
	raw, err := os.ReadFile(w.path("platform", "store", "c-"+cid+".json"))
	w.must(err)
	m := w.decode(raw)
	w.wantLater("the record's file", m)
	_, plain := open(m)
	w.wantLater("the record", plain)
	if plain["consumed"] == nil {
		t.Error("the record was not written again: the test shows nothing")
	}
}

// TestRelayKeepsUnknownMembers: a challenge goes on with what a newer node stored.
func TestRelayKeepsUnknownMembers(t *testing.T) {
	w := newWorld(t)
	ch := w.challenge(w.client(w.config()), "file_open")
	cid := ch.CID()
	db, err := sqldb.Open(t.Context(), sqldb.Source{Location: w.path("relay", "relay.db"), Component: "test"})
	w.must(err)
	defer db.Close()
	read := func() members {
		var raw []byte
		w.must(db.Reader().QueryRowContext(t.Context(), `SELECT record FROM relay_challenge WHERE cid = $1`, cid[:]).Scan(&raw))
		return w.decode(raw)
	}
	w.must(db.Update(t.Context(), func(tx *sql.Tx) error {
		m := read()
		addLater(m)
		raw, err := json.Marshal(m)
		w.must(err)
		_, err = tx.ExecContext(t.Context(), `UPDATE relay_challenge SET record = $1 WHERE cid = $2`, raw, cid[:])
		return err
	}))
	w.approve(w.phone("phone-zhang"), ch.Payload(), "")
	after := read()
	w.wantLater("the relay's challenge", after)
	if string(after["v"]) != "1" {
		t.Errorf("version %s, want 1", after["v"])
	}
}
