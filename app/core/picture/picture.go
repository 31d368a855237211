// Package picture finds the code in a photograph or screenshot.
package picture

import (
	"bytes"
	"fmt"
	"image"
	_ "image/jpeg" // a photograph
	_ "image/png"  // a screenshot

	"github.com/bidseal/bidseal/protocol"
	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
	"golang.org/x/image/draw"
)

// Bounds of a picture: bytes of the file, and pixels, which are checked before
// any is decoded.
const (
	MaxBytes  = 32 << 20
	MaxPixels = 40_000_000
	minSide   = 21 // modules of the smallest code
)

// scales are tried in this order: as it is, halved for a photograph whose noise
// hides the modules, doubled for a screenshot with few pixels per module. The
// others are for a screenshot whose modules are of uneven width: there the
// decoder now and then measures the module wrong, and at another scale right.
func scales() []float64 { return []float64{1, 0.5, 2, 1.25, 0.75, 1.5} }

// Decode returns the text of the code in a PNG or JPEG file. The text is from a
// stranger: protocol.ParsePayload judges it. Errors: picture_no_code, and
// too_large for a picture beyond the bounds.
func Decode(file []byte) (string, error) {
	if len(file) > MaxBytes {
		return "", protocol.Errorf(protocol.CodeTooLarge, "picture of %d bytes, at most %d", len(file), MaxBytes)
	}
	config, _, err := image.DecodeConfig(bytes.NewReader(file))
	if err != nil {
		return "", protocol.Errorf(protocol.CodePictureNoCode, "not a PNG or JPEG picture")
	}
	if config.Width < minSide || config.Height < minSide {
		return "", protocol.Errorf(protocol.CodePictureNoCode, "picture of %d x %d pixels", config.Width, config.Height)
	}
	if config.Width > MaxPixels/config.Height {
		return "", protocol.Errorf(protocol.CodeTooLarge, "picture of %d x %d pixels", config.Width, config.Height)
	}
	img, _, err := image.Decode(bytes.NewReader(file))
	if err != nil {
		return "", protocol.Errorf(protocol.CodePictureNoCode, "the picture cannot be decoded")
	}
	return Find(img)
}

// Find returns the text of the code in a picture that is decoded already, such
// as a frame of a camera.
func Find(img image.Image) (string, error) {
	for _, scale := range scales() {
		scaled, ok := resize(img, scale)
		if !ok {
			continue
		}
		if text, err := read(scaled); err == nil {
			return text, nil
		}
	}
	return "", protocol.Errorf(protocol.CodePictureNoCode, "no code found at any scale")
}

// resize is false where the result would be out of bounds.
func resize(img image.Image, scale float64) (image.Image, bool) {
	bounds := img.Bounds()
	width, height := int(float64(bounds.Dx())*scale), int(float64(bounds.Dy())*scale)
	if width < minSide || height < minSide || width > MaxPixels/height {
		return nil, false
	}
	if scale == 1 {
		return img, true
	}
	out := image.NewGray(image.Rect(0, 0, width, height))
	draw.ApproxBiLinear.Scale(out, out.Bounds(), img, bounds, draw.Src, nil)
	return out, true
}

// read looks for one code, with the threshold taken from each neighbourhood,
// then from the whole picture. The library was written for well-formed pictures:
// what it panics on is a picture without a code.
func read(img image.Image) (text string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("decoder: %v", p)
		}
	}()
	source := gozxing.NewLuminanceSourceFromImage(img)
	hints := map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_TRY_HARDER: true}
	for _, binarizer := range []gozxing.Binarizer{gozxing.NewHybridBinarizer(source), gozxing.NewGlobalHistgramBinarizer(source)} {
		var bitmap *gozxing.BinaryBitmap
		if bitmap, err = gozxing.NewBinaryBitmap(binarizer); err != nil {
			break
		}
		var found *gozxing.Result
		if found, err = qrcode.NewQRCodeReader().Decode(bitmap, hints); err == nil {
			return found.GetText(), nil
		}
	}
	return "", fmt.Errorf("decoder: %w", err)
}
