package protocol

import "github.com/go-json-experiment/json/jsontext"

// Kept is embedded in the records that a program stores for itself, so that
// versions can share a store: members that this version does not know are kept
// when a record is read, changed and written, neither dropped nor refused.
// DecodeJSON takes such a record although it refuses unknown names elsewhere.
//
// A record carries its version as "v"; in the records of the SDK, which began
// without it, an absent one means 1. The version rises only where an older
// program must not touch the record any more; a new member alone does not raise
// it. Documents of the protocol itself are closed and never embed Kept.
type Kept struct {
	Unknown jsontext.Value `json:",embed"`
}
