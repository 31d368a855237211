package httpapi

import (
	"context"
	"log/slog"
)

// Logger returns log with the attribute request_id in every line whose context
// belongs to a request.
func Logger(log *slog.Logger) *slog.Logger {
	if _, ok := log.Handler().(requestHandler); ok {
		return log
	}
	return slog.New(requestHandler{log.Handler()})
}

// requestHandler adds the request's id to each line.
type requestHandler struct{ slog.Handler }

func (h requestHandler) Handle(ctx context.Context, line slog.Record) error {
	if id := RequestID(ctx); id != "" {
		line = line.Clone()
		line.AddAttrs(slog.String("request_id", id))
	}
	return h.Handler.Handle(ctx, line)
}

func (h requestHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return requestHandler{h.Handler.WithAttrs(attrs)}
}

func (h requestHandler) WithGroup(name string) slog.Handler {
	return requestHandler{h.Handler.WithGroup(name)}
}
