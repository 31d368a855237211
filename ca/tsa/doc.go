// Package tsa is a timestamp authority (RFC 3161; GB/T 20520 with SM2 and SM3).
// It knows no database and no network: [Authority.Respond] turns the DER of a
// request into the DER of a response.
//
// Two things must survive a crash, and a [Ledger] keeps them:
//
// Serial numbers. A block is set aside durably before its first number is used,
// and what a crash left of it is never used. A number is
//
//	u64 block | 8 random bytes of the block | u32 place in the block
//
// in 160 bits. The ledger counts the blocks; the random bytes keep numbers apart
// where an old copy of the ledger was restored and counts some blocks again.
//
// Time. Before a token states a time, the ledger holds a mark that is not before
// it. A clock that stands before the last token, or, after a restart, before the
// mark by more than a second, has gone back: the authority refuses with
// timeNotAvailable until it has caught up.
//
// Tokens state whole seconds, accuracy one second, and no ordering: two processes
// on one ledger stamp side by side.
package tsa
