// Package trust reads and judges what an authority has signed: certificate
// chains, OCSP answers, revocation lists, and the identity a certificate
// states. It holds no state, opens no connection and imports no other part of
// the project, so that a platform, a relay and a phone in a browser can all use
// it on bytes that they fetched themselves.
//
// A caller makes a [Store] of the roots it believes, and asks it:
//
//	store, err := trust.NewStore(root)
//	chain, err := trust.ParseChain(der)                 // leaf first
//	v, err := store.Verify(chain, trust.VerifyOptions{Time: now, Usage: trust.Signing})
//	status, err := trust.VerifyOCSP(answer, v.Chain[0], v.Chain[1], trust.OCSPOptions{Now: now})
//	err = status.Err()                                  // ErrRevoked, ErrStatusUnknown
//	who, err := trust.ReadIdentity(v, trust.DefaultOIDs())
//
// SM2 (GB/T 32918 with SM3 and the default user id 1234567812345678) comes
// first; ECDSA on the NIST curves and RSA of at least 2048 bits are judged by
// the same code. Signatures over SHA-1 are refused.
//
// Every error can be told apart with errors.Is; see the Err variables.
package trust
