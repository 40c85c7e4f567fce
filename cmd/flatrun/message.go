package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// level orders messages as Apptainer's do, so that its switches and
// APPTAINER_MESSAGELEVEL mean the same here.
type level int

const (
	levelFatal   level = -4
	levelError   level = -3
	levelWarning level = -2
	levelInfo    level = 1
	levelVerbose level = 4
	levelDebug   level = 5

	// What the switches choose: the least urgent level still shown.
	showSilent = levelError
	showQuiet  = level(-1)
)

var levelNames = map[level]struct{ name, colour string }{
	levelFatal:   {"FATAL", "\x1b[31m"},
	levelError:   {"ERROR", "\x1b[31m"},
	levelWarning: {"WARNING", "\x1b[33m"},
	levelInfo:    {"INFO", "\x1b[34m"},
	levelVerbose: {"VERBOSE", ""},
	levelDebug:   {"DEBUG", ""},
}

// messages writes what the user should know to standard error, one line each.
type messages struct {
	w      io.Writer
	show   level
	colour bool
	held   []byte // kept until release
	hold   bool
}

func newMessages(w io.Writer) *messages {
	m := &messages{w: w, show: levelInfo}
	if f, ok := w.(*os.File); ok {
		_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		m.colour = err == nil
	}
	return m
}

func (m *messages) print(l level, format string, args ...any) {
	if l > m.show {
		return
	}
	n := levelNames[l]
	text := strings.TrimRight(fmt.Sprintf(format, args...), "\n")
	prefix := fmt.Sprintf("%-8s", n.name+":")
	if m.colour && n.colour != "" {
		prefix = n.colour + prefix + "\x1b[0m"
	}
	m.write(prefix + " " + text + "\n")
}

func (m *messages) write(s string) {
	if m.hold {
		m.held = append(m.held, s...)
		return
	}
	io.WriteString(m.w, s)
}

// release prints what was held back and holds no more.
func (m *messages) release() {
	m.hold = false
	m.w.Write(m.held)
	m.held = nil
}

// fatal prints the error before anything that was held back: callers show their
// users the first line of standard error.
func (m *messages) fatal(err error) {
	m.hold = false
	m.print(levelFatal, "%s", err)
	m.release()
}
func (m *messages) errorf(f string, a ...any) { m.print(levelError, f, a...) }
func (m *messages) warnf(f string, a ...any)  { m.print(levelWarning, f, a...) }
func (m *messages) infof(f string, a ...any)  { m.print(levelInfo, f, a...) }
func (m *messages) debugf(f string, a ...any) { m.print(levelDebug, f, a...) }
