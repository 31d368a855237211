//go:build pkcs11 && cgo

package cacmd

import (
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/ca/hsm"
)

// newTokens is the access to hardware security modules. Its sessions end with the
// process.
func newTokens() folder.Tokens { return hsm.NewTokens() }
