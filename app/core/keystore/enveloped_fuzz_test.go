package keystore

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/emmansun/gmsm/sm2"
)

// FuzzEnvelopedKey: an EnvelopedKey gives a scalar that fits the key, or the one error that tells nothing.
func FuzzEnvelopedKey(f *testing.F) {
	holder, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	encryption, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	der, err := sm2.MarshalEnvelopedPrivateKey(rand.Reader, &holder.PublicKey, encryption)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	f.Add(der[:len(der)-16])
	f.Fuzz(func(t *testing.T, der []byte) {
		scalar, key, err := openEnveloped(holder, der)
		if err != nil {
			if !errors.Is(err, errEnveloped) || scalar != nil || key != nil {
				t.Fatalf("%x, %v", scalar, err)
			}
			return
		}
		if len(scalar) != scalarSize || !bytes.Equal(key.D.FillBytes(make([]byte, scalarSize)), scalar) {
			t.Fatalf("a scalar of %d bytes", len(scalar))
		}
	})
}
