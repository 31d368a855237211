package cli

import (
	"net/http"
	"time"
)

// CallTimeout bounds each HTTP call of a command.
const CallTimeout = 30 * time.Second

func NewHTTPClient() *http.Client { return &http.Client{Timeout: CallTimeout} }
