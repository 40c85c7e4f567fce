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
	colour bool   // unless --nocolor says otherwise, on a terminal
	held   []byte // kept until release
	hold   bool
}

func newMessages(w io.Writer) *messages {
	return &messages{w: w, show: levelInfo, colour: true}
}

// terminal reports whether messages are read by a person.
func (m *messages) terminal() bool {
	f, ok := m.w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func (m *messages) print(l level, format string, args ...any) {
	if l > m.show {
		return
	}
	n := levelNames[l]
	text := strings.TrimRight(fmt.Sprintf(format, args...), "\n")
	prefix := fmt.Sprintf("%-8s", n.name+":")
	if n.colour != "" && m.colour && m.terminal() {
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
	if len(m.held) > 0 {
		m.w.Write(m.held)
		m.held = nil
	}
}

// fatal prints the error before anything that was held back: callers show their
// users the first line of standard error.
func (m *messages) fatal(err error) {
	m.hold = false
	m.print(levelFatal, "%s", err)
	m.release()
}
func (m *messages) errorf(f string, a ...any)   { m.print(levelError, f, a...) }
func (m *messages) warnf(f string, a ...any)    { m.print(levelWarning, f, a...) }
func (m *messages) infof(f string, a ...any)    { m.print(levelInfo, f, a...) }
func (m *messages) verbosef(f string, a ...any) { m.print(levelVerbose, f, a...) }
func (m *messages) debugf(f string, a ...any)   { m.print(levelDebug, f, a...) }
