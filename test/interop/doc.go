// Package interop has implementations that share no code with this module judge what it makes: BouncyCastle (the Java
// sources beside this file), OpenSSL, sm-crypto-v2 (smcrypto/peer.mjs), the SM2 implementation in JavaScript that
// pages and phones in the field use, and @noble/curves (voprf/peer.mjs), which has RFC 9497.
//
// The tests stand behind the build tag interop and need Debian's packages default-jdk-headless, libbcpkix-java,
// libbcprov-java, openssl, nodejs and npm, which brings exactly the packages of smcrypto/package-lock.json
// and voprf/package-lock.json (`make interop`); a missing one fails. Every kind of check has a control: the same bytes with one bit turned, or one
// thing exchanged, which the judge has to refuse for the expected reason.
package interop
