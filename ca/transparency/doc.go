// Package transparency is the public listing of an authority: an append-only
// Merkle tree of RFC 6962 and RFC 9162 over SM3, whose leaves are the
// certificates that were issued and the escrowed keys that were recovered.
//
// Who distrusts the authority keeps its signed heads. A proof of inclusion shows
// that a certificate stands in the listing, a proof of consistency that a later
// head continues an earlier one; two heads of one size with different roots prove
// a fork. All of it is verified offline, with the log's public key alone:
//
//	head.Verify(logKey)
//	transparency.VerifyInclusion(logKey, proof)
//	transparency.VerifyConsistency(logKey, proof)
//
// The tree itself ([Append], [Root], [Inclusion], [Consistency]) works on stored
// nodes of perfect subtrees, so that an append writes two of them on average and
// reads at most one per level, whatever the tree's size.
//
// # Who stands in the listing, and how
//
// A log can never forget. Leaves therefore name no natural person: the name of a
// person, or of the employee in an organisation's certificate, stands in no leaf.
// What an organisation needs for finding a certificate that was issued in its name
// without its knowledge is public register data and stands there: its name, its
// credit code, the holder's role. Certificates that name no human being
// (authorities, responders, platforms) stand there in full. Every certificate is
// committed to by its SM3 digest, which reveals nothing: serial number and
// signature are random.
//
// A holder is named by a digest of the lineage id (see [Holder]). Whoever has one
// of the holder's certificates finds the others, and every recovery of the
// holder's keys, without asking the authority; whoever has none learns nothing.
//
// SPEC.md is normative, testdata/vectors.json holds its vectors.
package transparency
