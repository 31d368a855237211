package timestamp_test

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"testing"
	"time"

	"github.com/bidseal/bidseal/trust/timestamp"
	other "github.com/digitorus/timestamp"
)

// TestAgainstAnotherLibrary: digitorus/timestamp, which shares no code with this
// package, reads our requests, responses and tokens of the families that it
// knows, and makes tokens that we read.
func TestAgainstAnotherLibrary(t *testing.T) {
	for _, name := range []string{"P-256", "RSA"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, families()[name])
			digest := sha256.Sum256([]byte("message"))
			imprint := timestamp.SHA256(digest[:])
			_, question, err := timestamp.NewRequest(imprint)
			must(t, err)
			read, err := other.ParseRequest(question)
			must(t, err)
			if read.HashAlgorithm != crypto.SHA256 || string(read.HashedMessage) != string(digest[:]) || !read.Certificates {
				t.Errorf("our request reads %+v", read)
			}
			token, err := w.signer().Sign(rand.Reader, w.info(imprint), true)
			must(t, err)
			answer, err := timestamp.GrantedResponse(token)
			must(t, err)
			theirs, err := other.ParseResponse(answer) // verifies the signature
			must(t, err)
			if !theirs.Time.Equal(noon()) || theirs.SerialNumber.Int64() != 77 || len(theirs.Certificates) != 2 || theirs.Accuracy != time.Second {
				t.Errorf("our response reads %+v", theirs)
			}

			der, err := (&other.Request{HashAlgorithm: crypto.SHA256, HashedMessage: digest[:], Certificates: true, Nonce: read.Nonce}).Marshal()
			must(t, err)
			ours, err := timestamp.ParseRequest(der)
			must(t, err)
			if !ours.Imprint.Equal(imprint) || ours.Nonce.Cmp(read.Nonce) != 0 {
				t.Errorf("their request reads %+v", ours)
			}
			made, err := (&other.Timestamp{
				HashAlgorithm: crypto.SHA256, HashedMessage: digest[:], Time: noon(), Nonce: read.Nonce, Policy: asn1.ObjectIdentifier{1, 2, 3, 4},
				Ordering: true, Accuracy: time.Second, AddTSACertificate: true, Certificates: []*x509.Certificate{standard(t, w.issuing.Raw)},
			}).CreateResponseWithOpts(standard(t, w.tsa.Raw), w.tsaKey, crypto.SHA256)
			must(t, err)
			if token, err = timestamp.ReadResponse(made); err != nil {
				t.Fatal(err)
			}
			stamp, err := timestamp.Verify(token, timestamp.Options{Anchors: w.store, Imprint: imprint, Nonce: read.Nonce})
			must(t, err)
			if !stamp.Info.Time.Equal(noon()) || !stamp.Info.Ordering {
				t.Errorf("their token reads %+v", stamp.Info)
			}
		})
	}
}

func standard(t *testing.T, der []byte) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return cert
}
