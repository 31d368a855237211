package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
)

// Opcodes, section 5.2.
const (
	opContinuation byte = 0x0
	opText         byte = 0x1
	opBinary       byte = 0x2
	opClose        byte = 0x8
	opPing         byte = 0x9
	opPong         byte = 0xA
)

const (
	finBit         = 0x80
	reservedBits   = 0x70
	maskBit        = 0x80
	maxControlSize = 125                    // payload of a control frame, section 5.5
	maxHeader      = 2 + 8 + 4              // length in 64 bits, mask
	controlBuffer  = 2 + 4 + maxControlSize // a whole one of a client
)

// Close codes, section 7.4.1, and 1012 and 1013 of IANA's registry.
const (
	closeNormal    = 1000
	closeProtocol  = 1002
	closeNoStatus  = 1005 // never on the wire
	ClosePolicy    = 1008
	closeTooBig    = 1009
	CloseDrain     = 1012 // reason "retry_ms=N"
	CloseTryAgain  = 1013
	firstPrivate   = 3000
	lastCloseCode  = 4999
	lastKnownClose = 1014
)

// FrameError is what a peer did wrong, with the close code that says so.
type FrameError struct {
	Code int
	What string
}

func (e *FrameError) Error() string { return "websocket: " + e.What }

// errPeerClosed: the peer has sent a close frame.
var errPeerClosed = errors.New("websocket: closed by the peer")

// encodeFrame is a whole unmasked frame, ready for any number of connections.
func encodeFrame(op byte, payload []byte) []byte {
	b := make([]byte, 0, len(payload)+maxHeader)
	b = append(b, finBit|op)
	switch n := len(payload); {
	case n <= maxControlSize:
		b = append(b, byte(n))
	case n <= 0xFFFF:
		b = append(b, 126)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b = append(b, 127)
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return append(b, payload...)
}

// TextFrame is a whole message, ready for any number of connections.
func TextFrame(message []byte) []byte { return encodeFrame(opText, message) }

// closeFrame carries a code and a reason of at most 123 bytes.
func closeFrame(code int, reason string) []byte {
	if code == closeNoStatus {
		return encodeFrame(opClose, nil)
	}
	b := binary.BigEndian.AppendUint16(nil, uint16(code))
	return encodeFrame(opClose, append(b, reason[:min(len(reason), maxControlSize-2)]...))
}

// inbound takes frames out of what a client sends.
type inbound struct {
	buf   []byte // its length is the longest frame that is taken, header included
	have  int    // bytes received
	taken int    // of these, the frame that was answered last
}

// clientFrame is one frame. payload is valid until the next one is taken.
type clientFrame struct {
	op      byte
	final   bool
	payload []byte
}

// next returns the next frame, reading where it is not there yet; payloads are
// limited to limit bytes. The error is a *FrameError or the connection's.
func (in *inbound) next(from net.Conn, limit int) (clientFrame, error) {
	in.have = copy(in.buf, in.buf[in.taken:in.have])
	in.taken = 0
	for {
		f, size, err := parseFrame(in.buf[:in.have], limit)
		if err != nil {
			return f, err
		}
		if size > 0 {
			in.taken = size
			return f, nil
		}
		n, err := from.Read(in.buf[in.have:])
		in.have += n
		if err != nil && n == 0 {
			return f, err
		}
	}
}

// pending reports whether a whole frame is there without reading.
func (in *inbound) pending(limit int) bool {
	f := append([]byte(nil), in.buf[in.taken:in.have]...) // parsing unmasks in place
	_, size, err := parseFrame(f, limit)
	return size > 0 || err != nil
}

// parseFrame reads one frame at the beginning of b and unmasks it in place; size
// is 0 where more bytes are needed.
func parseFrame(b []byte, limit int) (f clientFrame, size int, err error) {
	if len(b) < 2 {
		return f, 0, nil
	}
	f.op, f.final = b[0]&0x0F, b[0]&finBit != 0
	if err := checkHeader(b[0], b[1], f); err != nil {
		return f, 0, err
	}
	header, n := 2, uint64(b[1]&^maskBit)
	switch n {
	case 126:
		header = 4
	case 127:
		header = 10
	}
	if len(b) < header {
		return f, 0, nil
	}
	switch header {
	case 4:
		n = uint64(binary.BigEndian.Uint16(b[2:]))
	case 10:
		n = binary.BigEndian.Uint64(b[2:])
	}
	if f.op < opClose && n > uint64(limit) {
		return f, 0, &FrameError{closeTooBig, fmt.Sprintf("message of %d bytes, at most %d", n, limit)}
	}
	size = header + 4 + int(n)
	if len(b) < size {
		return f, 0, nil
	}
	mask := b[header : header+4]
	f.payload = b[header+4 : size]
	for i := range f.payload {
		f.payload[i] ^= mask[i%4]
	}
	return f, size, nil
}

// checkHeader refuses what RFC 6455 forbids a client: no extension is negotiated,
// and every frame is masked (5.1, 5.2, 5.5).
func checkHeader(first, second byte, f clientFrame) error {
	switch {
	case first&reservedBits != 0:
		return &FrameError{closeProtocol, "reserved bits are set"}
	case second&maskBit == 0:
		return &FrameError{closeProtocol, "a client's frame is not masked"}
	case f.op > opBinary && f.op < opClose || f.op > opPong:
		return &FrameError{closeProtocol, fmt.Sprintf("opcode %d is not known", f.op)}
	case f.op >= opClose && (!f.final || second&^maskBit > maxControlSize):
		return &FrameError{closeProtocol, "a control frame is long or in pieces"}
	}
	return nil
}

// closeCodeOf is the code to reply with to a close frame: its own, where it may
// stand on the wire.
func closeCodeOf(payload []byte) int {
	if len(payload) == 0 {
		return closeNoStatus
	}
	if len(payload) < 2 {
		return closeProtocol
	}
	code := int(binary.BigEndian.Uint16(payload))
	known := code >= closeNormal && code <= lastKnownClose && code != 1004 && code != closeNoStatus && code != 1006
	if !known && (code < firstPrivate || code > lastCloseCode) {
		return closeProtocol
	}
	return code
}
