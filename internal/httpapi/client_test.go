package httpapi_test

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/bidseal/bidseal/internal/httpapi"
	"github.com/bidseal/bidseal/protocol"
)

// The caller's side reads what the server's side writes.
func TestDecodeResponse(t *testing.T) {
	type body struct {
		Text string `json:"text"`
	}
	refuse := func(w http.ResponseWriter, status int, text string) {
		httpapi.Raw(w, status, "text/html", []byte(text))
	}
	for name, c := range map[string]struct {
		handle func(api *httpapi.API, w http.ResponseWriter, r *http.Request)
		text   string
		code   protocol.Code
	}{
		"JSON": {func(api *httpapi.API, w http.ResponseWriter, r *http.Request) { api.JSON(w, r, body{"here"}) }, "here", ""},
		"refusal": {func(api *httpapi.API, w http.ResponseWriter, r *http.Request) {
			api.Refuse(w, r, protocol.Errorf(protocol.CodeForbidden, "no"))
		}, "", protocol.CodeForbidden},
		"page of a proxy": {func(_ *httpapi.API, w http.ResponseWriter, _ *http.Request) { refuse(w, 502, "<html>") }, "", protocol.CodeNetwork},
		"beyond the bound": {func(_ *httpapi.API, w http.ResponseWriter, _ *http.Request) {
			refuse(w, 200, string(make([]byte, httpapi.MaxResponse+1)))
		}, "", protocol.CodeMalformed},
		"success, but HTML": {func(_ *httpapi.API, w http.ResponseWriter, _ *http.Request) { refuse(w, 200, "<html>") }, "", protocol.CodeMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			api := httpapi.New(slog.New(slog.DiscardHandler))
			w := httptest.NewRecorder()
			api.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.handle(api, w, r) })).
				ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
			var got body
			err := httpapi.DecodeResponse(w.Result(), &got)
			var own *protocol.Error
			if c.code == "" && err != nil || c.code != "" && (!errors.As(err, &own) || own.Code != c.code) || got.Text != c.text {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}
