package publish

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"
)

// The environment by which this test's binary knows that it is the victim.
const (
	victimStorage = "PUBLISH_TEST_STORAGE"
	victimKeys    = "PUBLISH_TEST_KEYS"
	victimRun     = "PUBLISH_TEST_RUN"
)

// TestVictim is no test: it publishes a tree until it is killed.
func TestVictim(t *testing.T) {
	storage := os.Getenv(victimStorage)
	if storage == "" {
		return // called by TestProcessKilled only
	}
	dir, err := OpenDirectory(storage)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := LoadKeys(os.Getenv(victimKeys), testFQRN)
	if err != nil {
		t.Fatal(err)
	}
	r := &testRepo{t: t, dir: dir, s: dir, keys: keys, o: Options{FQRN: testFQRN, Scratch: os.Getenv(victimKeys)}}
	if err := publishTree(r, t, "/tree", victimTree(os.Getenv(victimRun))); err != nil {
		t.Fatal(err)
	}
}

// victimTree has some catalogs and a hundred files of its own.
func victimTree(run string) map[string]file {
	tree := map[string]file{"/tree": dirOf(7)}
	for d := range 5 {
		dir := fmt.Sprint("/tree/", d)
		tree[dir], tree[dir+"/.cvmfscatalog"] = dirOf(2), text("")
		for f := range 20 {
			tree[fmt.Sprint(dir, "/", f)] = text(fmt.Sprint("run ", run, " file ", d, f))
		}
	}
	return tree
}

// TestProcessKilled kills publishing processes at any moment. Each time the
// repository is whole, either as it was or as it was to be, and nobody has to
// remove a lock.
func TestProcessKilled(t *testing.T) {
	r := newTestRepo(t)
	keys := tempDir(t)
	if err := r.keys.Save(keys, testFQRN); err != nil {
		t.Fatal(err)
	}
	revision := r.open("").Head().Manifest().Revision
	for run := range 8 {
		name := fmt.Sprint(run)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestVictim$")
		cmd.Env = append(os.Environ(), victimStorage+"="+r.dir.root, victimKeys+"="+keys, victimRun+"="+name)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(time.Duration(rand.IntN(400))*time.Millisecond, func() { cmd.Process.Kill() })
		err := cmd.Wait()
		kill.Stop()
		cancel()
		head := r.open("").Head().Manifest()
		switch {
		case err == nil && head.Revision != revision+1:
			t.Fatalf("run %d ended well, but the revision is %d after %d\n%s", run, head.Revision, revision, out.String())
		case head.Revision != revision && head.Revision != revision+1:
			t.Fatalf("run %d: revision %d after %d", run, head.Revision, revision)
		}
		if head.Revision > revision {
			want := victimTree(name)
			got := r.read("")
			want[""] = got[""]
			equalTrees(t, got, want)
		}
		revision = head.Revision
		r.checkHead()
	}
	// And the next one finishes.
	if err := publishTree(r, t, "/tree", victimTree("last")); err != nil {
		t.Fatal(err)
	}
	r.check()
}
