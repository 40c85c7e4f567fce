package fusefs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
)

var discard = slog.New(slog.DiscardHandler)

func statusOf(e syscall.Errno) fuse.Status { return fuse.Status(e) }

func TestIDs(t *testing.T) {
	table := newNumbers()
	a := table.add(&numbered{opened: 7, rows: 100})
	b := table.add(&numbered{opened: 9, rows: 10})
	if again := table.add(&numbered{opened: 7, rows: 7}); again != a {
		t.Error("the same catalog was numbered again")
	}
	seen := map[uint64]string{}
	for _, n := range []*numbered{a, b} {
		for _, row := range []int64{1, 9, 99, 100, 101, 1 << 32, int64(rowMask)} {
			inode := n.inode(row)
			name := fmt.Sprint(n.number, row)
			if seen[inode] != "" {
				t.Errorf("inode %d is both %s and %s", inode, seen[inode], name)
			}
			seen[inode] = name
			for _, x := range []bool{false, true} {
				id, err := n.id(row, x)
				if err != nil {
					t.Fatal(err)
				}
				got, r, ok := table.byID(id)
				if !ok || got != n || r != row || isDir(id) || (id&xattrBit != 0) != x {
					t.Errorf("id %#x of %s: %v row %d %v", id, name, got, r, ok)
				}
			}
		}
	}
	for _, row := range []int64{0, -1, int64(rowMask) + 1} {
		if _, err := a.id(row, false); err == nil {
			t.Errorf("row %d has an id", row)
		}
	}
	for _, id := range []uint64{0, fuse.FUSE_ROOT_ID, dirBit | 5, 3 << numberShift, ^uint64(0)} {
		if _, _, ok := table.byID(id); ok {
			t.Errorf("id %#x names a file", id)
		}
	}
}

func TestDirs(t *testing.T) {
	head := &view{}
	table := newDirs(head)
	if root := table.get(fuse.FUSE_ROOT_ID); root == nil || root.path != "" || root.inode != rootInode {
		t.Fatalf("root is %+v", root)
	}
	table.forget(fuse.FUSE_ROOT_ID, 1)
	d := table.ref(head, "/a", 300)
	if again := table.ref(head, "/a", 999); again != d || again.inode != 300 {
		t.Errorf("a known directory changed: %+v", again)
	}
	table.ref(head, "/a/b", 301)
	table.forget(d.id, 1)
	if table.get(d.id) != d || table.find(head, "/a") != d {
		t.Error("forgotten while the kernel knows it")
	}
	table.forget(d.id, 5)
	if table.get(d.id) != nil || table.find(head, "/a") != nil {
		t.Error("still there after the last FORGET")
	}
	table.forget(d.id, 1)
	if next := table.ref(head, "/a", 302); next.id == d.id {
		t.Error("an id was given twice")
	}
}

func TestSorted(t *testing.T) {
	head := &view{}
	table := newDirs(head)
	for _, p := range []string{"/a-b", "/a/z", "/a", "/a/b/c", "/a.d", "/a/b", "/b"} {
		table.ref(head, p, 1)
	}
	var got []string
	for _, d := range table.sorted(head) {
		got = append(got, d.path)
	}
	want := []string{"", "/a", "/a/b", "/a/b/c", "/a/z", "/a-b", "/a.d", "/b"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, c := range []struct {
		path, dir string
		want      bool
	}{{"/a/b", "/a", true}, {"/a-b", "/a", false}, {"/a", "/a", false}, {"/a", "", true}, {"", "", false}, {"/ab", "/a/b", false}} {
		if below(c.path, c.dir) != c.want {
			t.Errorf("%q below %q: %v", c.path, c.dir, !c.want)
		}
	}
}

// files is a Store over files named by their hash.
type files struct {
	dir   string
	mu    sync.Mutex
	opens int
}

func (s *files) Open(_ context.Context, o cas.Object) (*os.File, error) {
	s.mu.Lock()
	s.opens++
	s.mu.Unlock()
	return os.Open(filepath.Join(s.dir, o.Hash.String()))
}

func (s *files) add(t *testing.T, text string) cas.Object {
	t.Helper()
	o := cas.Object{Hash: cas.Sum(cas.SHA1, []byte(text)), Compression: cas.None, Size: int64(len(text))}
	if err := os.WriteFile(filepath.Join(s.dir, o.Hash.String()), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestObjects(t *testing.T) {
	store := &files{dir: t.TempDir()}
	table := newObjects(store, shards, nil) // one a shard
	var all []cas.Object
	for i := range 200 {
		all = append(all, store.add(t, fmt.Sprint("object ", i)))
	}
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for i, o := range all {
				obj := table.get(o)
				if obj == nil {
					var err error
					if obj, err = table.openObject(t.Context(), o); err != nil {
						t.Error(err)
						return
					}
				}
				buf := make([]byte, o.Size)
				if _, err := obj.file.ReadAt(buf, 0); err != nil || string(buf) != fmt.Sprint("object ", i) {
					t.Errorf("object %d reads %q, %v", i, buf, err)
				}
				table.put(obj)
			}
		})
	}
	readers.Wait()
	n := 0
	for i := range table.shards {
		n += table.shards[i].recent.Len()
	}
	if n > shards {
		t.Errorf("%d descriptors are kept, the limit is %d", n, shards)
	}
	opens := store.opens
	obj, err := table.openObject(t.Context(), all[0])
	if err != nil {
		t.Fatal(err)
	}
	if again := table.get(all[0]); again != obj || store.opens != opens+1 {
		t.Error("an open object was opened again")
	} else {
		table.put(again)
	}
	table.close()
	if _, err := obj.file.ReadAt(make([]byte, 1), 0); err != nil {
		t.Errorf("the object closed under its reader: %v", err)
	}
	table.put(obj)
	if _, err := obj.file.ReadAt(make([]byte, 1), 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the object stays open: %v", err)
	}
	missing := cas.Object{Hash: cas.Sum(cas.SHA1, []byte("nothing"))}
	if _, err := table.openObject(t.Context(), missing); errno(err) != fuse.EIO {
		t.Errorf("a missing object is %v", err)
	}
}

// A descriptor is closed when it was not used from one sweep to the next, so that what the cache gives up goes from the disk.
func TestObjectsSwept(t *testing.T) {
	store := &files{dir: t.TempDir()}
	table := newObjects(store, 64, nil)
	defer table.close()
	idle, read, used := store.add(t, "idle"), store.add(t, "being read"), store.add(t, "used")
	for _, o := range []cas.Object{idle, used} {
		obj, err := table.openObject(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		table.put(obj)
	}
	reader, err := table.openObject(t.Context(), read)
	if err != nil {
		t.Fatal(err)
	}
	table.sweep()
	if obj := table.get(used); obj == nil {
		t.Fatal("closed although it was used lately")
	} else {
		table.put(obj)
	}
	table.sweep()
	if table.get(idle) != nil {
		t.Error("an idle descriptor stays")
	}
	if obj := table.get(used); obj == nil {
		t.Error("one that was used is closed")
	} else {
		table.put(obj)
	}
	if _, err := reader.file.ReadAt(make([]byte, 1), 0); err != nil {
		t.Errorf("closed under its reader: %v", err)
	}
	table.put(reader)
	if _, err := reader.file.ReadAt(make([]byte, 1), 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the last reader leaves it open: %v", err)
	}
	table.sweep()
	table.sweep()
	for i := range table.shards {
		if n := len(table.shards[i].open); n > 0 {
			t.Errorf("%d descriptors stay", n)
		}
	}
}

// Two file systems of one process stay within what both may keep open, and what is read stays open nevertheless.
func TestObjectsOfOneBudget(t *testing.T) {
	budget := &Budget{limit: 20}
	store := &files{dir: t.TempDir()}
	tables := []*objects{newObjects(store, 1024, budget), newObjects(store, 1024, budget)}
	for i := range 200 {
		o := store.add(t, fmt.Sprint("object ", i))
		obj, err := tables[i%2].openObject(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := obj.file.ReadAt(make([]byte, 1), 0); err != nil {
			t.Errorf("closed under its reader: %v", err)
		}
		tables[i%2].put(obj)
	}
	kept := 0
	for _, table := range tables {
		for i := range table.shards {
			kept += len(table.shards[i].open)
		}
	}
	if kept == 0 || int64(kept) > budget.limit || budget.used.Load() != int64(kept) {
		t.Errorf("%d are kept, %d counted, of %d", kept, budget.used.Load(), budget.limit)
	}
	for _, table := range tables {
		table.close()
	}
	if n := budget.used.Load(); n != 0 {
		t.Errorf("%d are counted after the end", n)
	}
}

func TestObjectsOfTwoCompressions(t *testing.T) {
	table := newObjects(&files{dir: t.TempDir()}, 64, nil)
	o := table.store.(*files).add(t, "the same bytes")
	plain, err := table.openObject(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer table.put(plain)
	o.Compression = cas.Zlib
	if table.get(o) != nil {
		t.Error("stored bytes and their inflated form are taken for the same content")
	}
}

func TestListings(t *testing.T) {
	var table listings
	big := &listing{id: 1, generation: 1, entries: make([]listed, maxListed+1)}
	table.put(big)
	if table.get(1, 1) != big {
		t.Error("the directory being read is not kept, as it is large")
	}
	if table.get(1, 2) != nil {
		t.Error("a listing outlived its revision")
	}
	table.put(&listing{id: 2, generation: 1, entries: make([]listed, 3)})
	if table.get(1, 1) != nil || table.get(2, 1) == nil || table.total != 3 {
		t.Errorf("%d entries kept", table.total)
	}
	table.drop(2)
	table.drop(2)
	if table.get(2, 1) != nil || table.total != 0 || table.recent.Len() != 0 {
		t.Errorf("%d entries kept after the end", table.total)
	}
}

func TestContentPieces(t *testing.T) {
	c := &content{size: 100, objects: make([]cas.Object, 3), offsets: []int64{0, 10, 60}}
	for off, want := range map[int64]int{0: 0, 9: 0, 10: 1, 59: 1, 60: 2, 99: 2} {
		if got := c.piece(off); got != want {
			t.Errorf("byte %d is in piece %d, want %d", off, got, want)
		}
	}
	var table contents
	for id := range uint64(3) {
		table.put(&content{id: id, objects: make([]cas.Object, maxPieces/2)})
	}
	if table.get(0) != nil || table.get(2) == nil {
		t.Error("contents are not evicted in order")
	}
}

func TestCounters(t *testing.T) {
	fs := &FS{}
	fs.counters.count(opRead, time.Now())
	fs.counters.count(opRead, time.Now().Add(-100*time.Hour))
	if got := fs.Counters(); got["READ"] != 2 || got["LOOKUP"] != 0 || len(got) != int(ops) {
		t.Errorf("got %v", got)
	}
	rows := fs.Latencies()
	if len(rows) != 1 || rows["READ"][buckets-1] != 1 {
		t.Errorf("got %v", rows)
	}
	if took := fs.Took(); len(took) != 1 || took["READ"] < 100*time.Hour {
		t.Errorf("they took %v", took)
	}
}

func TestSameEntry(t *testing.T) {
	base := catalog.Entry{Name: "f", Mode: 0o100644, Size: 3, Mtime: 5, MtimeNsec: -1, LinkCount: 1, Flags: catalog.File}
	same := base
	same.Row, same.MtimeNsec, same.Flags = 77, 0, catalog.File|catalog.DirectIO
	if !sameEntry(&base, &same) {
		t.Error("what cannot be seen makes a difference")
	}
	for name, change := range map[string]func(*catalog.Entry){
		"mode":  func(e *catalog.Entry) { e.Mode = 0o100600 },
		"size":  func(e *catalog.Entry) { e.Size++ },
		"mtime": func(e *catalog.Entry) { e.Mtime++ },
		"nsec":  func(e *catalog.Entry) { e.MtimeNsec = 1 },
		"hash":  func(e *catalog.Entry) { e.Hash = cas.Sum(cas.SHA1, nil) },
		"links": func(e *catalog.Entry) { e.LinkCount++ },
		"group": func(e *catalog.Entry) { e.LinkGroup++ },
		"link":  func(e *catalog.Entry) { e.Symlink = "x" },
		"flags": func(e *catalog.Entry) { e.Flags |= catalog.Chunked },
		"xattr": func(e *catalog.Entry) { e.HasXattrs = true },
	} {
		e := base
		change(&e)
		if sameEntry(&base, &e) {
			t.Errorf("another %s makes no difference", name)
		}
	}
}

func TestEncodeDevice(t *testing.T) {
	for dev, want := range map[uint64]uint32{0x103: 0x103, 0x7c8: 0x7c8, 0xfff00: 0xfff00, 0x12300045: 0x12300045} {
		if got := encodeDevice(dev); got != want {
			t.Errorf("%#x: %#x, want %#x", dev, got, want)
		}
	}
}

func TestLogWriter(t *testing.T) {
	var out strings.Builder
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	fmt.Fprintln(logWriter{log, true}, "rx 1: LOOKUP")
	fmt.Fprintln(logWriter{log, false}, "writer failed")
	if s := out.String(); !strings.Contains(s, "level=DEBUG msg=\"rx 1: LOOKUP\"") || !strings.Contains(s, "level=WARN msg=\"writer failed\"") {
		t.Errorf("got %s", s)
	}
}
