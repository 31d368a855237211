package core_test

import (
	"encoding/hex"
	"testing"

	"github.com/bidseal/bidseal/app/core"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/protocol"
)

// follows makes a file that claims to continue a lineage.
func (w *world) follows(operation, lineage, serial string) *caapi.EnrolmentFile {
	file := w.authority.file()
	file.Operation, file.Lineage, file.Serial = operation, lineage, serial
	return file
}

// ownLineage is what the authority's double gives for its code.
func (w *world) ownLineage() string {
	return hex.EncodeToString(protocol.H([]byte(w.authority.code))[:16])
}

func TestRenewalNeedsTheCertificate(t *testing.T) {
	w := newWorld(t)
	for _, operation := range []string{caapi.OperationRenew, caapi.OperationChange} {
		_, err := w.phone.Enrol(t.Context(), w.follows(operation, w.ownLineage(), "01"), core.Setup{}, []byte(password))
		wantCode(t, err, protocol.CodeNoCertificate)
	}
	if sent := w.sent(caapi.PathEnrol); len(sent) != 0 {
		t.Errorf("%d requests went out", len(sent))
	}
}

// TestAnswerIsHeldToTheFile: an authority cannot slip another lineage, or
// somebody else's keys, into what the operator authorised.
func TestAnswerIsHeldToTheFile(t *testing.T) {
	t.Run("lineage", func(t *testing.T) {
		w := newWorld(t)
		_, err := w.phone.Enrol(t.Context(), w.follows(caapi.OperationReissue, hex.EncodeToString(make([]byte, 16)), "01"), core.Setup{}, []byte(password))
		wantCode(t, err, protocol.CodeCertUntrusted)
		_, err = w.phone.Enrol(t.Context(), w.follows(caapi.OperationReissue, w.ownLineage(), "01"), core.Setup{}, []byte(password))
		must(t, err)
	})
	for name, history := range map[string]func(w *world) []caapi.EncryptionKey{
		"history of somebody else": func(w *world) []caapi.EncryptionKey {
			other := w.authority.issue(w.authority.holder(make([]byte, 16), encryptUsage), &w.authority.issuing, w.authority.key())
			return []caapi.EncryptionKey{{Chains: [][]protocol.Bytes{{other.cert.Raw, w.authority.issuing.cert.Raw, w.authority.root.cert.Raw}}}}
		},
		"history of another authority": func(w *world) []caapi.EncryptionKey {
			p := newPKI(t, w.clock, "foreign")
			lineage := protocol.H([]byte(w.authority.code))[:16]
			other := p.issue(p.holder(lineage, encryptUsage), &p.issuing, p.key())
			return []caapi.EncryptionKey{{Chains: [][]protocol.Bytes{{other.cert.Raw, p.issuing.cert.Raw, p.root.cert.Raw}}}}
		},
		"signing certificate as history": func(w *world) []caapi.EncryptionKey {
			lineage := protocol.H([]byte(w.authority.code))[:16]
			other := w.authority.issue(w.authority.holder(lineage, signUsage), &w.authority.issuing, w.authority.key())
			return []caapi.EncryptionKey{{Chains: [][]protocol.Bytes{{other.cert.Raw, w.authority.issuing.cert.Raw, w.authority.root.cert.Raw}}}}
		},
		"empty":       func(*world) []caapi.EncryptionKey { return []caapi.EncryptionKey{{}} },
		"empty chain": func(*world) []caapi.EncryptionKey { return []caapi.EncryptionKey{{Chains: [][]protocol.Bytes{{}}}} },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.authority.alter = func(a *caapi.EnrolAnswer) { a.History = history(w) }
			if _, err := w.phone.Enrol(t.Context(), w.follows(caapi.OperationReissue, w.ownLineage(), "01"), core.Setup{}, []byte(password)); err == nil {
				t.Fatal("the answer was taken")
			}
			if held, err := w.phone.Certificates(t.Context()); err == nil && len(held) > 0 {
				t.Errorf("%d certificates were kept", len(held))
			}
		})
	}
}

func TestFileForAnUnknownOperation(t *testing.T) {
	for _, f := range []caapi.EnrolmentFile{
		{Operation: "transfer", Lineage: "00", Serial: "01"},
		{Operation: caapi.OperationReissue, Serial: "01"},
		{Operation: caapi.OperationRenew, Lineage: "00"},
	} {
		f.V, f.Code, f.Roots, f.CA = caapi.Version, "C", []string{"00"}, authorityBase
		raw, err := protocol.EncodeJSON(f)
		must(t, err)
		_, err = core.ParseEnrolmentFile(raw)
		wantCode(t, err, protocol.CodeEnrolmentCode)
	}
}
