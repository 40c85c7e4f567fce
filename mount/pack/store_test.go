package pack_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/pack"
	"github.com/flatrun/flatrun/mount/pack/squeeze"
	"github.com/flatrun/flatrun/mount/prefetch"
	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/mount/repotest"
)

// packed is a repository with a pack of one object in one part, as text.
func packed(t *testing.T, o cas.Object, part string) (*repo.Revision, cas.Store) {
	t.Helper()
	r := repotest.Build(t, repotest.Spec{FQRN: "test.example.org", Tree: []repotest.File{
		{Path: "/image/file", Content: "x"},
		{Path: pack.Dir("/image") + "/" + pack.ProfileName, Content: string((&prefetch.Profile{Objects: []cas.Object{o}}).Marshal())},
		{Path: pack.Dir("/image") + "/" + pack.PartName(0), Content: part},
	}})
	opened, err := repo.Open(t.Context(), r.Config(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { opened.Close() })
	return opened.Head(), r.Config(t).Store
}

// stalled is a Store that waits before it opens anything.
type stalled struct {
	cas.Store
	let chan struct{}
}

func (s stalled) Open(ctx context.Context, o cas.Object) (*os.File, error) {
	select {
	case <-s.let:
		return s.Store.Open(ctx, o)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func open(s *pack.Store, o cas.Object) (string, error) {
	f, err := s.Open(context.Background(), o)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	return string(b), err
}

func TestStore(t *testing.T) {
	content := strings.Repeat("content ", 100)
	o := cas.Object{Hash: cas.Sum(cas.SHA1, []byte("stored form")), Size: int64(len(content))}
	part, err := pack.Part([]cas.Object{o, {Hash: cas.Sum(cas.SHA1, nil)}}, [][]byte{[]byte(content), nil}, squeeze.Append)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		part string
		good bool
	}{"good": {string(part), true}, "wrong": {"no part", false}} {
		t.Run(name, func(t *testing.T) {
			rev, from := packed(t, o, c.part)
			let := make(chan struct{})
			dir := filepath.Join(t.TempDir(), "packs")
			s := pack.NewStore(pack.Config{Dir: dir, Fetch: stalled{from, let}, Has: func(cas.Object) bool { return false }, Wait: time.Hour})
			failed := make(chan struct{})
			if s.Take(t.Context(), rev, "/other", nil) || !s.Take(t.Context(), rev, "/image", func() { close(failed) }) {
				t.Fatal("which images have packs is mistaken")
			}
			answer := make(chan error, 1)
			go func() { // waits, as the pack is on its way
				got, err := open(s, o)
				if err == nil && got != content {
					err = fmt.Errorf("wrong content %.20q", got)
				}
				answer <- err
			}()
			close(let)
			switch err := <-answer; {
			case c.good && err != nil:
				t.Error(err)
			case !c.good && !errors.Is(err, fs.ErrNotExist):
				t.Errorf("a wrong pack: %v", err)
			}
			if !c.good {
				<-failed
				s.Close()
				return
			}
			if !s.Has(o) {
				t.Error("what was read is not there")
			}
			s.Close() // what was held in memory is in the cache then
			if got, err := open(s, o); got != content {
				t.Errorf("afterwards it has %.20q, %v", got, err)
			}
			again := pack.NewStore(pack.Config{Dir: dir})
			defer again.Close()
			if got, err := open(again, o); got != content || !again.Has(o) {
				t.Errorf("the next session has %.20q, %v", got, err)
			}
		})
	}
}

// TestPatience makes sure that a read does not wait for a pack for good, nor longer than its reader.
func TestPatience(t *testing.T) {
	o := cas.Object{Hash: cas.Sum(cas.SHA1, []byte("stored form")), Size: 1}
	rev, from := packed(t, o, "never asked for")
	never := make(chan struct{})
	s := pack.NewStore(pack.Config{Dir: filepath.Join(t.TempDir(), "packs"), Fetch: stalled{from, never}, Has: func(cas.Object) bool { return false }, Wait: time.Millisecond})
	if !s.Take(t.Context(), rev, "/image", func() { t.Error("the end counts as a failure") }) {
		t.Fatal("no pack")
	}
	if _, err := open(s, o); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after its patience: %v", err)
	}
	s.Close()
}
