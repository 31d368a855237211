//go:build pkcs11 && cgo

package cacmd

import (
	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/hsm"
)

// newTokens is the access to hardware security modules. Its sessions end with the
// process.
func newTokens() ca.Tokens { return hsm.NewTokens() }
