package catalog

import (
	"slices"
	"sync"

	"zombiezen.com/go/sqlite"
)

// defaultIdle bounds the idle connections of a pool; each may hold 2 MB of
// pages, so a walk over a repository of thousands of catalogs stays small.
const defaultIdle = 16

// Pool keeps SQLite connections of several catalogs open for the next query.
// The zero value is ready to use.
type Pool struct {
	Max int // idle connections kept, 0 for the default of 16

	mu   sync.Mutex
	idle []*conn // the longest idle first
}

// conn is one SQLite connection with the statements of the hot queries. It
// serves one goroutine at a time.
type conn struct {
	*sqlite.Conn
	cat                    *Catalog
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
	var victim *conn
	p.mu.Lock()
	p.idle = append(p.idle, k)
	if len(p.idle) > limit {
		victim = p.idle[0]
		p.idle = slices.Delete(p.idle, 0, 1)
	}
	p.mu.Unlock()
	if victim != nil {
		victim.discard()
	}
}

// drop closes the idle connections of c.
func (p *Pool) drop(c *Catalog) {
	for k := p.take(c); k != nil; k = p.take(c) {
		k.discard()
	}
}

// discard closes the connection and lets go of its catalog's descriptor.
func (k *conn) discard() {
	k.Conn.Close() // read-only: nothing can be lost
	k.cat.release()
}
