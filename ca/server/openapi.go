package server

import _ "embed"

// openAPI is the description of the HTTP API (OpenAPI 3.1). The tests hold every
// route, every request and every answer of theirs against it.
//
//go:embed openapi.yaml
var openAPI []byte
