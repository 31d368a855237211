package picture_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/app/core/picture"
	"github.com/bidseal/bidseal/protocol"
	"github.com/skip2/go-qrcode"
	"golang.org/x/image/draw"
)

// link is a payload of full length, as an animated code carries it.
func link() string {
	return "https://app.example.cn/q#" + strings.Repeat("0", 3) + strings.Repeat("1234567890", 10) + "1"
}

func code(t testing.TB, size int) image.Image {
	t.Helper()
	q, err := qrcode.New(link(), qrcode.Medium)
	if err != nil {
		t.Fatal(err)
	}
	return q.Image(size)
}

// page puts the code into a larger picture with other things on it.
func page(t testing.TB, size int) *image.RGBA {
	t.Helper()
	out := image.NewRGBA(image.Rect(0, 0, 1280, 800))
	draw.Draw(out, out.Bounds(), image.NewUniform(color.RGBA{R: 240, G: 244, B: 250, A: 255}), image.Point{}, draw.Src)
	for i := range 20 {
		line := image.Rect(60, 40+i*30, 300+i*13%200, 52+i*30)
		draw.Draw(out, line, image.NewUniform(color.RGBA{R: 20, G: 40, B: 90, A: 255}), image.Point{}, draw.Src)
	}
	draw.Draw(out, image.Rect(700, 200, 700+size, 200+size), code(t, size), image.Point{}, draw.Src)
	return out
}

func encoded(t testing.TB, img image.Image, quality int) []byte {
	t.Helper()
	var buf bytes.Buffer
	var err error
	if quality == 0 {
		err = png.Encode(&buf, img)
	} else {
		err = jpeg.Encode(&buf, img, &jpeg.Options{Quality: quality})
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// shrunk is the picture at a size at which modules are not whole pixels.
func shrunk(img image.Image, width int) image.Image {
	b := img.Bounds()
	out := image.NewRGBA(image.Rect(0, 0, width, width*b.Dy()/b.Dx()))
	draw.BiLinear.Scale(out, out.Bounds(), img, b, draw.Src, nil)
	return out
}

// noisy replaces one pixel in twenty, as a poor camera does in the dark.
func noisy(img image.Image) image.Image {
	out := image.NewGray(img.Bounds())
	draw.Draw(out, out.Bounds(), img, image.Point{}, draw.Src)
	state := uint32(1)
	for i := range out.Pix {
		state = state*1664525 + 1013904223 // Numerical Recipes' generator: the same picture in every run
		if state>>24 < 13 {
			out.Pix[i] = byte(state >> 16)
		}
	}
	return out
}

func TestDecode(t *testing.T) {
	for name, file := range map[string][]byte{
		"code alone":           encoded(t, code(t, 256), 0),
		"screenshot":           encoded(t, page(t, 280), 0),
		"photograph":           encoded(t, page(t, 280), 60),
		"large photograph":     encoded(t, shrunk(page(t, 320), 3000), 75),
		"two pixels a module":  encoded(t, shrunk(code(t, 512), 100), 0),
		"noise, read at half":  encoded(t, noisy(code(t, 600)), 0),
		"small, read doubled":  encoded(t, shrunk(code(t, -1), 100), 0),
		"screenshot of 80 per": encoded(t, shrunk(page(t, 300), 1024), 0),
	} {
		got, err := picture.Decode(file)
		if err != nil || got != link() {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestUnevenModules reads a screenshot of the sign-in page whose modules are five
// or six pixels wide: at its own size the decoder takes it for a smaller code.
func TestUnevenModules(t *testing.T) {
	file, err := os.ReadFile("testdata/uneven.png")
	if err != nil {
		t.Fatal(err)
	}
	got, err := picture.Decode(file)
	if err != nil || !strings.HasPrefix(got, "http://127.0.0.1:38215/q#") || len(got) != 129 {
		t.Errorf("%q, %v", got, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	blank := image.NewGray(image.Rect(0, 0, 300, 300))
	// A PNG header that promises more pixels than are allowed.
	huge := encoded(t, image.NewGray(image.Rect(0, 0, 30, 30)), 0)
	copy(huge[16:], []byte{0, 0, 0x7f, 0xff, 0, 0, 0x7f, 0xff})
	binary.BigEndian.PutUint32(huge[29:], crc32.ChecksumIEEE(huge[12:29]))
	for name, c := range map[string]struct {
		file []byte
		want protocol.Code
	}{
		"blank":       {encoded(t, blank, 0), protocol.CodePictureNoCode},
		"no picture":  {[]byte("https://app.example.cn/q#1"), protocol.CodePictureNoCode},
		"empty":       {nil, protocol.CodePictureNoCode},
		"tiny":        {encoded(t, image.NewGray(image.Rect(0, 0, 2, 2)), 0), protocol.CodePictureNoCode},
		"half a file": {encoded(t, page(t, 280), 0)[:2000], protocol.CodePictureNoCode},
		"pixels":      {huge, protocol.CodeTooLarge},
		"bytes":       {make([]byte, picture.MaxBytes+1), protocol.CodeTooLarge},
	} {
		if _, err := picture.Decode(c.file); protocol.CodeOf(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// FuzzDecode: whatever the file is, the answer is a text or an error of the catalogue.
func FuzzDecode(f *testing.F) {
	f.Add(encoded(f, code(f, 128), 0))
	f.Add(encoded(f, code(f, 128), 80))
	f.Add(encoded(f, image.NewGray(image.Rect(0, 0, 40, 40)), 0))
	f.Fuzz(func(t *testing.T, file []byte) {
		if len(file) > 1<<16 {
			return // the bound itself has its own test; the fuzzer looks at structure
		}
		if config, _, err := image.DecodeConfig(bytes.NewReader(file)); err == nil && config.Width*config.Height > 1<<20 {
			return
		}
		if _, err := picture.Decode(file); err != nil && protocol.CodeOf(err) == protocol.CodeInternal {
			t.Fatalf("an error that is not of the catalogue: %v", err)
		}
	})
}
