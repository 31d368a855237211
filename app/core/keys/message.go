package keys

import (
	"errors"

	"github.com/bidseal/bidseal/protocol"
)

// Message is something that a person's key may sign. It cannot be made from
// arbitrary bytes: each constructor builds one kind of content under the tag of
// its own, so that no peer can make the phone sign anything else.
type Message struct {
	content []byte // the exact bytes that the tag stands for
	signed  []byte // what the signature covers
}

// Statement encodes a statement: T(statement) | u32 length | exact JSON.
func Statement(s protocol.Statement) (Message, error) {
	raw, err := protocol.EncodeJSON(s)
	if err != nil {
		return Message{}, err
	}
	return Message{content: raw, signed: protocol.StatementMessage(raw)}, nil
}

// Receipt encodes the usage record of a result: T(receipt) | exact JSON.
func Receipt(r protocol.Receipt) (Message, error) {
	raw, err := protocol.EncodeJSON(r)
	if err != nil {
		return Message{}, err
	}
	return Message{content: raw, signed: protocol.ReceiptMessage(protocol.TagReceipt, raw)}, nil
}

// Content are the exact JSON bytes that travel beside the signature.
func (m Message) Content() []byte { return m.content }

// Signed are the bytes that a Signer signs; nil for the zero Message, which is
// never signed.
func (m Message) Signed() []byte { return m.signed }

// ErrEmpty is what a Signer returns for the zero Message.
var ErrEmpty = errors.New("nothing to sign")
