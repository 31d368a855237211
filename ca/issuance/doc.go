// Package issuance turns requests into certificates and nothing else: profiles,
// lint, sign. It stores nothing.
//
// An [Issuer] works in two steps that the types enforce. [Issuer.Prepare] builds
// the to-be-signed certificate and lints it; only what passed every lint comes
// back as a [Linted]. [Issuer.Issue] takes a Linted and signs exactly the bytes
// that were linted. There is no way to sign anything else.
//
//	serial, err := issuance.NewSerial(rand.Reader)     // store it before signing
//	linted, err := issuer.Prepare(issuance.Request{Profile: issuance.PersonSigning, Serial: serial, ...})
//	cert, err := issuer.Issue(linted)
//
// What is linted is the certificate itself, put together under a throw-away key
// of the issuer's family: the issuer's key signs nothing that was refused. Every
// certificate is held against its row of the profile table by the lints of this
// package; those of the ECDSA and RSA families are judged by zlint, too, which
// reads no SM2. A failed lint stops the issuance and gives its name, "zlint:NAME"
// for the latter.
//
// The profiles follow GM/T 0015 (certificate format based on SM2) and RFC 5280:
// a signing key never decrypts, an encryption key never signs.
package issuance
