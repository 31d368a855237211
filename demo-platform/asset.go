package demoplatform

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
)

//go:embed static/*
var staticData embed.FS

// asset is one file of the look: style, script or picture.
type asset struct {
	body      []byte
	mediaType string
	version   string // changes with the body, so that browsers may keep a version for good
}

// loadAssets reads the embedded files by name.
func loadAssets() (map[string]asset, error) {
	entries, err := staticData.ReadDir("static")
	if err != nil {
		return nil, fmt.Errorf("read the assets: %w", err)
	}
	assets := map[string]asset{}
	for _, entry := range entries {
		body, err := staticData.ReadFile("static/" + entry.Name())
		if err != nil {
			return nil, fmt.Errorf("read the assets: %w", err)
		}
		mediaType := map[string]string{
			".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
		}[path.Ext(entry.Name())]
		if mediaType == "" {
			return nil, fmt.Errorf("asset %q has no known media type", entry.Name())
		}
		digest := sha256.Sum256(body)
		assets[entry.Name()] = asset{body: body, mediaType: mediaType, version: hex.EncodeToString(digest[:6])}
	}
	return assets, nil
}

// assetPath is the address of an asset's present version.
func (s *Site) assetPath(name string) (string, error) {
	file, ok := s.assets[name]
	if !ok {
		return "", fmt.Errorf("there is no asset %q", name)
	}
	return "/static/" + name + "?v=" + file.version, nil
}

func (s *Site) serveAsset(w http.ResponseWriter, r *http.Request) {
	file, ok := s.assets[r.PathValue("name")]
	if !ok {
		s.notFound(w, r)
		return
	}
	w.Header().Set("Content-Type", file.mediaType)
	w.Header().Set("Cache-Control", "no-cache")
	if r.URL.Query().Get("v") == file.version {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	s.write(w, file.body)
}

// serveIcon serves browsers that ask for an icon before they have read a page.
func (s *Site) serveIcon(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, "/static/favicon.svg", http.StatusFound)
}
