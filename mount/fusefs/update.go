package fusefs

import (
	"context"
	"errors"
	"fmt"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
)

// Update moves the mount to the repository's head, all but what is pinned. It returns when the kernel has dropped all that
// changed; requests are answered from the new revision as soon as it begins. An error names the directories that the kernel
// may still show as they were, because a catalog could not be had; the next Update looks at them again.
func (fs *FS) Update(ctx context.Context) error {
	fs.updating.Lock()
	defer fs.updating.Unlock()
	was := fs.head.state.Load()
	is := was
	if head := fs.repo.Head(); head.Root().CatalogHash != was.root.holder.cat.hash {
		var err error
		if is, err = fs.newState(fs.head, head, was.generation+1); err != nil {
			return err
		}
		fs.head.state.Store(is)
	}
	err := fs.notify(ctx, was, is)
	if err == nil && was != is {
		fs.memory.note(noteRoot, nil, is.root.holder.cat.hash.String())
	}
	return err
}

// notify tells the kernel what differs between two revisions in the directories it knows.
//
// The order matters. The new revision is current before the first notification, and a notification about a name takes the
// directory's lock, which every look-up and listing in it holds from its request to the end of its answer's use. So an
// answer from the old revision is in the kernel's tables before the notification that removes it, and no later one comes.
// No lock of ours is held here but that of Update: the kernel may make us wait for requests that it waits for us to answer.
func (fs *FS) notify(ctx context.Context, was, is *state) error {
	var failed []error
	settle := func(from *state, d *dir) (same bool) {
		same, err := fs.notifyDir(ctx, from, is, d)
		if err != nil {
			fs.unsettled[d] = from
			failed = append(failed, fmt.Errorf("%q: %w", d.path, err))
			return false
		}
		delete(fs.unsettled, d)
		return same
	}
	for d, from := range fs.unsettled {
		if fs.dirs.get(d.id) != d { // forgotten meanwhile
			delete(fs.unsettled, d)
			continue
		}
		settle(from, d)
	}
	if old, now := was.root.holder.cat.Root(), is.root.holder.cat.Root(); !sameEntry(&old, &now) {
		fs.tell(fs.dirs.get(fuse.FUSE_ROOT_ID), nil) // every other directory's attributes are its parent's to tell of
	}
	var same *dir // everything below it has the same catalog in both revisions
	for _, d := range fs.dirs.sorted(fs.head) {
		// Where nothing was looked up since it became known, the kernel knows nothing; whoever looks now uses the new state.
		if was == is || same != nil && below(d.path, same.path) || fs.unsettled[d] != nil || !d.entered.Load() {
			continue
		}
		if settle(was, d) {
			same = d
		}
	}
	return errors.Join(failed...)
}

// notifyDir compares a directory in two revisions and tells the kernel. It tells whether all below it is the same in both.
func (fs *FS) notifyDir(ctx context.Context, was, is *state, d *dir) (same bool, err error) {
	old, err := fs.findIn(ctx, was, d)
	if err != nil {
		return false, err
	}
	now, err := fs.findIn(ctx, is, d)
	if err != nil || old == nil && now == nil {
		return err == nil, err
	}
	if old != nil && now != nil {
		// One catalog determines all catalogs below it, so its hash tells, and a catalog that did not change need not be
		// loaded to see that.
		a, errA := old.childHash(d.path)
		b, errB := now.childHash(d.path)
		if errA != nil || errB != nil || a == b {
			return a == b, errors.Join(errA, errB)
		}
	}
	before, err := fs.rows(ctx, was, old, d.path)
	if err != nil {
		return false, err
	}
	after, err := fs.rows(ctx, is, now, d.path)
	if err != nil {
		return false, err
	}
	changes, err := compare(before, after)
	if err == nil && len(changes) > 0 {
		fs.tell(d, changes)
	}
	return false, err
}

// findIn is where the revision has the directory, nil where it has none.
func (fs *FS) findIn(ctx context.Context, st *state, d *dir) (*place, error) {
	if p := d.place.Load(); p != nil && p.generation == st.generation {
		return p, nil
	}
	p, err := fs.find(ctx, st, d.path)
	if errors.Is(err, errStale) {
		return nil, nil
	}
	return p, err
}

// childHash is the hash of the catalog with the children of the directory at path.
func (p *place) childHash(path string) (cas.Hash, error) {
	p.mu.Lock()
	t := p.inside
	p.mu.Unlock()
	if t != nil {
		return t.cat.hash, nil
	}
	n, found, err := p.holder.cat.NestedAt(p.holder.local(path))
	if err == nil && !found {
		err = fmt.Errorf("catalog %s: %w: it names no catalog for %q", p.holder.cat.hash, catalog.ErrCorrupt, path)
	}
	return n.Hash, err
}

// rows are all entries of a directory, by name, and the catalog they are in. Hidden ones can be known by look-up.
type rows struct {
	cat    *catalog.Catalog
	byName map[string]catalog.Entry
}

func (fs *FS) rows(ctx context.Context, st *state, p *place, path string) (rows, error) {
	all := rows{byName: make(map[string]catalog.Entry)}
	if p == nil {
		return all, nil
	}
	t, err := fs.inside(ctx, st, p, path)
	if err != nil {
		return all, err
	}
	all.cat = t.cat.Catalog
	return all, t.cat.List(t.hash(path), func(e catalog.Entry) error {
		all.byName[e.Name] = e
		return nil
	})
}

// change is a name that means something else in the new revision.
type change struct {
	name       string
	isDir      bool // now
	attributes bool // it is a directory in both, and only what a stat of it shows differs
}

// compare lists the names that differ.
func compare(before, after rows) (all []change, err error) {
	for name, e := range after.byName {
		b, present := before.byName[name]
		same := present && sameEntry(&b, &e)
		if same {
			if same, err = sameContent(before.cat, after.cat, &b, &e); err != nil {
				return nil, err
			}
		}
		if !same {
			all = append(all, change{name: name, isDir: e.IsDir(), attributes: present && b.IsDir() && e.IsDir()})
		}
	}
	for name := range before.byName {
		if _, present := after.byName[name]; !present {
			all = append(all, change{name: name})
		}
	}
	return all, nil
}

// tell sends the notifications for one directory. Most of them meet nothing: the kernel knows few of the names.
func (fs *FS) tell(d *dir, changes []change) {
	server := fs.server.Load()
	if server == nil {
		return
	}
	// A name that no entry has: it changes nothing, but takes and leaves the directory's lock, so that old answers about
	// directories whose attributes changed have arrived before these are dropped.
	server.EntryNotify(d.id, barrier)
	for _, c := range changes {
		if !c.attributes {
			server.EntryNotify(d.id, c.name)
		}
		if c.isDir {
			if child := fs.dirs.find(d.view, join(d.path, c.name)); child != nil {
				server.InodeNotify(child.id, 0, 0)
			}
		}
	}
	server.InodeNotify(d.id, 0, 0) // its listing, which the kernel keeps as the directory's pages
}

// barrier is a name with a byte that names cannot have.
const barrier = "/"
