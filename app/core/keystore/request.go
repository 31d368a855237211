package keystore

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509/pkix"
	"fmt"
	"slices"

	"github.com/bidseal/bidseal/app/core/keys"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// Request implements keys.Provider. The file with the wrapped key is durable
// before the request is handed out.
func (s *Store) Request(ctx context.Context, id string, password []byte) ([]byte, error) {
	release, err := s.files.Lock(ctx, storeFile)
	if err != nil {
		return nil, err
	}
	defer release()
	d, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	var u *unlocked
	if d == nil {
		u, err = s.create(password)
	} else {
		u, err = s.unlock(ctx, d, password)
	}
	if err != nil {
		return nil, err
	}
	defer u.wipe()
	defer s.prove(ctx, u)
	for _, k := range u.doc.Keys {
		if k.Request != nil && k.Request.ID == id {
			return k.Request.CSR, nil
		}
	}
	csr, err := u.newRequest(id)
	if err != nil {
		return nil, err
	}
	return csr, s.save(ctx, u.doc)
}

// newRequest draws a signing key and signs the request for it.
func (u *unlocked) newRequest(id string) ([]byte, error) {
	scalar, key, err := newScalar()
	if err != nil {
		return nil, err
	}
	defer clear(scalar)
	defer wipeKey(key)
	// The authority takes the subject from its own records, never from here.
	subject := &smx509.CertificateRequest{Subject: pkix.Name{CommonName: "phone"}}
	csr, err := smx509.CreateCertificateRequest(rand.Reader, subject, key)
	if err != nil {
		return nil, fmt.Errorf("certification request: %w", err)
	}
	spki, err := protocol.MarshalKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	record, err := u.add(keys.Sign, scalar, spki)
	if err != nil {
		return nil, err
	}
	record.Request = &requestRecord{ID: id, CSR: csr}
	return csr, nil
}

// Install implements keys.Provider.
func (s *Store) Install(ctx context.Context, id string, password []byte, g keys.Grant) error {
	release, err := s.files.Lock(ctx, storeFile)
	if err != nil {
		return err
	}
	defer release()
	d, err := s.load(ctx)
	if err != nil {
		return err
	}
	if d == nil {
		return protocol.Errorf(protocol.CodeIssuanceConflict, "this phone made no request")
	}
	signSPKI, err := leafKey(g.Sign)
	if err != nil {
		return err
	}
	encryptSPKI, err := leafKey(g.Encrypt)
	if err != nil {
		return err
	}
	if d.holds(signSPKI, g.Sign) && d.holds(encryptSPKI, g.Encrypt) {
		return nil
	}
	record := d.key(keys.Sign, signSPKI)
	if record == nil || record.Request == nil || record.Request.ID != id {
		return protocol.Errorf(protocol.CodeIssuanceConflict, "the signing certificate is not for the key of this request")
	}
	u, err := s.unlock(ctx, d, password)
	if err != nil {
		return err
	}
	defer u.wipe()
	defer s.prove(ctx, u)
	if err := u.install(record, g, encryptSPKI); err != nil {
		return err
	}
	return s.save(ctx, u.doc)
}

// Discard implements keys.Provider. It needs no password: anyone who can write
// the file can also remove it.
func (s *Store) Discard(ctx context.Context, id string) error {
	release, err := s.files.Lock(ctx, storeFile)
	if err != nil {
		return err
	}
	defer release()
	d, err := s.load(ctx)
	if err != nil || d == nil {
		return err
	}
	d.Keys = slices.DeleteFunc(d.Keys, func(k keyRecord) bool {
		return k.Request != nil && k.Request.ID == id && len(k.Certs) == 0
	})
	if len(d.Keys) > 0 {
		return s.save(ctx, d)
	}
	if err := s.files.Remove(ctx, storeFile); err != nil {
		return fmt.Errorf("keystore: %w", err)
	}
	return nil
}

// install adds both certificates and what a reissue brings to the document.
// record is the waiting signing key.
func (u *unlocked) install(record *keyRecord, g keys.Grant, encryptSPKI []byte) error {
	signing, err := u.private(record)
	if err != nil {
		return err
	}
	defer wipeKey(signing)
	scalar, err := unwrapEncryption(signing, g.Enveloped, encryptSPKI)
	if err != nil {
		return err
	}
	defer clear(scalar)
	record.Request = nil
	record.Certs = append(record.Certs, certRecord{Chain: asBytes(g.Sign)})
	// adding may move the records: record is not used any more
	if err := u.recoverKeys(signing, g.History); err != nil {
		return err
	}
	if u.doc.key(keys.Encrypt, encryptSPKI) == nil {
		if _, err := u.add(keys.Encrypt, scalar, encryptSPKI); err != nil {
			return err
		}
	}
	if err := u.recoverChains(encryptSPKI, g.History); err != nil {
		return err
	}
	u.doc.supersede(g.Supersedes)
	own := u.doc.key(keys.Encrypt, encryptSPKI)
	own.Certs = append(own.Certs, certRecord{Chain: asBytes(g.Encrypt)})
	return u.proveEncryption()
}

// unwrapEncryption opens the enveloped key with the signing key and checks that
// it is the certificate's.
func unwrapEncryption(signing *sm2.PrivateKey, enveloped, encryptSPKI []byte) ([]byte, error) {
	scalar, encryption, err := openEnveloped(signing, enveloped)
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeIssuanceConflict, "%v", err)
	}
	defer wipeKey(encryption)
	spki, err := protocol.MarshalKey(&encryption.PublicKey)
	if err != nil || !bytes.Equal(spki, encryptSPKI) {
		clear(scalar)
		return nil, protocol.Errorf(protocol.CodeIssuanceConflict, "the encryption certificate is not for the enveloped key")
	}
	return scalar, nil
}

// leafKey reads the SM2 public key of a chain's first certificate.
func leafKey(chain [][]byte) ([]byte, error) {
	certs, err := trust.ParseChain(chain)
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeCertUntrusted, "%v", err)
	}
	alg, err := protocol.AlgOf(certs[0].PublicKey)
	if err != nil || alg != protocol.AlgSM2 {
		return nil, protocol.Errorf(protocol.CodeIssuanceConflict, "the certificate is not for an SM2 key")
	}
	return protocol.MarshalKey(certs[0].PublicKey)
}

// key finds a key by use and public key.
func (d *document) key(use keys.Use, spki []byte) *keyRecord {
	for i := range d.Keys {
		if d.Keys[i].Use == use && bytes.Equal(d.Keys[i].SPKI, spki) {
			return &d.Keys[i]
		}
	}
	return nil
}

// holds reports whether the certificate is stored already.
func (d *document) holds(spki []byte, chain [][]byte) bool {
	for _, k := range d.Keys {
		for _, c := range k.Certs {
			if bytes.Equal(k.SPKI, spki) && bytes.Equal(c.Chain[0], chain[0]) {
				return true
			}
		}
	}
	return false
}

func asBytes(chain [][]byte) []protocol.Bytes {
	out := make([]protocol.Bytes, len(chain))
	for i, der := range chain {
		out[i] = der
	}
	return out
}
