// Package kmc is the key management centre: it makes the encryption key pairs
// of dual certificates, keeps them wrapped under a key-encryption key, and hands
// them out only inside an EnvelopedKey (GB/T 35276) under the holder's signing
// key. A private key leaves this package in no other form, and every release is
// told to the auditor in the same transaction.
//
// A record is wrapped by SM4-GCM with a nonce of its own; the record's id,
// lineage and public key are authenticated with it, so that records cannot be
// exchanged in the database.
package kmc
