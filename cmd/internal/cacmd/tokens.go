//go:build !pkcs11 || !cgo

package cacmd

import "github.com/bidseal/bidseal/ca/folder"

// newTokens is the access to hardware security modules, which only a program
// built with -tags pkcs11 has.
func newTokens() folder.Tokens { return nil }
