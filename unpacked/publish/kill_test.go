package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
)

// killer is a Storage whose user dies: after a number of changing calls, every
// further one fails, as if the process had ended there. A Put that is killed may
// have left half a file under a temporary name, never under its own.
type killer struct {
	Storage
	mu   sync.Mutex
	left int
	err  error
}

func (k *killer) step() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.left == 0 {
		return k.err
	}
	k.left--
	return nil
}

func (k *killer) Put(ctx context.Context, name string, r io.Reader, size int64, kind Kind) error {
	if err := k.step(); err != nil {
		return err
	}
	return k.Storage.Put(ctx, name, r, size, kind)
}

func (k *killer) Delete(ctx context.Context, name string) error {
	if err := k.step(); err != nil {
		return err
	}
	return k.Storage.Delete(ctx, name)
}

// TestCommitKilled ends a publication at every call that changes the storage.
// Each time the old revision is whole, and the next run gets further.
func TestCommitKilled(t *testing.T) {
	r := newTestRepo(t)
	r.publish(func(tx *Tx) error { return tx.PutFile("/old", 0o644, strings.NewReader("old content")) })
	old := r.read("")
	errKilled := errors.New("killed")
	tree := map[string]file{"/new": dirOf(3), "/new/f": text("f"), "/new/sub": dirOf(2), "/new/sub/.cvmfscatalog": text(""), "/new/sub/g": text("g")}
	dir := r.s
	for n := 0; ; n++ {
		if n > 100 {
			t.Fatal("it never ends")
		}
		r.s = &killer{Storage: dir, left: n, err: errKilled}
		// What the last run stored is found again, so each run needs fewer
		// calls; make its content new.
		tree["/new/f"] = text(fmt.Sprint("run ", n))
		err := publishTree(r, t, "/new", tree)
		r.s = dir
		if err == nil {
			break
		}
		if !errors.Is(err, errKilled) {
			t.Fatalf("killed at call %d: %v", n, err)
		}
		equalTrees(t, r.read(""), old)
		r.checkHead()
	}
	got := r.read("")
	if got["/new/sub/g"].data != "g" || got["/old"] != old["/old"] {
		t.Errorf("after the last run the tree is %+v", got)
	}
	r.check()
}

// checkHead runs Check; the one thing it may complain of is a reflog that is
// ahead of the manifest.
func (r *testRepo) checkHead() {
	r.t.Helper()
	report, err := Check(context.Background(), r.s, CheckOptions{ReadOptions: ReadOptions{Options: r.o, Public: r.keys.Public}})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, p := range report.Problems {
		if !strings.HasPrefix(p, "reflog: its hash is") {
			r.t.Errorf("check: %s", p)
		}
	}
}

func publishTree(r *testRepo, t *testing.T, path string, tree map[string]file) error {
	tx, err := Begin(context.Background(), r.s, r.keys, r.o)
	if err != nil {
		return err
	}
	defer tx.Abort()
	if err := tx.Replace(path, tx.items(t, tree)); err != nil {
		return err
	}
	_, err = tx.Commit(context.Background(), CommitOptions{})
	return err
}

// TestInitKilled ends Init at every call; the next one succeeds.
func TestInitKilled(t *testing.T) {
	errKilled := errors.New("killed")
	for n := 0; ; n++ {
		dir, err := OpenDirectory(tempDir(t))
		if err != nil {
			t.Fatal(err)
		}
		o := InitOptions{Options: Options{FQRN: testFQRN, Scratch: tempDir(t)}, Keys: testKeys()}
		_, err = Init(t.Context(), &killer{Storage: dir, left: n, err: errKilled}, o)
		if err == nil {
			return
		}
		if !errors.Is(err, errKilled) {
			t.Fatalf("killed at call %d: %v", n, err)
		}
		if _, err := Init(t.Context(), dir, o); err != nil {
			t.Fatalf("after it was killed at call %d: %v", n, err)
		}
	}
}
