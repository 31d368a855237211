// Package keystore keeps a person's certificate keys in one file under a
// password. It is the software implementation of keys.Provider.
//
// A random data key wraps every private key; slots wrap the data key. Everything
// wrapped is sealed with SM4-GCM, and the associated data ties it to the file,
// its version, its slot and its epoch, or to the use and public key, so that no
// part can be moved to another place. The file tells without a password which
// certificates there are.
//
// The password slot's key is HKDF-SM3 over Argon2id of the password, with the
// parameters in the file, and the answer of a server that counts the tries and
// locks at the tenth (ca/assist/SPEC.md). A stolen copy of the file, or of all
// files of the phone, is of no use without that server. A second slot opens with
// a secret of the device and a share that the server releases after a real-name
// check: that is how a forgotten password is reset. A new password is a new epoch
// with a new data key; the server deletes the old one when the first success
// under the new one was proved.
//
// A file is made under the password alone, because the authority does not know
// the phone yet, and comes under the server's help when the enrolment is through;
// a file of an older program at the first unlocking at which the server can be
// reached. Until then wrong passwords are counted in a second file, and a thief of
// both can reset the counter and try as fast as Argon2id allows. With an authority
// that has no such server, this remains so.
//
// Keys are overwritten after use as far as Go lets a program do it; copies inside
// the runtime or the libraries may outlive that until they are collected.
package keystore
