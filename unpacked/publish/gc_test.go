package publish

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/repo"
)

// stored is the set of files in the storage.
func (r *testRepo) stored() map[string]bool {
	r.t.Helper()
	all := map[string]bool{}
	for f, err := range r.s.List(context.Background(), "") {
		if err != nil {
			r.t.Fatal(err)
		}
		if f.Name != lockName {
			all[f.Name] = true
		}
	}
	return all
}

func (r *testRepo) gc(o GCOptions) Collected {
	r.t.Helper()
	c, err := GC(context.Background(), r.s, r.keys, r.o, o)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// later moves the repository's clock.
func (r *testRepo) later(d time.Duration) {
	now := time.Now().Add(d)
	r.o.Now = func() time.Time { return now }
}

func TestGCKeepsHeadAndTags(t *testing.T) {
	r := newTestRepo(t)
	put := func(name, data string) *repo.Manifest {
		return r.publish(func(tx *Tx) error { return tx.PutFile("/"+name, 0o644, strings.NewReader(data)) })
	}
	put("tagged", "of the tag")
	if _, err := AddTag(t.Context(), r.s, r.keys, r.o, "keep-me", "", "a tag"); err != nil {
		t.Fatal(err)
	}
	tagged := r.read("keep-me")
	r.publish(func(tx *Tx) error {
		if err := tx.Replace("/sub", tx.items(t, map[string]file{
			"/sub": dirOf(2), "/sub/.cvmfscatalog": text(""), "/sub/gone": text("nobody keeps this"),
		})); err != nil {
			return err
		}
		return tx.Remove("/tagged")
	})
	r.publish(func(tx *Tx) error { return tx.Remove("/sub") })
	put("last", "of the head")
	head := r.read("")
	before := r.stored()

	r.later(time.Hour)
	if c := r.gc(GCOptions{}); c.Objects != 0 || c.Tags != 0 {
		t.Errorf("an hour later: collected %+v, all of it is too young", c)
	}
	r.later(10 * 24 * time.Hour)
	times := map[string]int{}
	r.gc(GCOptions{DryRun: true, Orphans: true, OrphanAge: -1, Deleted: func(name string) { times[name]++ }})
	for name, n := range times {
		if n > 1 {
			t.Errorf("dry run: %s is counted %d times", name, n)
		}
	}
	if c := r.gc(GCOptions{DryRun: true}); c.Objects == 0 || len(r.stored()) != len(before) {
		t.Errorf("dry run: collected %+v, %d of %d files are left", c, len(r.stored()), len(before))
	}
	c := r.gc(GCOptions{})
	if c.Revisions != 2 || c.Tags != 4 { // 1 and 3: 4 is trunk-previous; the generic tags
		t.Errorf("collected %+v, want 2 revisions and 4 tags", c)
	}
	gone := cas.Object{Hash: r.contentHash("nobody keeps this")}.Name()
	if r.stored()[gone] || !before[gone] {
		t.Errorf("object of the collected revision: was there %v, is there %v", before[gone], r.stored()[gone])
	}
	equalTrees(t, r.read(""), head)
	equalTrees(t, r.read("keep-me"), tagged)
	r.check()
	if c := r.gc(GCOptions{}); c.Objects != 0 {
		t.Errorf("a second run collected %+v", c)
	}
	// Life goes on, with content that was collected too.
	put("again", "nobody keeps this")
	r.check()
}

// contentHash is the hash of the stored form of a small file.
func (r *testRepo) contentHash(data string) cas.Hash {
	_, h, err := objectStore{r.s, cas.SHA1, cas.Zlib}.object([]byte(data), nil, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return h
}

func TestGCOrphans(t *testing.T) {
	r := newTestRepo(t)
	r.publish(func(tx *Tx) error { return tx.PutFile("/f", 0o644, strings.NewReader("kept")) })
	tx := r.begin()
	if _, err := tx.Ingest(t.Context(), strings.NewReader("never committed")); err != nil {
		t.Fatal(err)
	}
	tx.Abort()
	orphan := cas.Object{Hash: r.contentHash("never committed")}.Name()
	if !r.stored()[orphan] {
		t.Fatal("the aborted transaction's object is not there")
	}
	r.gc(GCOptions{Orphans: true})
	if !r.stored()[orphan] {
		t.Error("an object of today was deleted as an orphan")
	}
	told := map[string]bool{}
	asks := &asked{Storage: r.s}
	r.s = asks
	r.gc(GCOptions{Orphans: true, OrphanAge: -1, DryRun: true, Deleted: func(name string) { told[name] = true }})
	if _, ok := asks.names.Load(orphan); ok {
		t.Error("the size of an orphan was asked for, which the list has")
	}
	r.s = asks.Storage
	if !told[orphan] || told[cas.Object{Hash: r.contentHash("kept")}.Name()] {
		t.Errorf("orphans of any age are %v", told)
	}
	r.later(2 * 24 * time.Hour)
	r.gc(GCOptions{Orphans: true})
	if r.stored()[orphan] {
		t.Error("the orphan is still there after two days")
	}
	r.check()
}

// asked notes which files were asked for.
type asked struct {
	Storage
	names sync.Map
}

func (a *asked) Has(ctx context.Context, name string) (int64, bool, error) {
	a.names.Store(name, true)
	return a.Storage.Has(ctx, name)
}

func TestGCIsForbidden(t *testing.T) {
	dir, err := OpenDirectory(tempDir(t))
	if err != nil {
		t.Fatal(err)
	}
	o := Options{FQRN: testFQRN, Scratch: tempDir(t)}
	if _, err := Init(t.Context(), dir, InitOptions{Options: o, Keys: testKeys(), Uncollected: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := GC(t.Context(), dir, testKeys(), o, GCOptions{}); err == nil || !strings.Contains(err.Error(), "forbids") {
		t.Errorf("got %v", err)
	}
}

// TestGCKilled ends a collection at every deletion; the kept revisions are whole
// each time and the next run finishes.
func TestGCKilled(t *testing.T) {
	r := newTestRepo(t)
	for i := range 3 {
		r.publish(func(tx *Tx) error {
			return tx.Replace("/sub", tx.items(t, map[string]file{
				"/sub": dirOf(2), "/sub/.cvmfscatalog": text(""), "/sub/f": text(fmt.Sprint("content ", i)),
			}))
		})
	}
	head := r.read("")
	r.later(10 * 24 * time.Hour)
	errKilled := errors.New("killed")
	want := r.gc(GCOptions{DryRun: true}).Objects
	dir := r.s
	for n := 0; ; n++ {
		k := &killer{Storage: dir, left: n, err: errKilled}
		r.s = k
		_, err := GC(t.Context(), r.s, r.keys, r.o, GCOptions{})
		r.s = dir
		if err == nil {
			break
		}
		if !errors.Is(err, errKilled) {
			t.Fatalf("after %d calls: %v", n, err)
		}
		equalTrees(t, r.read(""), head)
	}
	r.check()
	if c := r.gc(GCOptions{}); c.Objects != 0 {
		t.Errorf("something was left: %+v of %d objects", c, want)
	}
}

func TestObjectSet(t *testing.T) {
	var s objectSet
	want := map[objectKey]bool{}
	for i := range 5000 {
		k := keyOf(cas.Object{Hash: cas.Sum(cas.SHAKE128, fmt.Append(nil, i%3000)), Suffix: cas.PartialSuffix})
		s.add(k)
		want[k] = true
		if i%1000 == 0 {
			s.sort()
		}
	}
	s.sort()
	if len(s.sorted) != len(want) {
		t.Errorf("%d keys, want %d", len(s.sorted), len(want))
	}
	for k := range maps.Keys(want) {
		if !s.has(k) {
			t.Fatalf("%x is missing", k)
		}
	}
}

func TestParseName(t *testing.T) {
	for _, o := range []cas.Object{
		{Hash: cas.Sum(cas.SHA1, nil)}, {Hash: cas.Sum(cas.SHAKE128, nil), Suffix: cas.PartialSuffix},
		{Hash: cas.Sum(cas.RMD160, nil), Suffix: cas.CatalogSuffix},
	} {
		if k, ok := parseName(o.Name()); !ok || k != keyOf(o) {
			t.Errorf("parseName(%s) = %x, %v", o.Name(), k, ok)
		}
	}
	for _, name := range []string{"data/txn/x", "data/ab/", "data/ab/zz", ".cvmfspublished", "data/ab"} {
		if _, ok := parseName(name); ok {
			t.Errorf("parseName(%q) is taken for an object", name)
		}
	}
}
