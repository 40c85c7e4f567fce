package publish

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/mount/repo"
)

// Options are how a transaction works. The zero value is that of a repository
// without peculiarities.
type Options struct {
	FQRN        string
	Algorithm   cas.Algorithm    // of new objects; 0: the one that names the base's root catalog
	Compression cas.Compression  // of new file contents
	Chunks      ChunkSizes       // zero: 4, 8 and 16 MiB
	Weights     Weights          // zero: 1000 and 100000 entries
	Workers     int              // that compress; 0: as many as there are cores
	Scratch     string           // directory for temporary files; "": the system's
	Now         func() time.Time // nil: time.Now
	Log         *slog.Logger     // nil: none
	Wait        time.Duration    // for another publisher to end; 0: ErrLocked at once
	Waiting     func(error)      // called once if there is one, with who it is; nil: nobody is told
}

// Keys are what signs a repository.
type Keys struct {
	Repository  *rsa.PrivateKey
	Certificate []byte           // PEM, of Repository
	Master      *rsa.PrivateKey  // signs the whitelist; nil where it is kept elsewhere
	Public      []*rsa.PublicKey // master keys that the whitelist may be signed by
}

// Tx is a transaction: edits on top of the newest revision. Ingest and Start
// may be called from many goroutines, and so may the edits; of two edits of one
// path the later stands. Every Tx ends in Commit or Abort.
type Tx struct {
	Stats IngestStats

	o        Options
	keys     Keys
	storage  Storage
	store    objectStore
	lease    Lease
	before   []byte // the base's manifest as stored
	repo     *repo.Repository
	rev      *repo.Revision
	base     *baseTree
	ingester *ingester
	scratch  string
	now      time.Time

	unscratch func() error // removes scratch

	mu    sync.Mutex
	edits edit
	ended bool
}

// Base is the revision the transaction began with.
func (tx *Tx) Base() *repo.Revision { return tx.rev }

// Scratch is a directory for temporary files, removed with the transaction.
func (tx *Tx) Scratch() string { return tx.scratch }

// Now is the time that the new revision will carry.
func (tx *Tx) Now() time.Time { return tx.now }

// Ingest stores the bytes of r to its end as the content of a file.
func (tx *Tx) Ingest(ctx context.Context, r io.Reader) (Content, error) {
	p, err := tx.Start(ctx, r, -1)
	if err != nil {
		return Content{}, err
	}
	return p.Wait()
}

// Start reads r to its end and returns while its objects are still being made,
// so that one reader keeps all cores busy. size is what r is expected to give,
// or -1: it saves small files a large buffer. The content is in Wait's answer.
func (tx *Tx) Start(ctx context.Context, r io.Reader, size int64) (*Pending, error) {
	return tx.ingester.start(ctx, r, size)
}

// Replace makes items the subtree at path. They come in the order of
// ComparePaths, each directory before what lies in it, and the first is path
// itself; if it is not, path becomes a plain directory. Directories above path
// that the repository lacks are made.
func (tx *Tx) Replace(path string, items iter.Seq2[Item, error]) error {
	if err := checkPath(path); err != nil {
		return err
	}
	s, err := newSpool(tx.scratch, path, rooted(path, items, tx.now.Unix()))
	if err != nil {
		return fmt.Errorf("replace %s: %w", display(path), err)
	}
	return tx.edit(path, func(e *edit) { e.clear(); e.hide, e.spool = true, s })
}

// rooted puts a directory at root before items if they do not begin with one.
func rooted(root string, items iter.Seq2[Item, error], mtime int64) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		begun := false
		for it, err := range items {
			if err == nil && !begun && it.Path != root && !yield(*newDirectory(root, mtime), nil) {
				return
			}
			begun = true
			if !yield(it, err) {
				return
			}
		}
		if !begun {
			yield(*newDirectory(root, mtime), nil)
		}
	}
}

// Remove removes path and everything below it; it need not exist.
func (tx *Tx) Remove(path string) error {
	if err := checkPath(path); err != nil {
		return err
	}
	if path == "" {
		return errors.New("remove /: a repository cannot be without a root directory")
	}
	_, err := tx.Lookup(path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return err
	}
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if at, decided := tx.edits.find(path); at == nil && missing && !decided {
		return nil
	}
	e := tx.edits.at(path, nil)
	e.clear()
	e.hide = true
	return nil
}

// Put sets one entry: a file whose content was ingested, a link, a device, or
// the attributes of a directory, which keeps what lies in it.
func (tx *Tx) Put(it Item) error {
	it.Entry.LinkGroup = 0 // a group needs all of its directory: Replace
	if err := it.check(); err != nil {
		return err
	}
	return tx.edit(it.Path, func(e *edit) {
		if !it.Entry.IsDir() {
			hide := e.hide
			e.clear()
			e.hide = hide
		}
		e.item = &it
	})
}

// Symlink sets a symbolic link, in place of whatever is no directory.
func (tx *Tx) Symlink(path, target string) error {
	return tx.Put(tx.item(path, unix.S_IFLNK|0o777, target))
}

// PutFile stores a regular file with the permission bits of mode, owned by
// root.
func (tx *Tx) PutFile(path string, mode uint32, r io.Reader) error {
	c, err := tx.Ingest(context.Background(), r)
	if err != nil {
		return fmt.Errorf("store %s: %w", path, err)
	}
	it := tx.item(path, unix.S_IFREG|mode&0o7777, "")
	c.Apply(&it)
	return tx.Put(it)
}

func (tx *Tx) item(path string, mode uint32, target string) Item {
	return Item{Path: path, Entry: catalog.Entry{Mode: mode, Symlink: target, Mtime: tx.now.Unix(), MtimeNsec: -1}}
}

func (tx *Tx) directory(path string) *Item { return newDirectory(path, tx.now.Unix()) }

func (tx *Tx) edit(path string, fn func(*edit)) error {
	for dir := catalog.Parent(path); dir != ""; dir = catalog.Parent(dir) { // they may have to be made
		if err := tx.directory(dir).check(); err != nil {
			return err
		}
	}
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.ended {
		return fmt.Errorf("edit %s: the transaction has ended", display(path))
	}
	fn(tx.edits.at(path, tx.directory))
	return nil
}

// Lookup finds an item of the base revision; fs.ErrNotExist if it has none. Of a
// nested catalog's directory it is the root entry.
func (tx *Tx) Lookup(path string) (Item, error) {
	n, err := tx.rev.Lookup(context.Background(), path)
	if err != nil {
		return Item{}, err
	}
	bc := &baseCatalog{path: n.Catalog.Prefix(), cat: n.Catalog}
	return bc.item(path, n.Entry)
}

// Items yields the subtree of the base revision at path as Replace takes it;
// the markers of catalogs that were placed automatically are left out.
func (tx *Tx) Items(path string) iter.Seq2[Item, error] {
	return tx.base.items(context.Background(), path)
}

// Abort ends the transaction and leaves the repository as it was. After Commit
// it does nothing.
func (tx *Tx) Abort() error { return tx.end() }

func (tx *Tx) end() error {
	tx.mu.Lock()
	ended := tx.ended
	tx.ended = true
	tx.mu.Unlock()
	if ended {
		return nil
	}
	tx.ingester.close()
	tx.edits.close()
	return errors.Join(tx.repo.Close(), tx.unscratch(), tx.lease.Release())
}

// display is how messages name a path.
func display(path string) string {
	if path == "" {
		return "/"
	}
	return path
}
