package protocol

import (
	"crypto/hmac"
	"encoding/binary"
	"time"

	"github.com/emmansun/gmsm/sm3"
)

const (
	frameMACSize = 8
	frameSize    = 2 + frameMACSize

	// FramePeriod is how long one frame of an animated code is shown.
	FramePeriod = 2 * time.Second
	frameEarly  = 2 * time.Second  // tolerance before the frame's time
	frameLate   = 15 * time.Second // tolerance after it
	// MaxClaimAge is the oldest claim event on which a frame is judged.
	MaxClaimAge = 75 * time.Second
)

// Frame is the moving part of an animated code: a counter of two-second
// periods since the challenge was made, and a MAC only the SDK can check.
type Frame struct {
	T   uint16
	MAC [frameMACSize]byte
}

// NewFrame makes frame number t.
func NewFrame(kFrame []byte, cid CID, t uint16) Frame {
	f := Frame{T: t}
	copy(f.MAC[:], frameMAC(kFrame, cid, t))
	return f
}

// FrameAt is the number of the frame to show when elapsed has passed since creation.
func FrameAt(elapsed time.Duration) uint16 {
	if elapsed < 0 {
		return 0
	}
	return uint16(min(elapsed/FramePeriod, 0xffff))
}

func frameMAC(kFrame []byte, cid CID, t uint16) []byte {
	m := hmac.New(sm3.New, kFrame)
	m.Write(T(TagFrame))
	m.Write(cid[:])
	m.Write(binary.BigEndian.AppendUint16(nil, t))
	return m.Sum(nil)[:frameMACSize]
}

// Bytes is t (2 bytes) | MAC (8 bytes).
func (f Frame) Bytes() []byte {
	return append(binary.BigEndian.AppendUint16(nil, f.T), f.MAC[:]...)
}

// ParseFrame reads the ten bytes of a frame.
func ParseFrame(b []byte) (*Frame, error) {
	if len(b) != frameSize {
		return nil, Errorf(CodePayloadInvalid, "frame of %d bytes, want %d", len(b), frameSize)
	}
	f := &Frame{T: binary.BigEndian.Uint16(b)}
	copy(f.MAC[:], b[2:])
	return f, nil
}

// JudgeFrame decides whether the frame was on the screen when the phone
// claimed. elapsed is the time since creation on the SDK's clock, age the time
// since the claim as the relay reports it. b is nil where the phone sent none.
// Errors: CodeFrameStale, CodeFrameInvalid.
func JudgeFrame(b, kFrame []byte, cid CID, elapsed, age time.Duration) error {
	if len(b) == 0 {
		return Errorf(CodeFrameStale, "no frame came with the claim of an animated code")
	}
	if age < 0 || age > MaxClaimAge {
		return Errorf(CodeFrameStale, "the claim is %s old", age)
	}
	f, err := ParseFrame(b)
	if err != nil {
		return Errorf(CodeFrameInvalid, "frame of %d bytes", len(b))
	}
	if !hmac.Equal(f.MAC[:], frameMAC(kFrame, cid, f.T)) {
		return Errorf(CodeFrameInvalid, "frame MAC is wrong")
	}
	shown := time.Duration(f.T) * FramePeriod
	at := elapsed - age
	if at < shown-frameEarly || at > shown+frameLate {
		return Errorf(CodeFrameStale, "frame of second %d scanned in second %d", int(shown/time.Second), int(at/time.Second))
	}
	return nil
}

// JudgeStatementFrame decides whether the frame that the user signed agrees
// with the one that came with claim 1, which JudgeFrame found good; both are
// empty on a static code. Claim 1 signs the same bytes. A later claim of the
// device inherits the verdict and signs the same frame or a newer one of this
// challenge. elapsed is the time since creation on the SDK's clock.
// Errors: CodeFrameStale, CodeFrameInvalid.
func JudgeStatementFrame(signed, claimed, kFrame []byte, cid CID, claimSeq uint32, elapsed time.Duration) error {
	switch {
	case len(claimed) == 0 && len(signed) == 0:
		return nil
	case len(claimed) == 0:
		return Errorf(CodeFrameInvalid, "a frame was signed for a static code")
	case len(signed) == 0:
		return Errorf(CodeFrameStale, "no frame was signed for an animated code")
	case claimSeq == 1 && !Equal(signed, claimed):
		return Errorf(CodeFrameInvalid, "another frame was signed than came with the claim")
	}
	first, err := ParseFrame(claimed)
	if err != nil {
		return Errorf(CodeFrameInvalid, "frame of %d bytes", len(claimed))
	}
	f, err := ParseFrame(signed)
	if err != nil {
		return Errorf(CodeFrameInvalid, "frame of %d bytes", len(signed))
	}
	switch {
	case !hmac.Equal(f.MAC[:], frameMAC(kFrame, cid, f.T)):
		return Errorf(CodeFrameInvalid, "frame MAC is wrong")
	case f.T < first.T || time.Duration(f.T)*FramePeriod > elapsed+frameEarly:
		return Errorf(CodeFrameStale, "frame %d was signed, claim 1 came with %d", f.T, first.T)
	}
	return nil
}
