package keystore

import (
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"github.com/bidseal/bidseal/app/core/internal/wrap"
	"github.com/bidseal/bidseal/app/core/keys"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
)

var errClosed = errors.New("the keys are locked again")

// signer signs while the keys are unlocked.
type signer struct {
	mu   sync.Mutex
	open *unlocked // nil once locked
}

func (s *signer) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = nil // the caller that unlocked the keys wipes them
}

// Sign implements keys.Signer. The private key lives for one signature.
func (s *signer) Sign(certificateID string, m keys.Message) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		return nil, errClosed
	}
	message := m.Signed()
	if len(message) == 0 {
		return nil, keys.ErrEmpty
	}
	record := s.open.signing(certificateID)
	if record == nil {
		return nil, protocol.Errorf(protocol.CodeNoCertificate, "no signing key for certificate %.16s", certificateID)
	}
	key, err := s.open.private(record)
	if err != nil {
		return nil, err
	}
	defer wipeKey(key)
	return protocol.Sign(key, message)
}

// signing finds the key of a current signing certificate.
func (u *unlocked) signing(certificateID string) *keyRecord {
	for i := range u.doc.Keys {
		k := &u.doc.Keys[i]
		for _, c := range k.Certs {
			if k.Use == keys.Sign && !c.Historic && keys.CertificateID(c.Chain[0]) == certificateID {
				return k
			}
		}
	}
	return nil
}

// private unwraps a key and checks that it is the one its record names.
func (u *unlocked) private(k *keyRecord) (*sm2.PrivateKey, error) {
	scalar, ok := wrap.Open(u.dataKey, k.Wrapped, keyAAD(u.doc.ID, k.Use, k.SPKI))
	if !ok {
		return nil, invalid("a wrapped key does not open")
	}
	defer clear(scalar)
	key, err := sm2.NewPrivateKey(scalar)
	if err != nil {
		return nil, invalid("a wrapped key is not a key")
	}
	spki, err := protocol.MarshalKey(&key.PublicKey)
	if err != nil || !protocol.Equal(spki, k.SPKI) {
		wipeKey(key)
		return nil, invalid("a wrapped key is not the one its record names")
	}
	return key, nil
}

// add wraps a private key into the document.
func (u *unlocked) add(use keys.Use, scalar, spki []byte) (*keyRecord, error) {
	if len(u.doc.Keys) >= maxKeys {
		return nil, invalid("no room for another key")
	}
	wrapped, err := wrap.Seal(u.dataKey, scalar, keyAAD(u.doc.ID, use, spki))
	if err != nil {
		return nil, err
	}
	u.doc.Keys = append(u.doc.Keys, keyRecord{Use: use, SPKI: spki, Wrapped: wrapped})
	return &u.doc.Keys[len(u.doc.Keys)-1], nil
}

// newScalar draws an SM2 private key: its 32 bytes and the key itself.
func newScalar() ([]byte, *sm2.PrivateKey, error) {
	for range 8 { // a scalar out of range has a probability of 2^-32
		scalar := make([]byte, scalarSize)
		if _, err := rand.Read(scalar); err != nil {
			return nil, nil, fmt.Errorf("draw signing key: %w", err)
		}
		if key, err := sm2.NewPrivateKey(scalar); err == nil {
			return scalar, key, nil
		}
	}
	return nil, nil, errors.New("draw signing key: no scalar in range")
}

// wipeKey overwrites a private key.
func wipeKey(key *sm2.PrivateKey) {
	clear(key.D.Bits())
}
