package keys

import (
	"context"

	"github.com/bidseal/bidseal/ca/assistapi"
)

// Assist is what a provider needs of the phone to have a server help with its
// password (package assistapi).
type Assist interface {
	// Device is the phone's id.
	Device() string
	// SignTry signs one try with the device key.
	SignTry(r *assistapi.EvaluateRequest) error
	// Secret is a secret of this device for one use, 32 bytes that no copy of
	// the key file holds. The caller wipes it.
	Secret(ctx context.Context, use string) ([]byte, error)
	// Ready reports whether the phone knows such a server. It may ask.
	Ready(ctx context.Context) bool
	// Call posts a body to a path of the server and returns the answer. Refusals
	// are *protocol.Error; where none came, with protocol.CodeNetwork.
	Call(ctx context.Context, path string, body []byte) ([]byte, error)
	// Failed logs, for developers, a step that is retried later.
	Failed(what string, err error)
}

// Assisted is a provider that wants a server's help.
type Assisted interface {
	Provider
	// UseAssist gives it the phone's means. Until then it has no server.
	UseAssist(a Assist)
	// Upgrade puts keys that the password alone opens under the server's help,
	// where the server can be reached. Keys that are there already stay.
	Upgrade(ctx context.Context, password []byte) error
}
