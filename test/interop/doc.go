// Package interop has implementations that share no code with this module judge what it makes: BouncyCastle (the Java
// sources beside this file) and OpenSSL.
//
// The tests stand behind the build tag interop and need Debian's packages default-jdk-headless, libbcpkix-java,
// libbcprov-java and openssl (`make interop`); a missing one fails. Every kind of check has a control: the same bytes
// with one bit turned, or one thing exchanged, which the judge has to refuse for the expected reason.
package interop
