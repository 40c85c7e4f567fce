package session

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/mount/fusefs"
	"github.com/flatrun/flatrun/mount/repo"
)

// lease is what the client on one connection was told of: one revision of each repository, which stays pinned as long as the
// connection lasts. When it ends, the mounts that the client has made of them speak for themselves, see sweep.
type lease struct {
	mu   sync.Mutex
	held map[*served]*repo.Revision
}

type leaseKey struct{}

// withLease keeps a request, whatever it resolves, to the revisions of the lease.
func withLease(ctx context.Context, l *lease) context.Context {
	return context.WithValue(ctx, leaseKey{}, l)
}

// leaseOf is the lease of a request, nil for one that follows the head.
func leaseOf(ctx context.Context) *lease {
	l, _ := ctx.Value(leaseKey{}).(*lease)
	return l
}

// revision is the repository's revision for this client, and the directory that shows it: without a lease the head, where
// later ones will show.
func (l *lease) revision(v *served) (*repo.Revision, string, error) {
	if l == nil || v.path == "" { // or nobody looks, see Prefetch
		return v.repo.Head(), v.path, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	rev := l.held[v]
	if rev == nil {
		var err error
		if rev, err = v.lend(); err != nil {
			return nil, "", err
		}
		if l.held == nil {
			l.held = map[*served]*repo.Revision{}
		}
		l.held[v] = rev
	}
	return rev, filepath.Join(v.path, fusefs.PinName(rev.Root().CatalogHash)), nil
}

// drop gives all back: at the end of the connection, or when the client is told anew.
func (l *lease) drop() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for v, rev := range l.held {
		v.giveBack(rev)
	}
	l.held = nil
}

// revisions are those of all that is mounted. What the client has not been told of yet it gets as it is now.
func (r *repositories) revisions(l *lease) (all []enter.Revision, err error) {
	for _, v := range r.mounted() {
		_, dir, err := l.revision(v)
		if err != nil {
			return nil, err
		}
		all = append(all, enter.Revision{FQRN: v.settings.FQRN, Dir: dir})
	}
	return all, nil
}

// pinning is which revisions of a repository are pinned beside the head, and why.
type pinning struct {
	mu     sync.Mutex
	leased map[cas.Hash]int // connections that were told of the revision, by its root catalog
	unused map[cas.Hash]int // sweeps in a row that found nobody
}

// lend pins the head for a client.
func (v *served) lend() (*repo.Revision, error) {
	p := &v.pinning
	p.mu.Lock()
	defer p.mu.Unlock()
	head := v.repo.Head()
	if err := v.fs.Pin(head); err != nil {
		return nil, fmt.Errorf("repository %s: keep revision %d: %w", v.settings.FQRN, head.Manifest().Revision, err)
	}
	if p.leased == nil {
		p.leased, p.unused = map[cas.Hash]int{}, map[cas.Hash]int{}
	}
	p.leased[head.Root().CatalogHash]++
	return head, nil
}

func (v *served) giveBack(rev *repo.Revision) {
	p := &v.pinning
	p.mu.Lock()
	defer p.mu.Unlock()
	root := rev.Root().CatalogHash
	if p.leased[root]--; p.leased[root] == 0 {
		delete(p.leased, root)
	}
}

// behind reports whether a revision is pinned that new clients will not be told of.
func (v *served) behind() bool {
	head := v.repo.Head().Root().CatalogHash
	return slices.ContainsFunc(v.fs.Pinned(), func(rev *repo.Revision) bool { return rev.Root().CatalogHash != head })
}

// outdated are those of which none is just being told either.
func (v *served) outdated() (roots []cas.Hash) {
	p := &v.pinning
	p.mu.Lock()
	defer p.mu.Unlock()
	head := v.repo.Head().Root().CatalogHash
	for _, rev := range v.fs.Pinned() {
		if root := rev.Root().CatalogHash; root != head && p.leased[root] == 0 {
			roots = append(roots, root)
		}
	}
	return roots
}

// unusedSweeps is how many sweeps in a row must find nobody: a process can be overlooked that is just being started by one
// that is just ending.
const unusedSweeps = 2

// settle notes whether an outdated revision was found in use, and lets go of it when it is not.
func (v *served) settle(root cas.Hash, used bool) (gone bool) {
	p := &v.pinning
	p.mu.Lock()
	if p.unused == nil {
		p.unused = map[cas.Hash]int{}
	}
	p.unused[root]++
	if gone = p.unused[root] >= unusedSweeps; used || gone {
		delete(p.unused, root)
	}
	gone = gone && !used
	p.mu.Unlock()
	if gone { // not under the lock: the kernel may make us wait for who is looking something up
		v.fs.Unpin(root)
	}
	return gone
}
