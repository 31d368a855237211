//go:build e2e

package e2e

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A machine without a Chinese font draws the same empty box for every character, and every later screenshot would be
// worthless. Three characters must look different from each other and from one that no font has.
func TestChineseFontsRender(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		const body = `<!doctype html><html lang="zh-CN"><title>移动证书</title><style>b{font:48px sans-serif;display:inline-block;width:60px;height:70px}</style>` +
			`<p>请使用手机扫码登录</p><b id="a">投</b><b id="b">标</b><b id="c">签</b><b id="none">&#xE0F3;</b></html>`
		if _, err := w.Write([]byte(body)); err != nil {
			t.Errorf("write the page: %v", err)
		}
	}))
	defer page.Close()

	b := openBrowser(t, mobile)
	b.open(page.URL)
	if title := eval[string](b, `document.title`); title != "移动证书" {
		t.Errorf("title %q", title)
	}
	whole, _ := b.screenshot("chinese")
	if size := decode(t, whole).Bounds(); size.Dx() != int(mobile.width) || size.Dy() != int(mobile.height) {
		t.Errorf("the screenshot measures %v, want %dx%d", size, mobile.width, mobile.height)
	}
	seen := map[string][]byte{}
	for _, id := range []string{"a", "b", "c", "none"} {
		picture, _ := b.screenshotOf("char-"+id, "#"+id)
		for other, drawn := range seen {
			if bytes.Equal(picture, drawn) {
				t.Errorf("#%s and #%s look alike: Debian's package fonts-noto-cjk is needed", id, other)
			}
		}
		seen[id] = picture
	}
}
