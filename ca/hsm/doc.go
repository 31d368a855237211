// Package hsm signs with keys in hardware security modules, through PKCS#11.
//
// A key is named by a URI of RFC 7512 with the module's path, the token's and the
// key's label, and a file with the PIN:
//
//	pkcs11:token=bidseal;object=issuing-1?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/bidseal/pin
//
// [Tokens], built with the tag pkcs11 (it needs CGO), makes and opens ECDSA P-256
// and RSA 3072 key pairs whose private half never leaves the token.
//
// SM2 is not part of the PKCS#11 standard: each vendor has a mechanism number and
// a way to make keys of its own. What is common to them is small, and a
// [DigestSigner] is it: 32 bytes of digest in, r and s out. gmsm hands a
// crypto.Signer the whole message for SM2; the signer of [NewSM2] computes ZA and
// SM3 itself (GB/T 32918.2), sends the digest, encodes what comes back and
// verifies it before anybody sees it. SM2 keys are made with the vendor's tool;
// x-mechanism in the URI's query is the number of the vendor's mechanism for
// signing a digest, 0x1041 (CKM_ECDSA) if it is missing. No module with SM2 was
// at hand: the adapter is tested with a token in software, and the PKCS#11 calls
// of that path with SoftHSM and an ECDSA key.
package hsm
