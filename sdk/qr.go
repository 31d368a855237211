package bidseal

import (
	"fmt"
	"strings"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/skip2/go-qrcode"
)

// quietZone is the width of the white margin in modules (ISO/IEC 18004, 9.1).
const quietZone = 4

// maxQRVersion is the largest code that phones read with ease: 37 modules.
const maxQRVersion = 5

// encodeQR makes the code of a payload at error correction level M.
func encodeQR(payload string) (*qrcode.QRCode, error) {
	code, err := qrcode.New(payload, qrcode.Medium)
	if err != nil {
		return nil, fmt.Errorf("encode QR code: %w", err)
	}
	return code, nil
}

// modules packs a code without its quiet zone.
func modules(payload string) (size int, bits []byte, err error) {
	code, err := encodeQR(payload)
	if err != nil {
		return 0, nil, err
	}
	code.DisableBorder = true
	rows := code.Bitmap()
	size = len(rows)
	bits = make([]byte, (size*size+7)/8)
	for y, row := range rows {
		for x, dark := range row {
			if n := y*size + x; dark {
				bits[n/8] |= 0x80 >> (n % 8)
			}
		}
	}
	return size, bits, nil
}

func drawPNG(payload string, size int) ([]byte, error) {
	code, err := encodeQR(payload)
	if err != nil {
		return nil, err
	}
	if size < 64 || size > 4096 {
		return nil, protocol.Errorf(protocol.CodeMalformed, "a picture %d pixels wide, want 64 to 4096", size)
	}
	png, err := code.PNG(size)
	if err != nil {
		return nil, fmt.Errorf("draw QR code: %w", err)
	}
	return png, nil
}

// drawSVG writes one path of horizontal runs on a white ground, one unit per module.
func drawSVG(payload string) (string, error) {
	size, bits, err := modules(payload)
	if err != nil {
		return "", err
	}
	dark := func(x, y int) bool { n := y*size + x; return x < size && bits[n/8]&(0x80>>(n%8)) != 0 }
	var path strings.Builder
	for y := range size {
		for x := 0; x < size; x++ {
			if !dark(x, y) {
				continue
			}
			start := x
			for dark(x, y) {
				x++
			}
			fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", start+quietZone, y+quietZone, x-start, x-start)
		}
	}
	side := size + 2*quietZone
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" shape-rendering="crispEdges">`+
		`<rect width="%d" height="%d" fill="#fff"/><path fill="#000" d="%s"/></svg>`, side, side, side, side, path.String()), nil
}

// payloadAt is the text of the code to show when elapsed has passed since the
// challenge was made.
func (o *openChallenge) payloadAt(app string, elapsed time.Duration) (string, error) {
	rh := protocol.Commit(o.Request, o.Chain[0])
	p := protocol.Payload{Secret: o.Secret, RH16: rh[:protocol.RH16Size]}
	if len(o.FrameKey) != 0 {
		frame := protocol.NewFrame(o.FrameKey, o.CID, protocol.FrameAt(elapsed))
		p.Frame = &frame
	}
	return p.Encode(app)
}

// frames are the next n pictures from a time on.
func (o *openChallenge) frames(app string, from time.Time, n int) ([]FrameImage, error) {
	created := time.UnixMilli(o.Created)
	if len(o.FrameKey) == 0 {
		n = min(n, 1)
	}
	first := protocol.FrameAt(from.Sub(created))
	var out []FrameImage
	for i := range n {
		elapsed := time.Duration(int(first)+i) * protocol.FramePeriod
		text, err := o.payloadAt(app, elapsed)
		if err != nil {
			return nil, err
		}
		img := FrameImage{At: created.Add(elapsed), Payload: text}
		if img.Size, img.Bits, err = modules(text); err != nil {
			return nil, err
		}
		out = append(out, img)
	}
	return out, nil
}

// largestQR is the version of the largest code that the app's origin leads to.
func largestQR(app string) (int, error) {
	frame := protocol.Frame{T: 0xffff}
	full := make([]byte, protocol.SecretSize)
	for i := range full {
		full[i] = 0xff
	}
	text, err := protocol.Payload{Secret: full, RH16: full, Frame: &frame}.Encode(app)
	if err != nil {
		return 0, err
	}
	code, err := encodeQR(text)
	if err != nil {
		return 0, err
	}
	return code.VersionNumber, nil
}
