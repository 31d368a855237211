package protocol

import (
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"math/big"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm3"
	"github.com/emmansun/gmsm/sm4"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Sizes in bytes.
const (
	SecretSize   = 16 // s, drawn by the SDK, carried by the QR
	KClaimSize   = 32
	FrameKeySize = 32
	WatchSize    = 16
	NonceSize    = 32
	MixSize      = 32 // x, drawn by the phone for each claim
	PointSize    = 65 // E, uncompressed SM2 point 04 | X | Y
	HashSize     = 32
	gcmNonceSize = 12
	gcmTagSize   = 16
	// MaxBox is the largest box: MaxJSON of plaintext, nonce and tag.
	MaxBox = MaxJSON + gcmNonceSize + gcmTagSize
	// MaxKEM bounds a kem: the DER SM2 ciphertext of 32 bytes takes at most 141.
	MaxKEM = 141
)

// KeySet is what follows from the QR's secret s. Whoever sees the QR can
// derive it; nothing confidential towards the holder of the QR is protected by it.
type KeySet struct {
	CID    CID
	KClaim []byte // 32: shown to the relay by the phone that claims
	kReq   []byte // 16: opens boxR
	kMix   []byte // 32: mixed into the keys of every claim
}

// NewSecret draws s.
func NewSecret() ([]byte, error) { return Random(SecretSize) }

// Random draws n bytes from crypto/rand.
func Random(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		return nil, fmt.Errorf("draw random bytes: %w", err)
	}
	return b, nil
}

// Derive expands the QR's secret (SPEC.md, section 4).
func Derive(s []byte) (*KeySet, error) {
	if len(s) != SecretSize {
		return nil, Errorf(CodeMalformed, "secret of %d bytes, want %d", len(s), SecretSize)
	}
	prk, err := hkdf.Extract(sm3.New, s, []byte("bidseal/1"))
	if err != nil {
		return nil, fmt.Errorf("derive challenge keys: %w", err)
	}
	defer clear(prk)
	ks := &KeySet{}
	cid, err := expand(prk, T(TagCID), len(ks.CID))
	if err != nil {
		return nil, err
	}
	copy(ks.CID[:], cid)
	if ks.KClaim, err = expand(prk, T(TagClaim), KClaimSize); err != nil {
		return nil, err
	}
	if ks.kReq, err = expand(prk, T(TagReq), 16); err != nil {
		return nil, err
	}
	if ks.kMix, err = expand(prk, T(TagMix), 32); err != nil {
		return nil, err
	}
	return ks, nil
}

// Wipe overwrites the derived keys.
func (k *KeySet) Wipe() {
	clear(k.KClaim)
	clear(k.kReq)
	clear(k.kMix)
}

func expand(prk, info []byte, n int) ([]byte, error) {
	out, err := hkdf.Expand(sm3.New, prk, string(info), n)
	if err != nil {
		return nil, fmt.Errorf("derive challenge keys: %w", err)
	}
	return out, nil
}

// seal encrypts with SM4-GCM under a random nonce that it puts in front.
func seal(key, plaintext, aad []byte) ([]byte, error) {
	nonce, err := Random(gcmNonceSize)
	if err != nil {
		return nil, err
	}
	return sealWith(key, nonce, plaintext, aad)
}

func sealWith(key, nonce, plaintext, aad []byte) ([]byte, error) {
	aead, err := gcm(key)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nonce[:len(nonce):len(nonce)], nonce, plaintext, aad), nil
}

func open(key, box, aad []byte) ([]byte, error) {
	aead, err := gcm(key)
	if err != nil {
		return nil, err
	}
	if len(box) < gcmNonceSize+gcmTagSize || len(box) > MaxBox {
		return nil, Errorf(CodeBoxInvalid, "box of %d bytes", len(box))
	}
	out, err := aead.Open(nil, box[:gcmNonceSize], box[gcmNonceSize:], aad)
	if err != nil {
		return nil, Errorf(CodeBoxInvalid, "box does not open: wrong key, challenge, claim or altered bytes")
	}
	return out, nil
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := sm4.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("sm4: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("sm4-gcm: %w", err)
	}
	return aead, nil
}

// NewEphemeral draws the SDK's key pair of one challenge and returns e and E,
// the uncompressed point 04 | X | Y.
func NewEphemeral() (*sm2.PrivateKey, []byte, error) {
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("draw ephemeral key: %w", err)
	}
	pub, err := sm2.PublicKeyToECDH(&key.PublicKey)
	if err != nil {
		return nil, nil, fmt.Errorf("encode ephemeral key: %w", err)
	}
	return key, pub.Bytes(), nil
}

// Context binds the keys and boxes of one claim to its challenge.
type Context struct {
	CID      CID
	RH       []byte // 32, commitment to the request
	ClaimSeq uint32 // counted by the relay, from 1
	E        []byte // 65, the SDK's ephemeral public key
}

func (c Context) check() error {
	if len(c.RH) != HashSize || len(c.E) != PointSize || c.ClaimSeq == 0 {
		return Errorf(CodeMalformed, "claim context is incomplete")
	}
	return nil
}

// ClaimKeys are the two box keys of one claim. Only the phone that drew x and
// the holder of the ephemeral private key e can derive them.
type ClaimKeys struct {
	ctx Context
	KEM []byte // DER SM2 ciphertext (GB/T 35276) of x; the same bytes in every message of the claim
	up  []byte
	dn  []byte
}

// NewClaim draws x and wraps it to E: the phone's side.
func NewClaim(ks *KeySet, ctx Context) (*ClaimKeys, error) {
	if err := ctx.check(); err != nil {
		return nil, err
	}
	pub, err := parsePoint(ctx.E)
	if err != nil {
		return nil, err
	}
	x, err := Random(MixSize)
	if err != nil {
		return nil, err
	}
	defer clear(x)
	kem, err := sm2.EncryptASN1(rand.Reader, pub, x)
	if err != nil {
		return nil, fmt.Errorf("wrap claim key: %w", err)
	}
	return deriveClaim(ks, ctx, x, kem)
}

// OpenClaim unwraps the phone's x with the ephemeral private key: the SDK's
// side. Error: CodeBoxInvalid.
func OpenClaim(ks *KeySet, ctx Context, e *sm2.PrivateKey, kem []byte) (*ClaimKeys, error) {
	if err := ctx.check(); err != nil {
		return nil, err
	}
	if err := CheckKEM(kem); err != nil {
		return nil, err
	}
	x, err := sm2.Decrypt(e, kem)
	if err != nil || len(x) != MixSize {
		return nil, Errorf(CodeBoxInvalid, "kem does not open")
	}
	defer clear(x)
	return deriveClaim(ks, ctx, x, kem)
}

// CheckKEM refuses everything but the one DER form of an SM2 ciphertext of 32
// bytes: SEQUENCE{X, Y INTEGER, HASH, C OCTET STRING} (GB/T 35276, section 7.2).
// The SM2 library would take the raw forms as well, and a value with two
// spellings would have two digests. Error: CodeBoxInvalid.
func CheckKEM(kem []byte) error {
	var inner, hash, cipher cryptobyte.String
	x, y := new(big.Int), new(big.Int)
	in := cryptobyte.String(kem)
	if len(kem) > MaxKEM || !in.ReadASN1(&inner, asn1.SEQUENCE) || !in.Empty() ||
		!inner.ReadASN1Integer(x) || !inner.ReadASN1Integer(y) ||
		!inner.ReadASN1(&hash, asn1.OCTET_STRING) || !inner.ReadASN1(&cipher, asn1.OCTET_STRING) || !inner.Empty() ||
		len(hash) != HashSize || len(cipher) != MixSize || x.Sign() < 0 || y.Sign() < 0 {
		return Errorf(CodeBoxInvalid, "kem of %d bytes is not the DER form of an SM2 ciphertext", len(kem))
	}
	return nil
}

// parsePoint reads 04 | X | Y: on the curve, and not the point at infinity,
// which has no such form.
func parsePoint(e []byte) (*ecdsa.PublicKey, error) {
	if len(e) != PointSize || e[0] != 4 {
		return nil, Errorf(CodeMalformed, "ephemeral key is not an uncompressed point")
	}
	pub, err := sm2.NewPublicKey(e)
	if err != nil {
		return nil, Errorf(CodeMalformed, "ephemeral key is not a point of the SM2 curve")
	}
	return pub, nil
}

func deriveClaim(ks *KeySet, ctx Context, x, kem []byte) (*ClaimKeys, error) {
	ikm := concat(x, ks.kMix)
	defer clear(ikm)
	prk, err := hkdf.Extract(sm3.New, ikm, ctx.RH)
	if err != nil {
		return nil, fmt.Errorf("derive claim keys: %w", err)
	}
	defer clear(prk)
	info := concat(ctx.CID[:], u32(ctx.ClaimSeq), ctx.E)
	up, err := expand(prk, concat(T(TagUp), info), 16)
	if err != nil {
		return nil, err
	}
	dn, err := expand(prk, concat(T(TagDown), info), 16)
	if err != nil {
		return nil, err
	}
	return &ClaimKeys{ctx: ctx, KEM: kem, up: up, dn: dn}, nil
}

// BoxType says what a box holds; its direction follows.
type BoxType byte

// The boxes of a claim.
const (
	BoxOpen   BoxType = 1 // phone to SDK: OpenBox
	BoxReady  BoxType = 2 // SDK to phone: ReadyBox
	BoxResult BoxType = 3 // phone to SDK: ResultBox
)

func (k *ClaimKeys) keyAndAAD(typ BoxType) (key, aad []byte, err error) {
	var dir byte
	switch typ {
	case BoxOpen, BoxResult:
		key = k.up
	case BoxReady:
		key, dir = k.dn, 1
	default:
		return nil, nil, Errorf(CodeMalformed, "box type %d is not known", typ)
	}
	return key, concat(T(TagBox), []byte{dir, byte(typ)}, k.ctx.CID[:], k.ctx.RH, u32(k.ctx.ClaimSeq)), nil
}

// Seal encodes v as strict JSON and seals it as a box of the given type.
func (k *ClaimKeys) Seal(typ BoxType, v any) ([]byte, error) {
	key, aad, err := k.keyAndAAD(typ)
	if err != nil {
		return nil, err
	}
	plain, err := encodeBounded(v)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	return seal(key, plain, aad)
}

// boxContent is what a box of the protocol holds; Open checks it.
type boxContent interface{ check() error }

// Open opens a box of the given type, decodes its strict JSON into v and checks
// an OpenBox, ReadyBox or ResultBox. Error: CodeBoxInvalid.
func (k *ClaimKeys) Open(typ BoxType, box []byte, v any) error {
	key, aad, err := k.keyAndAAD(typ)
	if err != nil {
		return err
	}
	plain, err := open(key, box, aad)
	if err != nil {
		return err
	}
	defer clear(plain)
	if err := decodeInner(plain, v, CodeBoxInvalid); err != nil {
		return err
	}
	if c, ok := v.(boxContent); ok {
		return c.check()
	}
	return nil
}

// Wipe overwrites the box keys.
func (k *ClaimKeys) Wipe() {
	clear(k.up)
	clear(k.dn)
}

// ResultDigest identifies a result by all its bytes; the receipt signs it, so
// the relay cannot exchange ciphertext, claim or challenge under a receipt.
func ResultDigest(cid CID, claimSeq uint32, kem, box []byte) []byte {
	return H(T(TagResult), cid[:], u32(claimSeq), u32(uint32(len(kem))), kem, box)
}

// Equal compares two byte strings in constant time.
func Equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
