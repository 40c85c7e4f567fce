package publish

import (
	"bytes"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
)

var discard = slog.New(slog.DiscardHandler)

// halfRandom is content that compresses, and not to the same form everywhere.
func halfRandom(n int, seed byte) []byte {
	b := randomBytes(n, uint64(seed))
	for i := range b {
		if i/64%2 == 0 {
			b[i] = byte(i)
		}
	}
	return b
}

// putAs publishes content as /name, each object made by another compressor, the
// standard library's, with the index told of it as the transaction does.
func (r *testRepo) putAs(name string, content []byte) {
	r.t.Helper()
	r.publish(func(tx *Tx) error {
		c, err := tx.Ingest(r.t.Context(), bytes.NewReader(content))
		if err != nil {
			return err
		}
		if len(c.Chunks) == 0 {
			c.Hash, err = r.repack(tx, content, cas.Object{Hash: c.Hash})
		}
		for i := range c.Chunks {
			k := &c.Chunks[i]
			if err == nil {
				k.Hash, err = r.repack(tx, content[k.Offset:k.Offset+k.Size], cas.Object{Hash: k.Hash, Suffix: cas.PartialSuffix})
			}
		}
		if err != nil {
			return err
		}
		it := tx.item(name, 0o100644, "")
		c.Apply(&it)
		return tx.Put(it)
	})
}

// repack puts another object of the same content in the place of o.
func (r *testRepo) repack(tx *Tx, data []byte, o cas.Object) (cas.Hash, error) {
	if err := r.s.Delete(r.t.Context(), o.Name()); err != nil {
		return cas.Hash{}, err
	}
	var packed bytes.Buffer
	z, err := zlib.NewWriterLevel(&packed, zlib.BestSpeed)
	if err != nil {
		return cas.Hash{}, err
	}
	z.Write(data)
	if err := z.Close(); err != nil {
		return cas.Hash{}, err
	}
	a, n := o.Hash.Algorithm(), packed.Len()
	o.Hash = cas.Sum(a, packed.Bytes())
	tx.ingester.contents.note(r.t.Context(), keyOfContent(data, a, o.Suffix), o.Hash, n)
	return o.Hash, r.s.Put(r.t.Context(), o.Name(), &packed, int64(n), Data)
}

// objectsOf are the names of a file's objects.
func (r *testRepo) objectsOf(path string) (names []string) {
	r.t.Helper()
	tx := r.begin()
	defer tx.Abort()
	it, err := tx.Lookup(path)
	if err != nil {
		r.t.Fatal(err)
	}
	if !it.Entry.Hash.IsZero() {
		names = append(names, cas.Object{Hash: it.Entry.Hash}.Name())
	}
	for _, k := range it.Chunks {
		names = append(names, cas.Object{Hash: k.Hash, Suffix: cas.PartialSuffix}.Name())
	}
	return names
}

// putNew publishes content as path and returns how many objects were new.
func (r *testRepo) putNew(path string, content []byte) int64 {
	r.t.Helper()
	var stored int64
	r.publish(func(tx *Tx) error {
		err := tx.PutFile(path, 0o644, bytes.NewReader(content))
		stored = tx.Stats.Stored.Load()
		return err
	})
	return stored
}

// TestOneContentOneObject: a content that another compressor has packed is not
// stored again, whole or in chunks, in each algorithm. What was lost is.
func TestOneContentOneObject(t *testing.T) {
	for _, a := range []cas.Algorithm{cas.SHA1, cas.RMD160, cas.SHAKE128} {
		t.Run(a.String(), func(t *testing.T) {
			r := newTestRepo(t)
			r.o.Algorithm, r.o.Chunks = a, ChunkSizes{Min: 512 << 10, Avg: 1 << 20, Max: 2 << 20}
			plain, cut := halfRandom(1<<19, 1), halfRandom(9<<20, 2)
			r.putAs("/plain", plain)
			r.putAs("/cut", cut)
			if n := len(r.objectsOf("/cut")); n < 4 {
				t.Fatalf("%d chunks", n)
			}
			r.putNew("/plain2", plain)
			if n := r.putNew("/cut2", cut); n != 0 {
				t.Errorf("%d objects are stored once more", n)
			}
			r.putNew("/small", []byte("not indexed"))
			for _, name := range []string{"/plain", "/cut"} {
				if got, want := r.objectsOf(name+"2"), r.objectsOf(name); !slices.Equal(got, want) {
					t.Errorf("%s2 has the objects %v, want %v", name, got, want)
				}
			}
			r.check()

			chunks := r.objectsOf("/cut")
			if err := r.s.Delete(t.Context(), chunks[1]); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(filepath.Join(r.dir.root, chunks[2]), 100); err != nil {
				t.Fatal(err)
			}
			for want := range slices.Values([]int64{2, 0}) { // stored by our compressor, and noted
				if n := r.putNew("/cut3", cut); n != want {
					t.Errorf("%d objects are stored, want %d", n, want)
				}
				now := r.objectsOf("/cut3")
				if now[0] != chunks[0] || now[1] == chunks[1] || now[2] == chunks[2] {
					t.Errorf("with two objects lost it has %v, before it had %v", now, chunks)
				}
			}
			r.publish(func(tx *Tx) error { return errors.Join(tx.Remove("/cut"), tx.Remove("/cut2")) })
			if got := r.read("")["/cut3"].data; got != string(cut) {
				t.Errorf("read %d other bytes", len(got))
			}
		})
	}
}

// TestContentsOfManyAtOnce has one content come from many at the same time.
func TestContentsOfManyAtOnce(t *testing.T) {
	r := newTestRepo(t)
	data := halfRandom(1<<20, 3)
	r.publish(func(tx *Tx) error {
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if c, err := tx.Ingest(t.Context(), bytes.NewReader(data)); err != nil || c.Size != 1<<20 {
					t.Errorf("%+v, %v", c, err)
				}
			})
		}
		all.Wait()
		if n := tx.Stats.Stored.Load(); n != 1 {
			t.Errorf("%d objects are stored of one content", n)
		}
		return tx.PutFile("/f", 0o644, bytes.NewReader(data))
	})
	r.check()
}

// indexOf is the stored index, nil if there is none.
func (r *testRepo) indexOf() records {
	r.t.Helper()
	c := newContents(r.s, r.o.FQRN, r.keys.Repository, discard)
	b, err := c.read(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	if b == nil {
		return nil
	}
	all, err := openContents(b, r.o.FQRN, &r.keys.Repository.PublicKey)
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// TestContentsAreOfCommits: what is not committed, small, or stored as it is, is
// not in the index.
func TestContentsAreOfCommits(t *testing.T) {
	r := newTestRepo(t)
	tx := r.begin()
	if err := tx.PutFile("/f", 0o644, bytes.NewReader(halfRandom(1<<20, 4))); err != nil {
		t.Fatal(err)
	}
	if err := tx.Abort(); err != nil {
		t.Fatal(err)
	}
	r.putNew("/small", halfRandom(indexed-1, 5))
	r.o.Compression = cas.None
	r.putNew("/plain", halfRandom(1<<20, 4))
	if r.indexOf() != nil {
		t.Error("there is an index")
	}
	r.o.Compression = cas.Zlib
	r.putNew("/large", halfRandom(indexed, 5))
	if n := r.indexOf().len(); n != 1 {
		t.Errorf("%d records, want 1", n)
	}
	r.o.Compression = cas.None
	r.putNew("/plain2", halfRandom(indexed, 5))
	if n := r.indexOf().len(); n != 1 {
		t.Errorf("%d records, want 1", n)
	}
	r.check()
}

// without is a Storage that refuses one file to be written or read.
type without struct {
	Storage
	put, get string
}

var errRefused = errors.New("refused")

func (w without) Put(ctx context.Context, name string, r io.Reader, size int64, kind Kind) error {
	if name == w.put {
		return errRefused
	}
	return w.Storage.Put(ctx, name, r, size, kind)
}

func (w without) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if name == w.get {
		return nil, errRefused
	}
	return w.Storage.Get(ctx, name)
}

// TestContentsTrouble: an index that cannot be read, written or trusted is told
// of; publications go on.
func TestContentsTrouble(t *testing.T) {
	foreign, err := NewKeys(testFQRN, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := sealContents(nil, someContents(7), testFQRN, foreign.Repository)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		w      without
		stored []byte // in place of the index
		told   string
		want   int // records afterwards, of the first content and the second
	}{
		{"none", without{}, nil, "", 2},
		{"not written", without{put: contentsName}, nil, "cannot be written", 1},
		{"not read", without{get: contentsName}, nil, "cannot be read", 1},
		{"a stranger's", without{}, stranger, "begun anew", 1},
		{"cut off", without{}, stranger[:500], "begun anew", 1},
		{"of version 1", without{}, append([]byte(contentsKind+"1\n"), stranger[len(contentsHead):]...), "of another version of flathub", 1},
		{"empty", without{}, []byte{}, "begun anew", 1},
	} {
		r := newTestRepo(t)
		r.putNew("/f", halfRandom(1<<20, 6))
		if c.stored != nil {
			if err := r.s.Put(t.Context(), contentsName, bytes.NewReader(c.stored), int64(len(c.stored)), Head); err != nil {
				t.Fatal(err)
			}
		}
		var told bytes.Buffer
		r.o.Log = slog.New(slog.NewTextHandler(&told, nil))
		c.w.Storage = r.dir
		r.s = c.w
		r.putNew("/g", halfRandom(1<<20, 7))
		r.s = r.dir
		if !strings.Contains(told.String(), c.told) || strings.Count(told.String(), "\n") != min(1, len(c.told)) {
			t.Errorf("%s: told %q, want %q", c.name, told.String(), c.told)
		}
		if n := r.indexOf().len(); n != c.want {
			t.Errorf("%s: %d records, want %d", c.name, n, c.want)
		}
		r.check()
	}
}

// TestGCForgetsContents: the index loses what is collected, and what is not
// there any more, but not by a dry run.
func TestGCForgetsContents(t *testing.T) {
	r := newTestRepo(t)
	kept, gone := halfRandom(1<<20, 8), halfRandom(1<<20, 9)
	r.putNew("/kept", kept)
	r.putNew("/gone", gone)
	r.publish(func(tx *Tx) error { return tx.Remove("/gone") })
	r.putNew("/last", []byte("small"))
	r.later(10 * 24 * time.Hour)
	before, err := readAll(t.Context(), r.s, contentsName, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []GCOptions{{DryRun: true}, {KeepFor: -1, Keep: 10}} {
		r.gc(o)
		if now, err := readAll(t.Context(), r.s, contentsName, 1<<20); err != nil || !bytes.Equal(now, before) {
			t.Errorf("%+v: the index has changed, %v", o, err)
		}
	}
	if n := r.gc(GCOptions{KeepFor: -1}).Objects; n == 0 {
		t.Error("nothing was collected")
	}
	all := r.indexOf()
	if _, ok := all.find(keyOfContent(kept, cas.SHA1, 0)); !ok || all.len() != 1 {
		t.Errorf("%d records are left, of the kept one: %v", all.len(), ok)
	}
	if n := r.putNew("/again", gone); n == 0 {
		t.Error("what was collected is not stored again")
	}
	if got := r.read("")["/again"].data; got != string(gone) || r.indexOf().len() != 2 {
		t.Errorf("read %d bytes; %d records", len(got), r.indexOf().len())
	}
	r.check()
}

// TestCommitOfLargeKilled ends a publication of large files at every change of
// the storage; what the index then names is there.
func TestCommitOfLargeKilled(t *testing.T) {
	r := newTestRepo(t)
	dir := r.s
	for n := 0; ; n++ {
		tree := map[string]file{"/new": dirOf(2), "/new/f": text(string(halfRandom(indexed, byte(n)))), "/new/g": text(string(halfRandom(indexed, 255)))}
		r.s = &killer{Storage: dir, left: n, err: errRefused}
		err := publishTree(r, t, "/new", tree)
		r.s = dir
		if err != nil && !errors.Is(err, errRefused) {
			t.Fatalf("killed at call %d: %v", n, err)
		}
		r.checkHead()
		for rec := range slices.Chunk(r.indexOf(), recordSize) {
			o, err := contentKey(rec[:len(contentKey{})]).object(storedForm(rec[len(contentKey{}):]).digest())
			if err != nil {
				t.Fatal(err)
			}
			if _, ok, err := r.s.Has(t.Context(), o.Name()); !ok || err != nil {
				t.Errorf("killed at call %d: %s is not there, %v", n, o.Name(), err)
			}
		}
		if r.indexOf() != nil {
			break // the last call
		}
		if n > 100 {
			t.Fatal("it never ends")
		}
	}
	r.check()
}

// testContentsOn publishes large files to a storage, twice, and collects.
func testContentsOn(t *testing.T, s Storage) {
	r := &testRepo{t: t, s: s, keys: testKeys(), o: Options{FQRN: testFQRN, Scratch: tempDir(t)}}
	if _, err := Init(t.Context(), r.s, InitOptions{Options: r.o, Keys: r.keys}); err != nil {
		t.Fatal(err)
	}
	tree := map[string]file{"/a": dirOf(2)}
	for i := range 5 {
		tree[fmt.Sprint("/a/", i)] = text(string(halfRandom(1<<20, byte(i))))
	}
	r.putAs("/f", []byte(tree["/a/3"].data))
	r.publish(func(tx *Tx) error { return tx.Replace("/a", tx.items(t, tree)) })
	want := maps.Clone(tree)
	if !slices.Equal(r.objectsOf("/f"), r.objectsOf("/a/3")) {
		t.Error("one content has two objects")
	}
	if n := r.indexOf().len(); n != 5 {
		t.Errorf("%d records", n)
	}
	r.publish(func(tx *Tx) error { return tx.Remove("/a/4") })
	r.putNew("/last", nil)
	r.later(10 * 24 * time.Hour)
	r.gc(GCOptions{KeepFor: -1})
	if n := r.indexOf().len(); n != 4 {
		t.Errorf("%d records after one was collected", n)
	}
	got := r.read("")
	delete(want, "/a/4")
	want[""], want["/f"], want["/last"] = got[""], got["/f"], got["/last"]
	equalTrees(t, got, want)
	r.check()
}

func TestContentsOnS3(t *testing.T) { testContentsOn(t, newFakeS3(t).open(t, "repo")) }

func TestContentsOnGateway(t *testing.T) {
	s, err := gatewayS3(startGateway(t))
	if err != nil {
		t.Fatal(err)
	}
	s.lease = leaseTime
	testContentsOn(t, s)
}
