package publish

import (
	"bytes"
	"context"
	"crypto/rsa"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"

	"github.com/flatrun/flatrun/mount/cas"
)

// contents is the index of contents in a transaction, see contentsName. It is
// read when the first large content comes.
type contents struct {
	storage Storage
	fqrn    string
	key     *rsa.PrivateKey
	log     *slog.Logger
	limit   int // of records

	sum    func() (contentSum, error) // made at the first large content
	making sync.Map                   // contentKey whose object is being made → channel, closed when it is

	mu         sync.Mutex
	loaded     bool
	unreadable bool    // and therefore not replaced
	sorted     records // as stored
	fresh      map[contentKey]storedForm
	changed    bool
}

func newContents(s Storage, fqrn string, key *rsa.PrivateKey, log *slog.Logger) *contents {
	sum := sync.OnceValues(func() (contentSum, error) { return newContentSum(key) })
	return &contents{storage: s, fqrn: fqrn, key: key, log: log, limit: maxContents, sum: sum, fresh: map[contentKey]storedForm{}}
}

// keyOf names a content.
func (c *contents) keyOf(data []byte, a cas.Algorithm, suffix cas.Suffix) (contentKey, error) {
	sum, err := c.sum()
	if err != nil {
		return contentKey{}, fmt.Errorf("the index of contents: %w", err)
	}
	return sum.key(data, a, suffix), nil
}

// find answers with the object that content k has, or had: it may be gone.
func (c *contents) find(ctx context.Context, k contentKey) (storedForm, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.load(ctx)
	if f, ok := c.fresh[k]; ok {
		return f, true
	}
	return c.sorted.find(k)
}

// note makes an object that was just stored that of content k.
func (c *contents) note(ctx context.Context, k contentKey, h cas.Hash, size int) {
	if size > math.MaxUint32 {
		return
	}
	f := newStoredForm(h, uint32(size))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.load(ctx)
	if i, ok := c.sorted.search(k); ok {
		copy(c.sorted.at(i)[len(k):], f[:])
	} else if _, ok := c.fresh[k]; ok || c.sorted.len()+len(c.fresh) < c.limit {
		c.fresh[k] = f
	} else {
		return
	}
	c.changed = true
}

// alone waits until nobody else makes an object of content k; done lets the next one.
func (c *contents) alone(k contentKey) (done func()) {
	mine := make(chan struct{})
	for {
		other, busy := c.making.LoadOrStore(k, mine)
		if !busy {
			return func() { c.making.Delete(k); close(mine) }
		}
		<-other.(chan struct{})
	}
}

// load reads the stored index, once. One that is not ours is replaced; one that
// the storage does not hand out is left alone, as it may be whole.
func (c *contents) load(ctx context.Context) {
	if c.loaded {
		return
	}
	b, err := c.read(ctx)
	if ctx.Err() != nil {
		return // another file's context may live on
	}
	c.loaded = true
	if err != nil {
		c.unreadable = true
		c.log.Warn("files that the repository has may be stored once more: the index of contents cannot be read", "file", contentsName, "error", err)
		return
	}
	if b == nil {
		return
	}
	if c.sorted, err = openContents(b, c.fqrn, &c.key.PublicKey); err != nil {
		c.log.Warn("files that the repository has may be stored once more: the index of contents is begun anew", "file", contentsName, "error", err)
	}
}

// read returns the bytes of the stored index, nil if there is none. One that is
// too large is cut off, which is no index either.
func (c *contents) read(ctx context.Context) (b []byte, err error) {
	size, ok, err := c.storage.Has(ctx, contentsName)
	if err != nil || !ok {
		return nil, err
	}
	rc, err := c.storage.Get(ctx, contentsName)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	b = make([]byte, min(size, int64(len(contentsHead)+maxContents*recordSize+c.key.Size())))
	if _, err := io.ReadFull(rc, b); err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", contentsName, c.storage, err)
	}
	return b, nil
}

// retain forgets the contents whose objects are not in kept.
func (c *contents) retain(ctx context.Context, kept *objectSet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.load(ctx)
	left := c.sorted.filter(kept)
	c.changed = c.changed || len(left) < len(c.sorted)
	c.sorted = left
}

// save stores the index if there is something new in it.
func (c *contents) save(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.changed || c.unreadable {
		return nil
	}
	b, err := sealContents(c.sorted, c.fresh, c.fqrn, c.key)
	if err != nil {
		return err
	}
	return c.storage.Put(ctx, contentsName, bytes.NewReader(b), int64(len(b)), Head)
}

// saveContents stores the index of contents once the objects in it are there to
// stay, which is when the manifest is. That has been published: what goes wrong
// here is told and no error.
func (tx *Tx) saveContents(ctx context.Context) {
	err := tx.lease.Valid(ctx)
	if err == nil {
		err = tx.ingester.contents.save(ctx)
	}
	if err != nil {
		tx.o.Log.Warn("new large files may be stored once more when they come again: the index of contents cannot be written", "file", contentsName, "error", err)
	}
}

// makeOnce is make, but of a large content that the repository has in whatever
// form, that form's object is taken. Two that come at the same time are one.
func (in *ingester) makeOnce(j *job, out []byte) (stored []byte, err error) {
	if in.contents == nil || len(j.data) < indexed || in.store.compression != cas.Zlib {
		return in.make(j, out)
	}
	in.cores <- struct{}{}
	k, err := in.contents.keyOf(j.data, in.store.algorithm, j.suffix)
	<-in.cores
	if err != nil {
		return nil, err
	}
	defer in.contents.alone(k)()
	if ok, err := in.recall(j, k); ok || err != nil {
		return nil, err
	}
	if stored, err = in.make(j, out); err == nil {
		in.contents.note(j.ctx, k, j.hash, len(stored))
	}
	return stored, err
}

// recall gives a job the object of content k, if that is there and whole.
func (in *ingester) recall(j *job, k contentKey) (bool, error) {
	f, ok := in.contents.find(j.ctx, k)
	if !ok {
		return false, nil
	}
	o, err := k.object(f.digest())
	if err != nil {
		return false, err
	}
	if !in.known.has(keyOf(o)) {
		if ok, err := in.store.has(j.ctx, o.Name(), f.size()); !ok || err != nil {
			return false, err
		}
		in.known.add(keyOf(o))
	}
	j.hash = o.Hash
	return true, nil
}
