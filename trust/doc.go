// Package trust reads and judges what an authority has signed: certificate
// chains, OCSP answers, revocation lists, and the identity a certificate
// states. It holds no state, opens no connection and imports no other part of
// the project, so that a platform, a relay and a phone in a browser can all use
// it on bytes that they fetched themselves.
//
// Whom a caller believes stands in the trust file ([File]), which the authority
// and the relay write and everybody else reads. A caller makes a [Store] of it,
// and asks it:
//
//	file, err := trust.ParseFile(raw)
//	store, err := file.Store()
//	chain, err := trust.ParseChain(der)                 // leaf first
//	v, err := store.Verify(chain, trust.VerifyOptions{Time: now, Usage: trust.Signing})
//	status, err := trust.VerifyOCSP(answer, v.Chain[0], v.Chain[1], trust.OCSPOptions{Now: now})
//	err = status.Err()                                  // ErrRevoked, ErrStatusUnknown
//	who, err := trust.ReadIdentity(v)
//
// SM2 (GB/T 32918 with SM3 and the default user id 1234567812345678) comes
// first; ECDSA on the NIST curves and RSA of at least 2048 bits are judged by
// the same code. Signatures over SHA-1 are refused.
//
// Every error can be told apart with errors.Is; see the Err variables.
package trust
