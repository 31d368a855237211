// Package assist is the server that phones need for turning a certificate
// password into a key. Its answer is one half of that key, so that a stolen
// keystore file cannot be tried out; it counts every try before it answers, and
// locks at the tenth. SPEC.md beside this file is the normative text.
//
// A keystore has one active epoch: a key of the function, a share for resetting
// the password, and the key by which successes are proved. Both secrets are
// random, made for this one epoch, and lie in the database under the
// key-encryption key. A key for the whole server would be simpler, but the old
// password would go on opening the old file for ever; this way deleting the row
// is what makes it worthless. And a copy of the database alone opens nothing.
//
//	begin      a pending epoch with a new key, authorised by the active one
//	evaluate   the device's signature; count, evaluate, store in one transaction
//	prove      the counter goes back; a pending epoch becomes the only one
//	reset      the share, for a one-use real-name token of this device
//	destroy    every epoch of a device, when its certificates went to another
//
// Nothing here knows a password or anything that follows from one but blinded
// elements; those and the answers are stored under the key-encryption key, too,
// because a blind that a phone keeps on its disk would make them an oracle.
package assist
