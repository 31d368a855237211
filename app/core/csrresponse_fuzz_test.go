package core

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/bidseal/bidseal/ca/catest"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// FuzzCSRResponse: what an authority answers is read whole or refused as malformed, and its parts are parts of it.
func FuzzCSRResponse(f *testing.F) {
	f.Add(catest.New(f, catest.Options{}).Person("张三").Response)
	f.Add([]byte{0x30, 0x00})
	f.Fuzz(func(t *testing.T, der []byte) {
		response, err := parseCSRResponse(der)
		if err != nil {
			if protocol.CodeOf(err) != protocol.CodeMalformed {
				t.Fatal(err)
			}
			return
		}
		for _, part := range [][]byte{response.sign, response.encrypt, response.enveloped} {
			if len(part) < 2 || part[0] != 0x30 || !bytes.Contains(der, part) {
				t.Fatalf("a part of %d bytes", len(part))
			}
		}
	})
}

// The fuzz target's parser agrees with the library's where both take an answer.
func TestCSRResponseAsTheLibraryReadsIt(t *testing.T) {
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	holder := catest.New(t, catest.Options{}).Person("张三")
	if _, err := smx509.ParseCSRResponse(key, holder.Response); err == nil {
		t.Fatal("the library opens it with another key")
	}
	ours, err := parseCSRResponse(holder.Response)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := smx509.ParseCSRResponse(holder.SigningKey, holder.Response)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ours.sign, theirs.SignCerts[0].Raw) || !bytes.Equal(ours.encrypt, theirs.EncryptCerts[0].Raw) {
		t.Fatal("two readings of one answer")
	}
}
