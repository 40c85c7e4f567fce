package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/flatrun/flatrun/cmd/show"
	"golang.org/x/sys/unix"
)

// progress shows how far a long job is: one line that changes on a terminal, a line now and then elsewhere.
type progress struct {
	w     io.Writer
	every time.Duration
	tty   bool
	width int
	verb  string // "fetched"

	mu    sync.Mutex
	began time.Time
	shown time.Time
	wide  int // length of the line on the terminal
}

// newProgress writes to a descriptor: that of the terminal may be another than standard error, where the error goes.
func newProgress(fd int, verb string) *progress {
	p := &progress{w: os.Stderr, every: 10 * time.Second, verb: verb, began: time.Now()}
	if size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ); err == nil {
		p.tty, p.every, p.width = true, 100*time.Millisecond, max(int(size.Col), 40)
	}
	if fd != 2 {
		p.w = os.NewFile(uintptr(fd), "progress")
	}
	p.shown = p.began
	return p
}

// state is how far a job is. The total is 0 as long as nobody knows it.
type state struct {
	done, total           int64 // objects
	doneBytes, totalBytes int64
	counting              bool // the totals grow still
}

func (p *progress) show(s state) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(p.shown) >= p.every {
		p.shown = now
		p.write(s)
	}
}

func (p *progress) write(s state) {
	if !p.tty {
		fmt.Fprintln(p.w, p.line(s))
		return
	}
	line := p.bar(s) + p.line(s)
	if len(line) > p.width-1 {
		line = line[:p.width-1]
	}
	fmt.Fprintf(p.w, "\r%s%s", line, strings.Repeat(" ", max(p.wide-len(line), 0)))
	p.wide = len(line)
}

// clear takes the line off the terminal.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wide > 0 {
		fmt.Fprintf(p.w, "\r%s\r", strings.Repeat(" ", p.wide))
		p.wide = 0
	}
}

const barWidth = 20

func (p *progress) bar(s state) string {
	if s.totalBytes == 0 {
		return ""
	}
	n := int(min(barWidth*s.doneBytes/s.totalBytes, barWidth))
	return "[" + strings.Repeat("#", n) + strings.Repeat(".", barWidth-n) + "] "
}

func (p *progress) line(s state) string {
	of := ""
	if s.total > 0 {
		more := ""
		if s.counting {
			more = "+"
		}
		of = fmt.Sprintf(" of %d%s", s.total, more)
	}
	rate := float64(s.doneBytes) / max(time.Since(p.began).Seconds(), 0.001)
	return fmt.Sprintf("%s %d%s objects, %s, %s/s", p.verb, s.done, of, show.Size(s.doneBytes), show.Size(int64(rate)))
}
