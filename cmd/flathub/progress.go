package main

import (
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/flatrun/flatrun/cmd/show"
)

// How often numbers are looked at, and how often a line is printed where
// progress cannot be drawn.
const (
	drawEvery = 200 * time.Millisecond
	tellEvery = 10 * time.Second
)

// progress shows how far things are: as bars on a terminal, else as a line now
// and then.
type progress struct {
	bars *mpb.Progress // nil where there is no terminal
	out  io.Writer     // of lines; nil where nothing is to be shown
	mu   sync.Mutex
}

func (a *app) progress() *progress {
	switch {
	case a.quiet || a.json:
		return &progress{}
	case a.terminal:
		return &progress{bars: mpb.New(mpb.WithOutput(a.err), mpb.WithWidth(64), mpb.WithRefreshRate(drawEvery))}
	}
	return &progress{out: a.err}
}

// wait returns when all bars are drawn to their end.
func (p *progress) wait() {
	if p.bars != nil {
		p.bars.Wait()
	}
}

// meter is one thing that goes on.
type meter struct {
	p     *progress
	name  string
	show  func(int64) string
	value atomic.Int64
	bar   *mpb.Bar
	stop  chan struct{}
	once  sync.Once
}

// total is bytes below all other meters; its total may grow, so that reaching it is not the end.
func (p *progress) total(name string, total int64) *meter {
	m := p.bytes(name, 0, mpb.BarPriority(math.MaxInt32))
	m.grow(total)
	return m
}

// bytes begins a meter of bytes; total is 0 where it is not known.
func (p *progress) bytes(name string, total int64, options ...mpb.BarOption) *meter {
	m := &meter{p: p, name: name, show: show.Size, stop: make(chan struct{})}
	if p.bars != nil {
		m.bar = p.bars.AddBar(total, append(options,
			mpb.PrependDecorators(decor.Name(name, decor.WCSyncSpaceR)),
			mpb.AppendDecorators(decor.CurrentKiloByte("% .1f"), decor.Name(" "), decor.AverageSpeed(decor.SizeB1000(0), "% .1f")))...)
	}
	m.tell()
	return m
}

// count begins a meter of things.
func (p *progress) count(name, things string) *meter {
	m := &meter{p: p, name: name, show: func(n int64) string { return fmt.Sprintf("%d %s", n, things) }, stop: make(chan struct{})}
	if p.bars != nil {
		m.bar = p.bars.AddBar(0,
			mpb.PrependDecorators(decor.Name(name, decor.WCSyncSpaceR)),
			mpb.AppendDecorators(decor.CurrentNoUnit("%d "+things)))
	}
	m.tell()
	return m
}

// follow begins a meter of bytes that looks at a number by itself.
func (p *progress) follow(name string, total int64, look func() int64) *meter {
	m := p.bytes(name, total)
	if p.bars == nil && p.out == nil {
		return m
	}
	go m.every(drawEvery, func() { m.set(look()) })
	return m
}

// every calls f now and then until the meter ends.
func (m *meter) every(interval time.Duration, f func()) {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-m.stop:
			return
		case <-t.C:
			f()
		}
	}
}

// tell prints lines while the meter runs.
func (m *meter) tell() {
	if m.p.out != nil {
		go m.every(tellEvery, func() { m.p.line("%s: %s\n", m.name, m.show(m.value.Load())) })
	}
}

func (p *progress) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, format, args...)
}

// set moves the meter.
func (m *meter) set(n int64) {
	m.value.Store(n)
	if m.bar != nil {
		m.bar.SetCurrent(n)
	}
}

// grow gives the meter another total.
func (m *meter) grow(total int64) {
	if m.bar != nil {
		m.bar.SetTotal(total, false)
	}
}

// end completes the meter; it may be called again.
func (m *meter) end() {
	m.once.Do(func() {
		close(m.stop)
		if m.bar != nil {
			m.bar.SetTotal(-1, true)
		}
	})
}
