package keystore

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"slices"

	"github.com/bidseal/bidseal/app/core/keys"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
)

// recoverKeys adds the earlier encryption keys of a lineage with their
// certificates, oldest first as the file has them. signing is the key under
// which they are enveloped. Records may move.
func (u *unlocked) recoverKeys(signing *sm2.PrivateKey, all []keys.HistoricKey) error {
	for _, h := range slices.Backward(all) {
		if len(h.Chains) == 0 {
			return protocol.Errorf(protocol.CodeIssuanceConflict, "a historic key without certificates")
		}
		if len(h.Enveloped) == 0 {
			continue
		}
		spki, err := leafKey(h.Chains[0])
		if err != nil {
			return err
		}
		if err := u.addHistoric(signing, spki, h.Enveloped); err != nil {
			return err
		}
		if err := u.addChains(spki, h.Chains); err != nil {
			return err
		}
	}
	return nil
}

// recoverChains adds the earlier certificates over the current key.
func (u *unlocked) recoverChains(current []byte, all []keys.HistoricKey) error {
	for _, h := range all {
		if len(h.Enveloped) > 0 {
			continue
		}
		if err := u.addChains(current, h.Chains); err != nil {
			return err
		}
	}
	return nil
}

// addHistoric opens an enveloped key and keeps it, unless it is there.
func (u *unlocked) addHistoric(signing *sm2.PrivateKey, spki, enveloped []byte) error {
	scalar, key, err := openEnveloped(signing, enveloped)
	if err != nil {
		return protocol.Errorf(protocol.CodeUnwrapFailed, "historic key: %v", err)
	}
	defer clear(scalar)
	defer wipeKey(key)
	own, err := protocol.MarshalKey(&key.PublicKey)
	if err != nil || !bytes.Equal(own, spki) {
		return protocol.Errorf(protocol.CodeIssuanceConflict, "a historic certificate is not for the enveloped key")
	}
	if u.doc.key(keys.Encrypt, spki) != nil {
		return nil
	}
	_, err = u.add(keys.Encrypt, scalar, spki)
	return err
}

// addChains adds historic certificates to a key, the newest given first. Beyond
// what a key may hold the oldest are left out.
func (u *unlocked) addChains(spki []byte, chains [][][]byte) error {
	record := u.doc.key(keys.Encrypt, spki)
	for i := len(chains) - 1; i >= 0; i-- {
		own, err := leafKey(chains[i])
		if err != nil {
			return err
		}
		if !bytes.Equal(own, spki) {
			return protocol.Errorf(protocol.CodeIssuanceConflict, "a historic certificate is not for its key")
		}
		if u.doc.holds(spki, chains[i]) {
			continue
		}
		record.Certs = append(record.Certs, certRecord{Chain: asBytes(chains[i]), Historic: true})
	}
	record.Certs = record.Certs[max(0, len(record.Certs)-maxCerts+1):] // a new one may follow
	return nil
}

// supersede makes certificates historic: they no longer sign, but their keys still
// decrypt.
func (d *document) supersede(ids []string) {
	for i := range d.Keys {
		for j := range d.Keys[i].Certs {
			c := &d.Keys[i].Certs[j]
			if slices.Contains(ids, keys.CertificateID(c.Chain[0])) {
				c.Historic = true
			}
		}
	}
}

// proveEncryption decrypts on trial with every encryption key of the file as it
// was wrapped, under the public key of its newest certificate. A key that does
// not open what a sender encrypts must not look recovered.
func (u *unlocked) proveEncryption() error {
	for i := range u.doc.Keys {
		k := &u.doc.Keys[i]
		if k.Use != keys.Encrypt || len(k.Certs) == 0 {
			continue
		}
		if err := u.prove(k); err != nil {
			return err
		}
	}
	return nil
}

func (u *unlocked) prove(k *keyRecord) error {
	cert, err := trust.ParseCertificate(k.Certs[len(k.Certs)-1].Chain[0])
	if err != nil {
		return protocol.Errorf(protocol.CodeCertUntrusted, "%v", err)
	}
	public, err := protocol.MarshalKey(cert.PublicKey)
	if err != nil || !bytes.Equal(public, k.SPKI) {
		return protocol.Errorf(protocol.CodeUnwrapFailed, "an encryption certificate is not for its key")
	}
	sample, err := protocol.Random(scalarSize)
	if err != nil {
		return err
	}
	to, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return protocol.Errorf(protocol.CodeCertUsage, "an encryption certificate is not for an SM2 key")
	}
	sealed, err := sm2.EncryptASN1(rand.Reader, to, sample)
	if err != nil {
		return protocol.Errorf(protocol.CodeUnwrapFailed, "trial encryption: %v", err)
	}
	opened, err := u.decrypt(k, sealed)
	if err != nil || !bytes.Equal(opened, sample) {
		return protocol.Errorf(protocol.CodeUnwrapFailed, "a recovered key does not open what is encrypted for its certificate")
	}
	return nil
}

// decrypt opens a ciphertext with a wrapped encryption key.
func (u *unlocked) decrypt(k *keyRecord, ciphertext []byte) ([]byte, error) {
	key, err := u.private(k)
	if err != nil {
		return nil, err
	}
	defer wipeKey(key)
	plain, err := sm2.Decrypt(key, ciphertext)
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeUnwrapFailed, "the ciphertext does not open with this key")
	}
	return plain, nil
}

// Open implements keys.Opener.
func (s *signer) Open(certificateID string, ciphertext []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		return nil, errClosed
	}
	if len(ciphertext) > keys.MaxWrapped {
		return nil, protocol.Errorf(protocol.CodeTooLarge, "a wrapped key of %d bytes", len(ciphertext))
	}
	for i := range s.open.doc.Keys {
		k := &s.open.doc.Keys[i]
		for _, c := range k.Certs {
			if k.Use == keys.Encrypt && keys.CertificateID(c.Chain[0]) == certificateID {
				return s.open.decrypt(k, ciphertext)
			}
		}
	}
	return nil, protocol.Errorf(protocol.CodeNoCertificate, "no encryption key for certificate %.16s", certificateID)
}
