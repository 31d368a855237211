package cli

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"

	"github.com/bidseal/bidseal/internal/httpapi"
	"golang.org/x/sync/errgroup"
)

// ServeUntil serves h on l until ctx ends, then lets requests in flight finish.
// drain, where given, runs first: it closes what does not end by itself.
func ServeUntil(ctx context.Context, g *errgroup.Group, l net.Listener, secure *tls.Config, h http.Handler, log *slog.Logger, drain func(context.Context)) {
	if secure != nil {
		l = tls.NewListener(l, secure)
	}
	g.Go(func() error { return httpapi.Serve(ctx, httpapi.NewServer(h, log), l, drain) })
}
