package catalog

import (
	"os"
	"slices"
	"sync"

	"zombiezen.com/go/sqlite"
)

// defaultIdle bounds the idle connections of a pool; each may hold 2 MB of
// pages, so a walk over a repository of thousands of catalogs stays small.
const defaultIdle = 16

// Pool opens catalogs and keeps the SQLite connections of the most recently
// used ones. The zero value is ready to use.
type Pool struct {
	Max int // idle connections kept, 0 for the default of 16

	mu      sync.Mutex
	idle    []*conn // the longest idle first
	closed  bool
	layouts map[string]*layout // by the columns they are made for
}

// conn is one SQLite connection with its own descriptor and the statements of
// the hot queries. It serves one goroutine at a time.
type conn struct {
	*sqlite.Conn
	cat                    *Catalog
	file                   *os.File
	byPath, byRow, listing *sqlite.Stmt
}

// take hands out an idle connection of c, or nil.
func (p *Pool) take(c *Catalog) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.idle) - 1; i >= 0; i-- {
		if k := p.idle[i]; k.cat == c {
			p.idle = slices.Delete(p.idle, i, i+1)
			return k
		}
	}
	return nil
}

// keep puts k back, closing the one idle for longest when there are too many.
func (p *Pool) keep(k *conn) {
	limit := p.Max
	if limit == 0 {
		limit = defaultIdle
	}
	p.mu.Lock()
	if p.closed {
		limit = 0
	} else {
		p.idle = append(p.idle, k)
		k = nil
	}
	if len(p.idle) > limit {
		k = p.idle[0]
		p.idle = slices.Delete(p.idle, 0, 1)
	}
	p.mu.Unlock()
	if k != nil {
		k.discard()
	}
}

// Close ends all idle connections now, and the others when their query ends.
func (p *Pool) Close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, k := range idle {
		k.discard()
	}
}

// connect opens a connection; its statements are prepared by the caller.
func connect(c *Catalog) (*conn, error) {
	f, err := c.open()
	if err != nil {
		return nil, err
	}
	db, err := openReadOnly(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &conn{Conn: db, cat: c, file: f}, nil
}

// prepare compiles the three statements that every look-up runs.
func (k *conn) prepare(l *layout) (err error) {
	for _, s := range []struct {
		to  **sqlite.Stmt
		sql string
	}{{&k.byPath, l.byPath}, {&k.byRow, l.byRow}, {&k.listing, l.listing}} {
		if *s.to, err = k.Prepare(s.sql); err != nil {
			return corrupt(err)
		}
	}
	return nil
}

func (k *conn) discard() {
	k.Conn.Close() // read-only: nothing can be lost
	k.file.Close()
}
