package keys

import "github.com/bidseal/bidseal/ca/caapi"

// Succession is the message by which a certificate's key authorises its successor,
// in a request for renewal or change (caapi.EnrolRequest).
func Succession(r *caapi.EnrolRequest) Message {
	message := r.SuccessionMessage()
	return Message{content: message, signed: message}
}

// HistoricKey is an earlier encryption key of a lineage, as a reissue brings it
// to a new phone.
type HistoricKey struct {
	// Chains of the earlier certificates over the key, newest first, each DER,
	// leaf first.
	Chains [][][]byte
	// Enveloped is the EnvelopedKey (GB/T 35276) under the new signing key; empty
	// where the key is that of the new encryption certificate.
	Enveloped []byte
}

// Opener opens what was encrypted for a person's certificate. The Signer that a
// Provider's Use hands over is one where the provider can decrypt.
type Opener interface {
	// Open decrypts a wrapped key (DER SEQUENCE{X, Y, HASH, C}, at most
	// MaxWrapped bytes) with the key of an encryption certificate, a historic one
	// too. Errors: protocol.CodeNoCertificate, protocol.CodeUnwrapFailed.
	Open(certificateID string, ciphertext []byte) ([]byte, error)
}

// MaxWrapped is the longest ciphertext in bytes that an Opener opens: keys, not
// files.
const MaxWrapped = 1 << 10
