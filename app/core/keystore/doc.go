// Package keystore keeps a person's certificate keys in one file under a
// password. It is the software implementation of keys.Provider.
//
// A random data key wraps every private key; slots wrap the data key. The
// password slot's key is HKDF-SM3 over Argon2id of the password, with the
// parameters in the file. Everything wrapped is sealed with SM4-GCM, and the
// associated data ties it to the file, its version, its slot and its epoch, or
// to the use and public key, so that no part can be moved to another place.
// A new password is a new epoch. Slots of a type that this version does not
// know (a password with the help of a server, a share for resetting it, an
// authenticator of the device) are kept as they are.
//
// The file tells without a password which certificates there are.
//
// What it does not do: wrong passwords are counted in a second file before each
// evaluation, and the tenth locks; but who steals the files can put the counter
// back and try as fast as Argon2id lets them. Only the slot with the help of a
// server closes that. Keys are overwritten after use as far as Go lets a program
// do it; copies inside the runtime or the SM2 library's cache may outlive that
// until they are collected.
package keystore
