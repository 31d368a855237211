// Package timestamp reads, judges and writes the messages of the Time-Stamp
// Protocol (RFC 3161, RFC 5816; GB/T 20520 with SM2 and SM3): requests,
// responses, and the tokens in them. It holds no state, opens no connection and
// imports nothing of the project but package trust, so that a platform, a phone
// in a browser and a verifier years later can all use it.
//
// Who wants a timestamp sends a request and judges the answer:
//
//	nonce, request, err := timestamp.NewRequest(digest)
//	token, err := timestamp.ReadResponse(answer)          // *Rejection where none was granted
//	stamp, err := timestamp.Verify(token, timestamp.Options{Anchors: store, Imprint: digest, Nonce: nonce})
//
// Who has a token only wants to know whether it stands:
//
//	stamp, err := timestamp.Verify(token, timestamp.Options{Anchors: store, Imprint: digest})
//	fmt.Println(stamp.Info.Time)
//
// Verify refuses a token whose signed attributes do not name the signer's
// certificate by ESSCertIDv2 (RFC 5816): without it, another certificate over the
// same key could be slid in.
//
// A token is signed with SM2 and SM3, ECDSA or RSA. For SM2 the signature is
// named 1.2.156.10197.1.501, the one identifier that BouncyCastle's TSP reads;
// tokens that say 1.2.156.10197.1.301.1 (GB/T 35275) are read, too, and so is
// that standard's own content type for signed data.
package timestamp
