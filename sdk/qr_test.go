package bidseal_test

import (
	"bytes"
	"encoding/xml"
	"image"
	"image/color"
	"image/png"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/app/core/picture"
	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/sdk/sdktest"
)

// scanned reads a picture with a decoder that is not the one that drew it.
func scanned(t *testing.T, img image.Image) string {
	t.Helper()
	text, err := picture.Find(img)
	must(t, err)
	return text
}

// paint draws modules with a quiet zone, four pixels each.
func paint(size int, dark func(x, y int) bool) image.Image {
	const scale, quiet = 4, 4
	img := image.NewGray(image.Rect(0, 0, (size+2*quiet)*scale, (size+2*quiet)*scale))
	for y := range img.Rect.Dy() {
		for x := range img.Rect.Dx() {
			mx, my := x/scale-quiet, y/scale-quiet
			img.SetGray(x, y, color.Gray{255})
			if mx >= 0 && my >= 0 && mx < size && my < size && dark(mx, my) {
				img.SetGray(x, y, color.Gray{0})
			}
		}
	}
	return img
}

// Picture, vector and modules carry the same text.
func TestPictures(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	ch := begin(t, ctx, env.Client(), bidseal.LoginOptions{Static: true})
	payload := ch.Payload()
	raw, err := ch.PNG(300)
	must(t, err)
	img, err := png.Decode(bytes.NewReader(raw))
	must(t, err)
	if got := scanned(t, img); got != payload || img.Bounds().Dx() != 300 {
		t.Errorf("PNG of %v reads %s", img.Bounds(), got)
	}
	frames := ch.Frames(env.Clock.Now(), 5)
	if len(frames) != 1 || frames[0].Payload != payload {
		t.Fatalf("a static code has %d frames", len(frames))
	}
	f := frames[0]
	bit := func(x, y int) bool { n := y*f.Size + x; return f.Bits[n/8]&(0x80>>(n%8)) != 0 }
	if got := scanned(t, paint(f.Size, bit)); got != payload {
		t.Errorf("modules read %s", got)
	}
	svg := ch.SVG()
	must(t, xml.Unmarshal([]byte(svg), new(struct{})))
	if dots := strings.Count(svg, "M"); dots < 100 || !strings.Contains(svg, `fill="#fff"`) {
		t.Errorf("SVG with %d runs", dots)
	}
	for _, size := range []int{0, 63, 5000} {
		if _, err := ch.PNG(size); err == nil {
			t.Errorf("a picture of %d pixels", size)
		}
	}
}

// An animated code moves every two seconds, and each frame is what it will be
// at its time.
func TestFrames(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	ch := begin(t, ctx, env.Client(), bidseal.LoginOptions{})
	frames := ch.Frames(env.Clock.Now(), 6)
	if len(frames) != 6 {
		t.Fatalf("%d frames", len(frames))
	}
	for i, f := range frames {
		if i > 0 && f.At.Sub(frames[i-1].At) != protocol.FramePeriod {
			t.Errorf("frame %d comes %s after the one before", i, f.At.Sub(frames[i-1].At))
		}
		p, err := protocol.ParsePayload(f.Payload, []string{sdktest.App})
		must(t, err)
		if p.Frame == nil || int(p.Frame.T) != i {
			t.Errorf("frame %d: %+v", i, p.Frame)
		}
		if f.Size > 37 {
			t.Errorf("%d modules: harder to scan than version 5", f.Size)
		}
	}
	if ch.Payload() != frames[0].Payload {
		t.Error("the code shown now is not the first frame")
	}
	env.Clock.Advance(2 * time.Second)
	if ch.Payload() != frames[1].Payload {
		t.Error("two seconds later the second frame is not shown")
	}
}
