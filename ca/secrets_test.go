package ca_test

import (
	"bytes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm4"
	"github.com/emmansun/gmsm/smx509"
	"golang.org/x/crypto/argon2"
)

// TestNoSecretLeavesARun looks for private keys, the key-encryption key, codes
// and the passphrase in everything that a run writes: database, write-ahead log,
// key files, answers and log lines.
func TestNoSecretLeavesARun(t *testing.T) {
	f := newFixture(t)
	file, err := f.Life.NewEnrolmentCode(t.Context(), audit.Local(""), life.CodeRequest{Subject: adminSubject()})
	must(t, err)
	p := newPhone(t, f.clock, file.Code)
	raw, err := f.Life.Enrol(t.Context(), p.call(t))
	must(t, err)
	e := p.read(t, raw)
	_, err = f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Serial: trust.SerialHex(e.sign.SerialNumber)})
	must(t, err)
	_, refusal := f.Life.Enrol(t.Context(), newPhone(t, f.clock, file.Code).call(t))
	refusedWith(t, refusal, protocol.CodeEnrolmentCode)
	kek, _ := openKeyFile(t, f.dir, "kek")
	secrets := map[string][]byte{"key-encryption key": kek, "passphrase": []byte(testPassphrase), "enrolment code": []byte(file.Code), "encryption key": scalar(e.key)}
	for _, purpose := range []string{"root", "issuing-1", "ocsp", "pass", "audit"} {
		der, _ := openKeyFile(t, f.dir, purpose)
		key, err := smx509.ParsePKCS8PrivateKey(der)
		must(t, err)
		secrets[purpose+" key"] = scalar(key.(*sm2.PrivateKey))
	}
	written := map[string][]byte{"answer": raw, "log": f.log.Bytes(), "refusal": []byte(refusal.Error())}
	entries, err := os.ReadDir(f.dir)
	must(t, err)
	for _, entry := range entries {
		written[entry.Name()], err = os.ReadFile(filepath.Join(f.dir, entry.Name()))
		must(t, err)
	}
	if !holds(t, f, written, e.sign.Raw) || len(written["root.key"]) == 0 {
		t.Fatal("the search does not find what is there")
	}
	for where, content := range written {
		for what, secret := range secrets {
			for form, needle := range forms(secret) {
				if bytes.Contains(bytes.ToLower(content), bytes.ToLower(needle)) {
					t.Errorf("%s stands in %s as %s", what, where, form)
				}
			}
		}
	}
}

// openKeyFile opens a key file of the authority as its format has it: SM4-GCM under
// Argon2id of the passphrase. It returns the secret and the derived key.
func openKeyFile(t testing.TB, dir, purpose string) (secret, derived []byte) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, purpose+".key"))
	must(t, err)
	var file struct {
		Time      uint32         `json:"time"`
		MemoryKiB uint32         `json:"memory_kib"`
		Threads   uint8          `json:"threads"`
		Salt      protocol.Bytes `json:"salt"`
		Nonce     protocol.Bytes `json:"nonce"`
		Box       protocol.Bytes `json:"box"`
	}
	must(t, json.Unmarshal(raw, &file))
	derived = argon2.IDKey([]byte(testPassphrase), file.Salt, file.Time, file.MemoryKiB, file.Threads, sm4.BlockSize)
	block, err := sm4.NewCipher(derived)
	must(t, err)
	aead, err := cipher.NewGCM(block)
	must(t, err)
	secret, err = aead.Open(nil, file.Nonce, file.Box, []byte("bidseal/ca key 1\x00"+purpose))
	must(t, err)
	return secret, derived
}

func scalar(key *sm2.PrivateKey) []byte { return key.D.FillBytes(make([]byte, 32)) }

// forms are the spellings in which a secret could stand; of base64 the part
// that does not depend on what stands before.
func forms(secret []byte) map[string][]byte {
	all := map[string][]byte{"bytes": secret, "hexadecimal": []byte(hex.EncodeToString(secret))}
	for shift := range 3 {
		text := base64.RawURLEncoding.EncodeToString(append(make([]byte, shift), secret...))
		all["base64 shifted by "+string(rune('0'+shift))] = []byte(text[4 : len(text)-4])
		text = base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), secret...))
		all["standard base64 shifted by "+string(rune('0'+shift))] = []byte(text[4 : len(text)-4])
	}
	return all
}
