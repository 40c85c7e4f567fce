package prefetch

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/mount/repotest"
)

const patience = time.Minute

// fixture is a prefetcher over a repository.
type fixture struct {
	*Prefetcher
	t      *testing.T
	remote *cas.Remote
	rev    *repo.Revision
}

func newFixture(t *testing.T, tree []repotest.File, change func(*Config)) *fixture {
	t.Helper()
	r := repotest.Build(t, repotest.Spec{Tree: tree})
	cfg := r.Config(t)
	rev := repotest.Open(t, cfg).Head()
	f := &fixture{t: t, remote: cfg.Store.(*cas.Remote), rev: rev}
	config := Config{Store: f.remote, Has: f.remote.Has, Revision: func() *repo.Revision { return rev }}
	if change != nil {
		change(&config)
	}
	f.Prefetcher = New(config)
	t.Cleanup(f.Close)
	return f
}

// objects are those of the file at path.
func (f *fixture) objects(path string) []cas.Object {
	f.t.Helper()
	n, err := f.rev.Lookup(f.t.Context(), path)
	if err != nil {
		f.t.Fatal(err)
	}
	objects, err := f.rev.Objects(n)
	if err != nil {
		f.t.Fatal(err)
	}
	return objects
}

// read does what the file system does for a first read of object index of the file.
func (f *fixture) read(path string, index int) {
	f.t.Helper()
	objects := f.objects(path)
	done := f.Reading(func() string { return path }, objects, index)
	defer done()
	file, err := f.remote.Open(f.t.Context(), objects[index])
	if err != nil {
		f.t.Fatal(err)
	}
	file.Close()
}

// settle waits until all guesses are drawn and fetched.
func (f *fixture) settle() {
	f.t.Helper()
	marker := make(chan struct{})
	f.events <- event{path: func() string { close(marker); return "" }, objects: make([]cas.Object, 1)}
	f.Prefetcher.mu.Lock()
	off := f.cfg.NoLibraries && f.cfg.NoSiblings && len(f.records) == 0
	f.Prefetcher.mu.Unlock()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		f.Prefetcher.mu.Lock()
		busy := f.running > 0 || len(f.queue) > 0 || len(f.later) > 0 || len(f.events) > 0
		f.Prefetcher.mu.Unlock()
		if !busy && !off {
			select {
			case <-marker:
			default:
				busy = true
			}
		}
		if !busy {
			return
		}
		if time.Now().After(end) {
			f.t.Fatal("the prefetcher does not come to rest")
		}
	}
}

// have lists which of the paths' objects are in the cache, as "path" or "path#chunk".
func (f *fixture) have(paths ...string) (found []string) {
	f.t.Helper()
	for _, path := range paths {
		objects := f.objects(path)
		for i, o := range objects {
			if name := path; f.remote.Has(o) {
				if len(objects) > 1 {
					name = fmt.Sprintf("%s#%d", path, i)
				}
				found = append(found, name)
			}
		}
	}
	return found
}

func (f *fixture) want(paths []string, want ...string) {
	f.t.Helper()
	f.settle()
	if got := f.have(paths...); !slices.Equal(got, want) {
		f.t.Errorf("fetched %q, want %q", got, want)
	}
}

func TestReadAhead(t *testing.T) {
	content := ""
	for i := range 12 {
		content += fmt.Sprintf("chunk %03d\n", i)
	}
	tree := []repotest.File{{Path: "/big", Content: content, Chunk: 10}}
	t.Run("in order", func(t *testing.T) {
		f := newFixture(t, tree, nil)
		f.read("/big", 0)
		f.want([]string{"/big"}, "/big#0") // its head alone says nothing
		f.read("/big", 1)
		f.want([]string{"/big"}, "/big#0", "/big#1", "/big#2", "/big#3")
		f.read("/big", 2)
		f.want([]string{"/big"}, "/big#0", "/big#1", "/big#2", "/big#3", "/big#4", "/big#5", "/big#6")
	})
	t.Run("jumping back", func(t *testing.T) {
		f := newFixture(t, tree, nil)
		f.read("/big", 10)
		f.read("/big", 0)
		f.want([]string{"/big"}, "/big#0", "/big#10")
	})
	t.Run("to the end", func(t *testing.T) {
		f := newFixture(t, tree, nil)
		f.read("/big", 10)
		f.read("/big", 11)
		f.want([]string{"/big"}, "/big#10", "/big#11")
	})
	t.Run("off", func(t *testing.T) {
		f := newFixture(t, tree, func(c *Config) { c.NoReadAhead = true })
		f.read("/big", 0)
		f.read("/big", 1)
		f.want([]string{"/big"}, "/big#0", "/big#1")
	})
}

func TestSiblings(t *testing.T) {
	big := strings.Repeat("x", maxModule+1)
	tree := []repotest.File{
		{Path: "/p/pkg/__pycache__/__init__.cpython-311.pyc", Content: "i"}, {Path: "/p/pkg/__pycache__/a.cpython-311.pyc", Content: "a"},
		{Path: "/p/pkg/__pycache__/data.pyc", Content: big}, {Path: "/p/pkg/__pycache__/readme.txt", Content: "r"}, {Path: "/p/pkg/a.py", Content: "source"},
	}
	var plain []string
	for i := range plainReads + 2 {
		name := fmt.Sprintf("/p/lib/m%d.py", i)
		plain = append(plain, name)
		tree = append(tree, repotest.File{Path: name, Content: name})
	}
	all := []string{"/p/pkg/__pycache__/__init__.cpython-311.pyc", "/p/pkg/__pycache__/a.cpython-311.pyc", "/p/pkg/__pycache__/data.pyc",
		"/p/pkg/__pycache__/readme.txt", "/p/pkg/a.py"}
	t.Run("a package", func(t *testing.T) {
		f := newFixture(t, tree, nil)
		f.read(all[0], 0)
		f.want(all, all[0], all[1])
	})
	t.Run("a package of packages", func(t *testing.T) {
		big := strings.Repeat("x", maxModule)
		tree := []repotest.File{{Path: "/q/__pycache__/__init__.pyc", Content: "q"}, {Path: "/q/fast.so", Content: "so"}, {Path: "/q/huge.so", Content: strings.Repeat("s", maxExtension+1)},
			{Path: "/q/small/__pycache__/__init__.pyc", Content: "s"}, {Path: "/q/small/__pycache__/m.pyc", Content: "m"},
			{Path: "/q/large/__pycache__/__init__.pyc", Content: "l"}, {Path: "/q/large/__pycache__/m1.pyc", Content: big}, {Path: "/q/large/__pycache__/m2.pyc", Content: "2" + big[1:]},
			{Path: "/q/data/__pycache__/m.pyc", Content: "d"}}
		var all []string
		for _, f := range tree {
			all = append(all, f.Path)
		}
		f := newFixture(t, tree, nil)
		f.read(all[0], 0)
		f.want(all, all[0], all[1], all[3], all[4], all[5])
	})
	t.Run("extension modules within", func(t *testing.T) {
		extension := func(name string, size int) repotest.File {
			return repotest.File{Path: name, Content: strings.Repeat(name[len(name)-4:], size/4)}
		}
		tree := []repotest.File{{Path: "/q/__pycache__/__init__.pyc", Content: "q"}, {Path: "/q/core/__pycache__/__init__.pyc", Content: "c"},
			extension("/q/core/heart.so", maxExtension*2), extension("/q/core/second.so", maxExtension+4), extension("/q/core/small.so", 4),
			extension("/q/core/_small_tests.so", 8), extension("/q/data/no_package.so", 4)}
		var all []string
		for _, f := range tree {
			all = append(all, f.Path)
		}
		f := newFixture(t, tree, nil)
		f.read(all[0], 0)
		f.want(all, all[0], all[1], all[2], all[4])
		f = newFixture(t, append(tree, extension("/q/core/third.so", maxHeart), extension("/q/core/fourth.so", maxHeart-8)), nil)
		f.read(all[0], 0)
		f.want(all, all[0], all[1]) // too many for one whole
	})
	t.Run("a Python about to start", func(t *testing.T) {
		program, _, _ := systemProgram(t, "/img")
		i := slices.IndexFunc(program, func(f repotest.File) bool { return f.Path == "/img/usr/bin/sh" })
		tree := []repotest.File{{Path: "/img/usr/bin/python3", Kind: repotest.Link, Content: "python3.11"}, {Path: "/img/usr/bin/python3.11", Content: program[i].Content},
			{Path: "/img/usr/lib/python3.11/__pycache__/os.pyc", Content: "os"}, {Path: "/img/usr/lib/python3.11/encodings/__pycache__/utf_8.pyc", Content: "u"}}
		all := []string{tree[1].Path, tree[2].Path, tree[3].Path}
		f := newFixture(t, tree, nil)
		f.Start("/img", "/usr/bin/python3")
		f.want(all, all...)
	})
	t.Run("a directory of modules", func(t *testing.T) {
		f := newFixture(t, tree, nil)
		for _, name := range plain[:plainReads-1] {
			f.read(name, 0)
		}
		f.want(plain, plain[:plainReads-1]...)
		f.read(plain[plainReads-1], 0)
		f.want(plain, plain...)
	})
	t.Run("no modules", func(t *testing.T) {
		f := newFixture(t, tree, nil)
		f.read(all[3], 0)
		f.want(all, all[3])
	})
	t.Run("off", func(t *testing.T) {
		f := newFixture(t, tree, func(c *Config) { c.NoSiblings = true })
		f.read(all[0], 0)
		f.want(all, all[0])
	})
}

// systemProgram is a dynamic program of this machine with what it needs, as an image at root.
func systemProgram(t *testing.T, root string) (tree []repotest.File, program string, needs []string) {
	t.Helper()
	file := func(name string) string {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Skip("no dynamic program to look at:", err)
		}
		return string(b)
	}
	sh, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Skip(err)
	}
	f, err := os.Open(sh)
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	n, err := needed(f)
	if err != nil || n.interpreter == "" {
		t.Skip("/bin/sh needs no loader:", err)
	}
	// As in a merged /usr: lib is a link, and so is each library's short name.
	tree = append(tree, repotest.File{Path: root + "/usr/bin/sh", Content: file(sh), Perm: 0o755},
		repotest.File{Path: root + "/lib", Kind: repotest.Link, Content: "usr/lib"},
		repotest.File{Path: root + "/bin", Kind: repotest.Link, Content: "usr/bin"}, repotest.File{Path: root + "/lib64", Kind: repotest.Link, Content: "/usr/lib64"},
		repotest.File{Path: root + "/etc/ld.so.cache", Content: "cache"})
	loader := root + "/usr" + n.interpreter
	tree = append(tree, repotest.File{Path: loader, Content: file(n.interpreter)})
	needs = append(needs, loader)
	for _, library := range n.libraries {
		var where string
		for _, dir := range n.directories("/usr/bin") {
			if _, err := os.Stat(path.Join(dir, library)); err == nil {
				where = path.Join(dir, library)
				break
			}
		}
		real := root + "/usr/lib/" + triplets[n.machine] + "/real-" + library
		tree = append(tree, repotest.File{Path: real, Content: file(where)},
			repotest.File{Path: path.Dir(real) + "/" + library, Kind: repotest.Link, Content: path.Base(real)})
		needs = append(needs, real)
	}
	return tree, root + "/usr/bin/sh", needs
}

func TestLibraries(t *testing.T) {
	tree, program, needs := systemProgram(t, "/images/one")
	other := repotest.File{Path: "/images/one/usr/bin/text", Content: "/bin/sh\n"}
	tree = append(tree, other, repotest.File{Path: "/images/one/usr/bin/script", Content: "#!/bin/sh\n"},
		repotest.File{Path: "/images/one/usr/bin/env", Content: "no program"},
		repotest.File{Path: "/images/one/opt/bin/found", Content: "#! /usr/bin/env -S sh"})
	t.Run("a program", func(t *testing.T) {
		f := newFixture(t, tree, nil)
		f.AddRoot("/images/one")
		f.read(other.Path, 0)
		f.want(needs)
		f.read(program, 0)
		f.want(needs, needs...)
	})
	t.Run("that is about to start", func(t *testing.T) {
		f := newFixture(t, tree, nil)
		f.Start("/images/one", "/bin/sh")
		f.want(append(needs, program, "/images/one/etc/ld.so.cache"), append(needs, program, "/images/one/etc/ld.so.cache")...)
	})
	t.Run("a script", func(t *testing.T) {
		f := newFixture(t, tree, nil)
		f.AddRoot("/images/one")
		f.read("/images/one/usr/bin/script", 0)
		f.want(append(needs, program), append(needs, program)...)
	})
	t.Run("a name", func(t *testing.T) {
		all := append([]string{"/images/one/opt/bin/found", "/images/one/usr/bin/env", program}, needs...)
		f := newFixture(t, tree, nil)
		f.Program("/images/one", "found", "/nowhere:/usr/bin:/opt/bin")
		f.keeping.Wait()
		f.want(all, all...)
	})
	t.Run("names of nothing", func(t *testing.T) {
		f := newFixture(t, tree, nil)
		f.Program("/images/one", "", DefaultPath)
		f.Program("/images/one", "absent", DefaultPath)
		f.Program("/images/one", "/absent", DefaultPath)
		f.Known("/images/one")
		f.Program("/images/one", "sh", DefaultPath) // a profile has it
		f.keeping.Wait()
		f.want(append(needs, program))
	})
	t.Run("outside of any image", func(t *testing.T) {
		f := newFixture(t, tree, nil)
		f.AddRoot("/images/o")
		f.read(program, 0)
		f.want(needs)
	})
	t.Run("off", func(t *testing.T) {
		f := newFixture(t, tree, func(c *Config) { c.NoLibraries = true })
		f.AddRoot("/images/one")
		f.read(program, 0)
		f.want(needs)
	})
}

func TestIsLibrary(t *testing.T) {
	for dir, want := range map[string]bool{
		"/i/usr/lib/python3.11": true, "/i/usr/lib/python3.11/__pycache__": true, "/i/usr/lib/python3.11/lib-dynload": true,
		"/i/usr/lib/python3/dist-packages/numpy": false, "/i/usr/lib/python3.11/site-packages/numpy": false, "/i/python3.11": false, "": false, "/": false,
	} {
		if isLibrary(dir) != want {
			t.Errorf("%s: %v", dir, !want)
		}
	}
}

// TestLater makes sure that what may never be read comes last.
func TestLater(t *testing.T) {
	tree := []repotest.File{{Path: "/a", Content: "a"}, {Path: "/b", Content: "b"}, {Path: "/c", Content: "c"}}
	f := newFixture(t, tree, nil)
	done := f.Reading(func() string { return "" }, f.objects("/a"), 0)
	f.fetchLater(f.objects("/b")...)
	f.Fetch(f.objects("/c")...)
	f.Prefetcher.mu.Lock()
	waits := len(f.later)
	f.Prefetcher.mu.Unlock()
	if waits != 1 {
		t.Error("it was fetched while a read waited")
	}
	done()
	f.want([]string{"/b", "/c"}, "/b", "/c")
}

func TestDirectories(t *testing.T) {
	n := needs{runpath: []string{"$ORIGIN/../lib", "${ORIGIN}", "relative", "/opt/lib"}, machine: elf.EM_X86_64, class: elf.ELFCLASS64}
	got := n.directories("/usr/bin")
	want := []string{"/usr/bin/../lib", "/usr/bin", "/opt/lib", "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64",
		"/lib", "/usr/lib", "/usr/local/lib", "/usr/bin"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func FuzzNeeded(f *testing.F) {
	if b, err := os.ReadFile("/bin/sh"); err == nil {
		f.Add(string(b[:min(len(b), 1<<14)]))
	}
	f.Add("\x7fELF")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := needed(strings.NewReader(s))
		if err == nil {
			n.directories("/usr/bin")
		}
	})
}

func TestResolve(t *testing.T) {
	f := newFixture(t, []repotest.File{
		{Path: "/i/usr/lib/x", Content: "x"}, {Path: "/i/lib", Kind: repotest.Link, Content: "usr/lib"}, {Path: "/i/abs", Kind: repotest.Link, Content: "/lib/x"},
		{Path: "/i/up", Kind: repotest.Link, Content: "../../../usr/lib/x"}, {Path: "/i/loop", Kind: repotest.Link, Content: "loop"},
		{Path: "/i/out", Kind: repotest.Link, Content: "/secret"}, {Path: "/secret", Content: "s"},
	}, nil)
	for name, want := range map[string]string{"/usr/lib/x": "/i/usr/lib/x", "lib/x": "/i/usr/lib/x", "/abs": "/i/usr/lib/x", "/up": "/i/usr/lib/x",
		"/usr/./lib/../lib/x": "/i/usr/lib/x", "/loop": "", "/out": "", "/missing": "", "/usr/lib/x/y": ""} {
		n, err := resolve(t.Context(), f.rev, "/i", name)
		if got := n.Path; (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("%s is %q, %v, want %q", name, got, err, want)
		}
	}
}

// slow is a Store whose objects come when they are let go.
type slow struct {
	mu      sync.Mutex
	running int
	most    int
	order   []string
	let     chan struct{}
}

func (s *slow) Open(ctx context.Context, o cas.Object) (*os.File, error) {
	s.mu.Lock()
	s.running++
	s.most = max(s.most, s.running)
	s.order = append(s.order, o.Hash.String())
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.running--
		s.mu.Unlock()
	}()
	select {
	case <-s.let:
		return os.Open(os.DevNull)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (s *slow) now() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running
}

func someObjects(n int) (all []cas.Object) {
	for i := range n {
		all = append(all, cas.Object{Hash: cas.Sum(cas.SHA1, fmt.Append(nil, i)), Size: int64(i)})
	}
	return all
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("in vain for: ", what)
		}
	}
}

// TestDemandFirst makes sure that while a demand read waits, fewer objects are fetched ahead, and all of them after.
func TestDemandFirst(t *testing.T) {
	s := &slow{let: make(chan struct{})}
	p := New(Config{Store: s, Parallel: 8, NoLibraries: true, NoSiblings: true})
	defer p.Close()
	objects := someObjects(30)
	done := p.Reading(nil, objects, 29)
	p.Fetch(objects[:20]...)
	until(t, "some run", func() bool { return s.now() == 2 })
	s.let <- struct{}{}
	until(t, "the next one runs", func() bool { return s.now() == 2 && p.Stats().Fetched == 1 })
	if s.most > 2 {
		t.Errorf("%d ran beside a demand read", s.most)
	}
	done()
	until(t, "all run that may", func() bool { return s.now() == 8 })
	close(s.let)
	until(t, "all are fetched", func() bool { return p.Stats().Fetched == 20 })
	p.Fetch(objects[:20]...)
	if st := p.Stats(); st.Fetched != 20 || s.most != 8 {
		t.Errorf("%+v, at most %d at once", st, s.most)
	}
}

// TestUnderWay makes sure that what comes first is not held up by all that comes after it.
func TestUnderWay(t *testing.T) {
	s := &slow{let: make(chan struct{})}
	p := New(Config{Store: s})
	defer p.Close()
	objects := someObjects(10)
	for i := range objects {
		objects[i].Size = maxUnderWay / 2
	}
	objects[2].Size = -1 // not known
	p.Fetch(objects...)
	until(t, "a few run", func() bool { return s.now() == fewUnderWay })
	for range objects {
		s.let <- struct{}{}
	}
	until(t, "all are fetched", func() bool { return p.Stats().Fetched == int64(len(objects)) })
	if s.most != fewUnderWay || p.flying != 0 {
		t.Errorf("%d ran at once, %d bytes are under way in the end", s.most, p.flying)
	}
	p.Fetch(someObjects(30)[10:]...)
	until(t, "small ones run", func() bool { return s.now() == 20 })
}

// TestClose ends fetches that hang.
func TestClose(t *testing.T) {
	s := &slow{let: make(chan struct{})}
	p := New(Config{Store: s})
	p.Fetch(someObjects(100)...)
	until(t, "they run", func() bool { return s.now() == defaultParallel })
	p.Close()
	if s.now() != 0 {
		t.Error("fetches outlive the end")
	}
	p.Fetch(someObjects(200)...)
	if s.now() != 0 {
		t.Error("fetches begin after the end")
	}
}

// TestFailed makes sure that what could not be fetched is tried again when it is thought of again.
func TestFailed(t *testing.T) {
	f := newFixture(t, []repotest.File{{Path: "/file", Content: "x"}}, nil)
	o := f.objects("/file")[0]
	main := f.remote.Main
	f.remote.Main = cas.Dir(t.TempDir())
	f.Fetch(o)
	until(t, "it fails", func() bool { return f.Stats().Failed == 1 })
	f.remote.Main = main
	f.Fetch(o)
	until(t, "it is fetched", func() bool { return f.Stats().Fetched == 1 })
}

func TestRecordAndReplay(t *testing.T) {
	tree := []repotest.File{{Path: "/img/a", Content: "a"}, {Path: "/img/dir/b", Content: "bb"}, {Path: "/img/big", Content: "0123456789", Chunk: 4},
		{Path: "/other/c", Content: "c"}, {Path: "/img/outside", Content: "external", External: true}}
	f := newFixture(t, tree, nil)
	r := f.Record("/img")
	f.read("/img/dir/b", 0)
	f.read("/other/c", 0)
	f.read("/img/big", 1)
	f.read("/img/a", 0)
	f.read("/img/outside", 0)
	f.read("/img/a", 0)
	f.settle()
	profile := r.Stop()
	want := []cas.Object{f.objects("/img/dir/b")[0], f.objects("/img/big")[1], f.objects("/img/a")[0]}
	if !slices.Equal(profile.Objects, want) {
		t.Fatalf("recorded %v, want %v", profile.Objects, want)
	}
	f.read("/img/big", 0)
	f.settle()
	if again := r.Stop(); len(again.Objects) != len(want) {
		t.Error("it goes on recording after the end")
	}
	cold := newFixture(t, tree, nil)
	parsed, err := ParseProfile(profile.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	cold.Replay(parsed)
	cold.want([]string{"/img/a", "/img/dir/b", "/img/big", "/other/c"}, "/img/a", "/img/dir/b", "/img/big#1")
}

// TestImage records the first start of an image and replays it on another node.
func TestImage(t *testing.T) {
	tree := []repotest.File{{Path: "/img", Kind: repotest.Dir, Nested: true}}
	var all []string
	for i := range minRecorded + 2 {
		name := fmt.Sprintf("/img/f%d", i)
		all = append(all, name)
		tree = append(tree, repotest.File{Path: name, Content: name})
	}
	profiles := Profiles(filepath.Join(t.TempDir(), "profiles"))
	keep := func(c *Config) { c.Profiles = profiles }
	f := newFixture(t, tree, keep)
	f.Image("/img", "")
	f.read(all[0], 0)
	f.settle()
	f.Close()
	if left, _ := os.ReadDir(string(profiles)); len(left) > 0 {
		t.Fatalf("a start of one object is kept: %v", left)
	}
	f = newFixture(t, tree, keep)
	f.Image("/img", "")
	f.Image("/img", "")
	for _, name := range all[:minRecorded] {
		f.read(name, 0)
	}
	f.settle()
	f.Close()
	// In the next revision the image is the same, and its neighbours are not.
	f = newFixture(t, append(tree, repotest.File{Path: "/other", Content: "x"}), keep)
	if !f.Recorded("/img") || f.Recorded("/other") || f.Recorded("/missing") {
		t.Error("it is not known of which image there is a profile")
	}
	f.Image("/img", "")
	f.want(all, all[:minRecorded]...)
	f.Close()
	if left, err := os.ReadDir(string(profiles)); err != nil || len(left) != 1 {
		t.Errorf("profiles are %v, %v", left, err)
	}
	f = newFixture(t, tree, nil)
	f.Image("/img", "/f0")
	f.Image("/missing", "/f0")
	f.want(all, all[0])
}

func TestProfileText(t *testing.T) {
	p := &Profile{Image: cas.Sum(cas.SHA1, []byte("image")), Objects: []cas.Object{
		{Hash: cas.Sum(cas.SHA1, []byte("a")), Size: 5},
		{Hash: cas.Sum(cas.SHAKE128, []byte("b")), Suffix: cas.PartialSuffix, Compression: cas.None, Size: 0},
		{Hash: cas.Sum(cas.RMD160, []byte("c")), Suffix: cas.CatalogSuffix, Size: -1, Pinned: true},
	}}
	got, err := ParseProfile(p.Marshal())
	if err != nil || got.Image != p.Image || !slices.Equal(got.Objects, p.Objects) {
		t.Errorf("read back %v, %v", got, err)
	}
	line := p.Objects[0].Hash.String()
	for _, bad := range []string{"", "profile", "flatrun profile 2\n", profileHead + "\n", profileHead + line, profileHead + line + " - zlib", profileHead + line + " - zlib x",
		profileHead + line + " - zlib -2", profileHead + line + " Q zlib 1", profileHead + line + " - lzma 1", profileHead + "zz - zlib 1", profileHead + line + " - zlib 1 x",
		profileHead + strings.Repeat(line+" - zlib 1\n", MaxObjects+1), profileHead + strings.Repeat("x", MaxProfile)} {
		if _, err := ParseProfile([]byte(bad)); err == nil {
			t.Errorf("%.80q is taken for a profile", bad)
		}
	}
	if got, err := ParseProfile([]byte(profileHead)); err != nil || len(got.Objects) != 0 {
		t.Errorf("an empty profile: %v, %v", got, err)
	}
}

func FuzzProfile(f *testing.F) {
	f.Add((&Profile{Objects: someObjects(3)}).Marshal())
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParseProfile(text)
		if err != nil {
			return
		}
		again, err := ParseProfile(p.Marshal())
		if err != nil || !slices.Equal(again.Objects, p.Objects) {
			t.Errorf("read back %v, %v", again, err)
		}
	})
}

func TestMerge(t *testing.T) {
	all := someObjects(6)
	p := &Profile{Objects: slices.Clone(all[:3])}
	p.Merge(&Profile{Objects: []cas.Object{all[5], all[1], all[4]}})
	if want := []cas.Object{all[0], all[1], all[2], all[5], all[4]}; !slices.Equal(p.Objects, want) {
		t.Errorf("got %v", p.Objects)
	}
}

func TestProfiles(t *testing.T) {
	dir := Profiles(filepath.Join(t.TempDir(), "profiles"))
	image := cas.Sum(cas.SHA1, []byte("image"))
	if _, err := dir.Load(image); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent profile: %v", err)
	}
	for n := range 3 {
		if err := dir.Save(image, &Profile{Objects: someObjects(n)}); err != nil {
			t.Fatal(err)
		}
		if p, err := dir.Load(image); err != nil || len(p.Objects) != n {
			t.Errorf("read back %v, %v", p, err)
		}
	}
	if left, err := os.ReadDir(string(dir)); err != nil || len(left) != 1 {
		t.Errorf("the directory holds %v, %v", left, err)
	}
	if err := os.WriteFile(dir.path(image), make([]byte, MaxProfile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := dir.Load(image); err == nil {
		t.Error("a huge file is taken for a profile")
	}
}
