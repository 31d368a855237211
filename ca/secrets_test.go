package ca

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
)

// TestNoSecretLeavesARun looks for private keys, the key-encryption key, codes
// and the passphrase in everything that a run writes: database, write-ahead log,
// key files, answers and log lines.
func TestNoSecretLeavesARun(t *testing.T) {
	f := newFixture(t)
	file, err := f.NewEnrolmentCode(t.Context(), CodeRequest{Subject: adminSubject()})
	must(t, err)
	p := newPhone(t, f.clock, file.Code)
	raw, err := f.Enrol(t.Context(), p.call(t))
	must(t, err)
	e := p.read(t, raw)
	_, err = f.Revoke(t.Context(), Revocation{Serial: trust.SerialHex(e.sign.SerialNumber)})
	must(t, err)
	_, refusal := f.Enrol(t.Context(), newPhone(t, f.clock, file.Code).call(t))
	refusedWith(t, refusal, protocol.CodeEnrolmentCode)
	ring, err := newKeyring(f.dir, []byte(testPassphrase))
	must(t, err)
	kek, err := ring.read(keyKEK)
	must(t, err)
	secrets := map[string][]byte{"key-encryption key": kek, "passphrase": []byte(testPassphrase), "enrolment code": []byte(file.Code), "encryption key": scalar(e.key)}
	for _, purpose := range []string{keyRoot, keyIssuing, keyOCSP, keyPass, keyAudit} {
		signer, err := ring.readSigner(t.Context(), purpose)
		must(t, err)
		secrets[purpose+" key"] = scalar(signer.(*sm2.PrivateKey))
	}
	written := map[string][]byte{"answer": raw, "log": f.log.Bytes(), "refusal": []byte(refusal.Error())}
	entries, err := os.ReadDir(f.dir)
	must(t, err)
	for _, entry := range entries {
		written[entry.Name()], err = os.ReadFile(filepath.Join(f.dir, entry.Name()))
		must(t, err)
	}
	if !holds(t, f, written, e.sign.Raw) || len(written[keyFileName(keyRoot)]) == 0 {
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
