// Package ca is the certificate authority: it enrols phones with dual SM2
// certificates, certifies platforms, vouches for the status of what it issued,
// and keeps an audit log of everything it does.
//
// [folder.Init] is the ceremony. It makes, in one folder, a root, an issuing authority
// below it, an OCSP responder, the key-encryption key of the key management
// centre, and the keys that sign device passes and the audit log; every private
// key in a file of its own under a passphrase. [Open] opens such a folder. Several
// processes may have it open at once: the server, and the commands of an
// operator.
//
// Issuance is written down before it happens:
//
//	pending   request id, digest, serial numbers, dates and key record are stored
//	lint      both certificates are built and linted
//	sign      exactly the linted bytes are signed
//	issued    certificates and the answer are stored in one transaction
//
// A crash at any point leaves a row from which the same certificates are made
// when the request comes again or [life.Life.Reconcile] runs: never two for one
// request, never one lost.
//
// A certificate lives on in its lineage: renewed, changed and reissued by one-use
// codes ([life.Life.AuthoriseRenewal], [life.Life.AuthoriseChange],
// [life.Life.AuthoriseReissue]), held, resumed and revoked by operators. A lineage
// moves by compare-and-swap on its newest certificate and on the one issuance
// under way; what an issuance replaces is revoked in the transaction that stores
// the new certificates. docs/certificate-life.md has the rules.
//
// The authority is made of rooms, each a package that knows only those before it:
//
//	audit      the log
//	listing    the public listing
//	status     certificates, revocation lists, OCSP
//	life       issuances, lineages, codes, devices, destructions, releases
//	registry   operators, applications, recoveries, platforms
//	folder     configuration, keys, ceremony, rotation, backup
//	server     HTTP
//
// [Authority] composes them by its fields; nothing is called through it. One table
// is written in one room, a write takes the [audit.Actor] to whom it is attributed,
// and only life, registry and folder open a transaction. The packages issuance
// (profiles, lint, sign), kmc (key management centre) and trust (judging) carry the
// parts that stand alone.
package ca
