package protocol

// What the vectors need of the package's inside: boxes under a fixed nonce and
// the keys that no caller sees.

// SealFixed seals under a given nonce.
func SealFixed(key, nonce, plaintext, aad []byte) ([]byte, error) {
	return sealWith(key, nonce, plaintext, aad)
}

// ReqMix are the keys k_req and k_mix.
func (k *KeySet) ReqMix() (req, mix []byte) { return k.kReq, k.kMix }

// Boxes are the keys K_up and K_dn.
func (k *ClaimKeys) Boxes() (up, down []byte) { return k.up, k.dn }

// Limits of texts that have no exported name.
const (
	StaticDigits   = staticDigits
	AnimatedDigits = animatedDigits
	MaxPass        = maxPass
	MaxShownLines  = maxShownLines
)
