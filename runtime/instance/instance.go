// Package instance keeps track of containers in the background: their names, which of them live, where their output goes.
//
// The state of an instance is a file NAME.json in a directory of the user's on this machine. Process 1 of the instance
// holds a lock on the file for as long as it lives, so no crash of anything leaves an instance that seems to live, and no
// reuse of a process id another process that seems to be one. A file without a lock on it is removed by whoever finds it.
//
// The directory is locked while names are taken and files removed, for moments only.
package instance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/runtime/image"
)

// State is what others have to know of a running instance.
type State struct {
	Name   string        `json:"instance"`
	PID    int           `json:"pid"` // of its process 1, as the processes that see its file see it
	Image  string        `json:"img"`
	LogErr string        `json:"logErrPath"`
	LogOut string        `json:"logOutPath"`
	Spec   *specs.Spec   `json:"spec,omitempty"`   // rights and home of those that enter
	Config *image.Config `json:"config,omitempty"` // of an image without scripts

	Cgroup string `json:"cgroup,omitempty"` // directory of the control group with the limits

	Mounts  uint64   `json:"mounts,omitempty"`  // of a shared container: its mount namespace
	Members []Member `json:"members,omitempty"` // of a shared container: who has entered
}

// Member is a process in a shared container.
type Member struct {
	PID     int    `json:"pid"`
	Started uint64 `json:"started"` // ticks since boot
}

// Store is where instances of one user are kept. Dir is in memory or in /tmp and must be on this machine. Logs is on
// disk, since a service may write much.
type Store struct{ Dir, Logs string }

// ErrExists means that an instance of this name lives, or is being started.
var ErrExists = errors.New("already exists")

// ErrNotFound means that no instance of this name lives.
var ErrNotFound = errors.New("no instance found")

// lockTime bounds the wait for others that look at the directory.
const lockTime = 30 * time.Second

var validName = regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)

// ValidName reports whether name can be an instance's: letters, digits, dot, underscore, hyphen.
func ValidName(name string) bool {
	return validName.MatchString(name) && name[0] != '.' && len(name) <= 200
}

// Open returns the caller's own store. Nothing is made before an instance is.
func Open() (*Store, error) {
	session, err := enter.SessionDir("")
	if err != nil {
		return nil, err
	}
	logs, err := filepath.Abs(os.TempDir())
	if err != nil {
		return nil, err
	}
	name := "instances" + namespace()
	return &Store{
		Dir:  filepath.Join(filepath.Dir(session), name),
		Logs: filepath.Join(logs, fmt.Sprintf("flatrun-%d", os.Geteuid()), name),
	}, nil
}

// Of returns the store of another user, for root, who can look at it and stop what is in it.
func Of(uid int) *Store {
	logs := fmt.Sprintf("/tmp/flatrun-%d/instances", uid)
	dir := fmt.Sprintf("/run/user/%d/flatrun/instances", uid)
	if _, err := os.Stat(dir); err != nil {
		dir = logs
	}
	return &Store{Dir: dir, Logs: logs}
}

// namespace tells user and PID namespaces other than the machine's apart: process ids mean something else there, and
// what was started outside cannot be entered.
func namespace() (suffix string) {
	for _, n := range []struct {
		name  string
		first uint64 // PROC_USER_INIT_INO and PROC_PID_INIT_INO, part of the kernel's interface
	}{{"user", 0xEFFFFFFD}, {"pid", 0xEFFFFFFC}} {
		var st unix.Stat_t
		if err := unix.Stat("/proc/self/ns/"+n.name, &st); err == nil && st.Ino != n.first {
			suffix += fmt.Sprintf("-%c%d", n.name[0], st.Ino)
		}
	}
	return suffix
}

// Create takes a name. The lock on the file that is returned is what keeps it; it lasts until the last duplicate of the
// descriptor, in any process, is closed.
func (s *Store) Create(name string) (*os.File, error) {
	if !ValidName(name) {
		return nil, fmt.Errorf("%s is not a valid instance name: use letters, digits and . _ -", name)
	}
	dir, err := s.lock(true)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	f, err := os.OpenFile(s.file(name), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("instance %s %w", name, ErrExists)
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Write fills the file of Create. With a process id in it the instance is found.
func Write(f *os.File, state State) error {
	text, err := json.Marshal(state)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(text, 0)
	return err
}

// Read returns what Write has written.
func Read(f *os.File) (state State, err error) {
	err = json.NewDecoder(io.NewSectionReader(f, 0, maxState)).Decode(&state)
	return state, err
}

// maxState bounds the file: an image's configuration may be large, but not without end.
const maxState = 16 << 20

// List returns the instances that live and have a name that the pattern (as of the shell) matches, in the order of
// their names. What the dead have left is removed.
func (s *Store) List(pattern string) ([]State, error) {
	if _, err := filepath.Match(pattern, ""); err != nil {
		return nil, fmt.Errorf("pattern %s of instance names: %w", pattern, err)
	}
	dir, err := s.lock(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var states []State
	for _, file := range names {
		name, ok := strings.CutSuffix(file, ".json")
		if !ok {
			continue
		}
		state, lives := s.look(name)
		if match, _ := filepath.Match(pattern, name); lives && match && state.PID != 0 {
			states = append(states, state)
		}
	}
	if os.Remove(s.Dir) == nil { // it was empty; whoever waits for the lock makes it anew
		os.Remove(filepath.Dir(s.Dir))
	}
	return states, nil
}

// Get returns an instance that lives.
func (s *Store) Get(name string) (State, error) {
	states, err := s.List("*")
	if err != nil {
		return State{}, err
	}
	for _, state := range states {
		if state.Name == name {
			return state, nil
		}
	}
	return State{}, fmt.Errorf("%w with name %s", ErrNotFound, name)
}

// look reads an instance's file, and removes it if nobody holds its lock.
func (s *Store) look(name string) (state State, lives bool) {
	f, err := os.OpenFile(s.file(name), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return state, false
	}
	defer f.Close()
	state, err = Read(f)
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		os.Remove(s.file(name))
		state.removeLogs(false)
		return state, false
	}
	if err != nil { // nothing yet, or half of it: the instance is starting
		return State{}, true
	}
	return state, true
}

func (s *Store) file(name string) string { return filepath.Join(s.Dir, name+".json") }

// lock locks the directory, which is made if that is wanted. Whoever finds it empty removes it, with the lock held, so
// after waiting the path may lead to another one.
func (s *Store) lock(create bool) (*os.File, error) {
	for end := time.Now().Add(lockTime); ; {
		if create {
			if err := enter.MakeDir(s.Dir); err != nil {
				return nil, err
			}
		}
		f, err := os.OpenFile(s.Dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil && (!create || !errors.Is(err, fs.ErrNotExist)) {
			return nil, err
		}
		if err == nil {
			if s.locked(f) {
				return f, nil
			}
			f.Close()
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("instances: %s has been locked by another process for %s", s.Dir, lockTime)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// locked tries to lock the directory, and reports whether that is still the one of the path.
func (s *Store) locked(f *os.File) bool {
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return false
	}
	opened, err1 := f.Stat()
	now, err2 := os.Lstat(s.Dir)
	return err1 == nil && err2 == nil && os.SameFile(opened, now)
}
