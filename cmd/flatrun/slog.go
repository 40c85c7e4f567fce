package main

import (
	"context"
	"log/slog"
)

// slog is the log that packages write to; it ends in the program's messages.
func (p *program) slog() *slog.Logger { return slog.New(handler{p.log}) }

// handler shows records of package slog as messages. Attributes are appended.
type handler struct{ log *messages }

func (h handler) Enabled(_ context.Context, l slog.Level) bool { return fromSlog(l) <= h.log.show }

func (h handler) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += " " + a.String()
		return true
	})
	h.log.print(fromSlog(r.Level), "%s", text)
	return nil
}

func (h handler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h handler) WithGroup(string) slog.Handler      { return h }

func fromSlog(l slog.Level) level {
	switch {
	case l >= slog.LevelError:
		return levelError
	case l >= slog.LevelWarn:
		return levelWarning
	case l >= slog.LevelInfo:
		return levelInfo
	}
	return levelDebug
}
