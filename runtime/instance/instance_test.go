package instance

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func store(t *testing.T) *Store {
	t.Helper()
	base := t.TempDir()
	for _, name := range []string{"run", "tmp"} {
		if err := os.Mkdir(filepath.Join(base, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("XDG_RUNTIME_DIR", filepath.Join(base, "run"))
	t.Setenv("TMPDIR", filepath.Join(base, "tmp"))
	s, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(s.Dir, base+"/run/") || !strings.HasPrefix(s.Logs, base+"/tmp/") {
		t.Fatalf("store is %+v, want it below %s", s, base)
	}
	return s
}

// alive makes an instance that lives until the file is closed.
func alive(t *testing.T, s *Store, name string) *os.File {
	t.Helper()
	f, err := s.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	out, errs := s.LogPaths(name)
	if err := Write(f, State{Name: name, PID: os.Getpid(), Image: "/image", LogOut: out, LogErr: errs}); err != nil {
		t.Fatal(err)
	}
	return f
}

func names(t *testing.T, s *Store, pattern string) []string {
	t.Helper()
	states, err := s.List(pattern)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, state := range states {
		list = append(list, state.Name)
	}
	return list
}

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "web-1.2_x": true, "A0": true, "": false, ".": false, "..": false, ".hidden": false, "a/b": false,
		"../x": false, "a b": false, "ü": false, "a\n": false, strings.Repeat("x", 200): true, strings.Repeat("x", 201): false,
	} {
		if got := ValidName(name); got != want {
			t.Errorf("ValidName(%q) = %t", name, got)
		}
	}
}

func TestListOfNothing(t *testing.T) {
	s := store(t)
	if got := names(t, s, "*"); got != nil {
		t.Errorf("a store that does not exist has %q", got)
	}
	if _, err := os.Stat(s.Dir); err == nil {
		t.Error("looking has made the directory")
	}
	if _, err := s.List("["); err == nil {
		t.Error("a broken pattern is taken")
	}
	if _, err := s.Get("x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get of nobody: %v", err)
	}
}

func TestLife(t *testing.T) {
	s := store(t)
	one := alive(t, s, "one")
	alive(t, s, "two")
	if got := names(t, s, "*"); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("alive are %q", got)
	}
	if got := names(t, s, "t*"); !slices.Equal(got, []string{"two"}) {
		t.Errorf("t* are %q", got)
	}
	if _, err := s.Create("one"); !errors.Is(err, ErrExists) || err.Error() != "instance one already exists" {
		t.Errorf("the second of a name: %v", err)
	}
	if state, err := s.Get("one"); err != nil || state.Image != "/image" || state.PID != os.Getpid() {
		t.Errorf("Get is %+v, %v", state, err)
	}
	one.Close() // and with it the lock, as at the end of a process
	if got := names(t, s, "*"); !slices.Equal(got, []string{"two"}) {
		t.Errorf("alive after the end of one are %q", got)
	}
	if _, err := os.Stat(s.file("one")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state of the dead: %v", err)
	}
	alive(t, s, "one")
}

func TestBadNames(t *testing.T) {
	s := store(t)
	for _, name := range []string{"../x", "a/b", ".x"} {
		if f, err := s.Create(name); err == nil {
			f.Close()
			t.Errorf("%q is taken as a name", name)
		}
	}
}

// TestLockIsInherited: the descriptor of a child keeps the instance alive when
// everybody else has closed it.
func TestLockIsInherited(t *testing.T) {
	s := store(t)
	f, err := s.Create("child")
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(f, State{Name: "child", PID: 1}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{f}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if got := names(t, s, "*"); !slices.Equal(got, []string{"child"}) {
		t.Errorf("with a child that holds it, alive are %q", got)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := names(t, s, "*"); got != nil {
		t.Errorf("after the child's end, alive are %q", got)
	}
}

func TestStarting(t *testing.T) {
	s := store(t)
	f, err := s.Create("slow")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, state := range []State{{}, {Name: "slow", LogOut: "/nowhere/slow.out"}} {
		if got := names(t, s, "*"); got != nil {
			t.Errorf("one that is starting is listed: %q", got)
		}
		if err := Write(f, state); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Create("slow"); !errors.Is(err, ErrExists) {
		t.Errorf("the name of one that is starting: %v", err)
	}
}

func TestHalfAFile(t *testing.T) {
	s := store(t)
	for _, text := range []string{"", "{", `{"instance":`, "null", "[]", "\x00\xff"} {
		f, err := s.Create("half")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if got := names(t, s, "*"); got != nil {
			t.Errorf("%q is listed as %q", text, got)
		}
		f.Close()
		if got := names(t, s, "*"); got != nil {
			t.Errorf("%q without an owner is listed as %q", text, got)
		}
	}
}

func TestStateKeepsRights(t *testing.T) {
	s := store(t)
	f, err := s.Create("rights")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := State{Name: "rights", PID: 7, Image: "/i", Spec: &specs.Spec{
		Version: "1.2.0",
		Process: &specs.Process{NoNewPrivileges: true, Capabilities: &specs.LinuxCapabilities{}, Cwd: "/"},
		Linux:   &specs.Linux{Seccomp: &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}},
	}}
	if err := Write(f, want); err != nil {
		t.Fatal(err)
	}
	got, err := Read(f)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, %v; want %+v", got, err, want)
	}
	if got.Spec.Process.Capabilities == nil {
		t.Error("empty capability sets, which take all away, became none, which leave all")
	}
}

func TestLogs(t *testing.T) {
	s := store(t)
	stdout, stderr, err := s.OpenLogs("logs")
	if err != nil {
		t.Fatal(err)
	}
	defer stdout.Close()
	defer stderr.Close()
	f := alive(t, s, "logs")
	if _, err := stdout.WriteString("said\n"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	names(t, s, "*") // tidies up
	if text, err := os.ReadFile(stdout.Name()); string(text) != "said\n" {
		t.Errorf("output of one that ended by itself: %q, %v", text, err)
	}
	if _, err := os.Stat(stderr.Name()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an empty log stays: %v", err)
	}
	State{LogOut: stdout.Name(), LogErr: stderr.Name()}.RemoveLogs()
	if entries, err := os.ReadDir(filepath.Dir(filepath.Dir(s.Logs))); err != nil || len(entries) != 0 {
		t.Errorf("left are %v, %v", entries, err)
	}
}

// TestManyAtOnce: of all that want one name at a time, one gets it, whatever
// others do to the directory meanwhile.
func TestManyAtOnce(t *testing.T) {
	s := store(t)
	var wait sync.WaitGroup
	var mu sync.Mutex
	got := 0
	for range 8 {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for range 5 {
				f, err := s.Create("one")
				if err != nil {
					if !errors.Is(err, ErrExists) {
						t.Error(err)
					}
					continue
				}
				mu.Lock()
				got++
				if got > 1 {
					t.Error("two have the name")
				}
				mu.Unlock()
				if _, err := s.List("*"); err != nil {
					t.Error(err)
				}
				mu.Lock()
				got--
				mu.Unlock()
				f.Close()
				if _, err := s.List("*"); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	wait.Wait()
	if _, err := os.Stat(s.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the empty directory stays: %v", err)
	}
}

// TestLogsAtOnce: one makes its logs while another removes the directory.
func TestLogsAtOnce(t *testing.T) {
	s := store(t)
	var wait sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d"} {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for range 20 {
				stdout, stderr, err := s.OpenLogs(name)
				if err != nil {
					t.Error(err)
					return
				}
				stdout.Close()
				stderr.Close()
				State{LogOut: stdout.Name(), LogErr: stderr.Name()}.RemoveLogs()
			}
		}()
	}
	wait.Wait()
}

func TestForeignDirectory(t *testing.T) {
	s := store(t)
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.Dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if f, err := s.Create("x"); err == nil {
		f.Close()
		t.Error("a directory that is open to others is used")
	}
}

func TestOf(t *testing.T) {
	s := Of(54321)
	if s.Dir != "/tmp/flatrun-54321/instances" || s.Logs != s.Dir {
		t.Errorf("store of a user without a runtime directory is %+v", s)
	}
}

func TestNewMember(t *testing.T) {
	m := NewMember(os.Getpid())
	if m.PID != os.Getpid() || m.Started == 0 {
		t.Errorf("this process is %+v", m)
	}
	if m := NewMember(1 << 30); m.Started != 0 {
		t.Errorf("no process is %+v", m)
	}
}

const deadline = time.Minute
