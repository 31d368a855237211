package hsm

import (
	"crypto"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/emmansun/gmsm/sm2"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// DigestSigner is what a token does for SM2.
type DigestSigner interface {
	// SignDigest signs the 32 bytes e = SM3(ZA | M) of GB/T 32918.2 6.1 and
	// returns r and s, 32 bytes each, big-endian. It is safe for concurrent use.
	SignDigest(digest []byte) (rs []byte, err error)
}

const coordinateSize = 32

// ErrToken: a token returned something that is not its key's signature over the
// digest.
var ErrToken = errors.New("the token's signature does not verify")

// sm2Signer is a crypto.Signer as gmsm's keys are.
type sm2Signer struct {
	public *ecdsa.PublicKey
	token  DigestSigner
}

// NewSM2 makes a signer of a token's SM2 key. Its Sign takes the whole message
// with sm2.DefaultSM2SignerOpts, and nothing else: signatures over digests of the
// caller's, or under another user id than the standard one, are refused.
func NewSM2(public *ecdsa.PublicKey, token DigestSigner) (crypto.Signer, error) {
	if !sm2.IsSM2PublicKey(public) {
		return nil, errors.New("not an SM2 public key")
	}
	return &sm2Signer{public, token}, nil
}

// Public implements crypto.Signer.
func (s *sm2Signer) Public() crypto.PublicKey { return s.public }

// Sign implements crypto.Signer: DER SEQUENCE {r, s}. The token draws its own
// randomness.
func (s *sm2Signer) Sign(_ io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	if !reflect.DeepEqual(opts, crypto.SignerOpts(sm2.DefaultSM2SignerOpts)) { // the fields are gmsm's own
		return nil, errors.New("SM2 signatures are over whole messages with the standard user id")
	}
	digest, err := sm2.CalculateSM2Hash(s.public, message, nil)
	if err != nil {
		return nil, fmt.Errorf("digest: %w", err)
	}
	rs, err := s.token.SignDigest(digest)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	signature, err := encodeSignature(rs)
	if err != nil {
		return nil, err
	}
	if !sm2.VerifyASN1(s.public, digest, signature) {
		return nil, ErrToken
	}
	return signature, nil
}

// encodeSignature writes r and s in DER, as small as they are.
func encodeSignature(rs []byte) ([]byte, error) {
	if len(rs) != 2*coordinateSize {
		return nil, fmt.Errorf("%d bytes of signature: %w", len(rs), ErrToken)
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, half := range [][]byte{rs[:coordinateSize], rs[coordinateSize:]} {
			b.AddASN1(asn1.INTEGER, func(b *cryptobyte.Builder) {
				for len(half) > 1 && half[0] == 0 {
					half = half[1:]
				}
				if half[0]&0x80 != 0 {
					b.AddUint8(0)
				}
				b.AddBytes(half)
			})
		}
	})
	return b.Bytes()
}
