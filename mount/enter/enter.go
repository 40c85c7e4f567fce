// Package enter puts a process into the namespaces its command will run in, before the Go runtime has threads.
//
// A user namespace can be entered by a single-threaded process only, so the work is done by a C constructor that runs
// before Go starts (constructor.c). It looks at the command line and does one of four things:
//
//   - Nothing, for every verb that starts no container.
//   - Joined: a session of this user, job step and configuration answers on its socket. The process enters the
//     session's user namespace, makes a mount namespace of its own (a copy of the caller's), and hangs the session's
//     tree of repositories on <session directory>/cvmfs. The connection stays open for questions (Session.Resolve).
//   - Own: IMAGE is plainly a directory (see PlainDirectory), which needs no session: a user namespace that maps the
//     caller's uid and gid to themselves, and a mount namespace.
//   - A plan, handed over by Reexec in FLATRUN_ENTER, is carried out to the letter.
//
// The first and third cover a container with the default namespaces, in one start of the program. Flags that need more
// (--pid, --fakeroot, …) are only recognised by the constructor, not understood: it then leaves the process alone,
// Go parses the command line in full, and Reexec starts the program once more with a plan. That costs one start of the
// program (2 ms) and keeps one parser of flags, one decision, and no way to have entered a namespace that is of no use.
//
// What the constructor could not do is kept (the step and its errno) and told by Current; it prints nothing.
//
// Typical use, in a verb that runs IMAGE:
//
//	plan := enter.Plan{Join: !enter.PlainDirectory(image), New: enter.PID, Init: true}
//	state, err := enter.Ensure(ctx, plan, enter.StartOptions{Config: configFlag}) // may start a session and re-execute
//	…
//	if state.Session != nil {
//		resolved, err := state.Session.Resolve(image)
//	}
package enter

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"
)

// Kind says which user namespace the process is in.
type Kind int

const (
	None    Kind = iota // the caller's
	Joined              // a session's; State.Session is set
	Own                 // one of its own, made by the constructor
	Entered             // that of another process (Plan.Process), with all its other namespaces
)

// Namespaces is a set of new namespaces beyond user and mount, which are always made. The values are the kernel's CLONE_NEW* flags.
type Namespaces uint32

const (
	Cgroup Namespaces = 0x02000000
	UTS    Namespaces = 0x04000000
	IPC    Namespaces = 0x08000000
	PID    Namespaces = 0x20000000
	Net    Namespaces = 0x40000000 // the loopback interface is up
)

// IDMap maps Count ids from Inside on to those from Outside on, as in /proc/PID/uid_map.
type IDMap struct{ Inside, Outside, Count uint32 }

// Plan is a wish for namespaces. The zero value is an own user namespace (uid → uid) and mount namespace.
type Plan struct {
	// Join enters the session (which must run: Start) instead of an own user namespace. With Fakeroot, a user
	// namespace below the session's is made.
	Join bool
	// New are further namespaces. With PID the program goes on in a child; its parent stays behind as a few kB of C
	// that pass signals and stops on and end as the child ended; with Init, a signal that killed it becomes status 128+N.
	New Namespaces
	// Init makes process 1 of the new PID namespace a minimal init that only reaps; the program goes on as process 2.
	// Without it the program itself is process 1, which ignores signals it has no handler for; see State.DieWithParent.
	Init bool
	// Linger, with Init, keeps the init for as long as anybody is in the PID namespace, for others enter it (Process).
	Linger bool
	// Netns is the path of a network namespace to join first, with the caller's rights. It has no semicolon.
	Netns string
	// Grace, with Init or Detach, ends all processes of the PID namespace by SIGTERM, and waits ten seconds for that, where
	// they would be killed otherwise. Not with Linger.
	Grace bool
	// Detach leaves the program on its own as process 2, with an init that passes signals on to its process group and
	// ends with it, unless it ends with status 0. The process that was started ends at once, with status 0. Descriptor
	// Keep stays open in the init, and no other. Only with PID among New.
	Detach bool
	Keep   int
	// Fakeroot maps the caller's uid and gid to 0 instead of themselves.
	Fakeroot bool
	// UIDs and GIDs replace the one-entry maps, by way of newuidmap and newgidmap (see SubIDs). With Join and Fakeroot they
	// are those below the session's namespace; of a session that has not got the ids there is the caller's only.
	UIDs, GIDs []IDMap
	// Process enters all namespaces, root directory and working directory of this process of the same user instead
	// of making any (running instances). Only Join, New… left empty are valid with it.
	Process int

	tries int // how often the session was gone when it was to be joined
}

// State is what the constructor found and did. All ids are those outside of the namespaces.
type State struct {
	Kind    Kind
	Session *Session   // for Joined, else nil
	New     Namespaces // made besides user and mount namespace
	Plan    *Plan      // the plan this process was started with by Reexec, else nil
	UID     int        // the caller's, outside
	GID     int
	Dir     string // directory of the session that belongs to this call, whether or not it runs
	// Err says what the constructor failed at, e.g. "create a user namespace: operation not permitted (see flatrun doctor)".
	// No session on the socket is not an error.
	Err error
}

// Current tells what the constructor did. It may be called any number of times.
func Current() State { return current() }

// Satisfies reports whether a process in this state can run what p asks for without Reexec.
func (s State) Satisfies(p Plan) bool { return satisfies(s, p) }

// DieWithParent makes the kernel end the calling thread's process if the parent that waits outside of its PID namespace
// is killed. A command that is process 1 itself, or that shares its init with others, needs it, as no init sees to that.
// The setting belongs to the thread and survives execve. The constructor has made it for the main thread: call this on
// the locked thread that will call execve if that is another one. Where it is not needed it does nothing.
func (s State) DieWithParent() error { return dieWithParent(s) }

// PlainDirectory reports whether image is the path of an existing directory. Below /cvmfs/FQRN it must lie in a mounted
// file system. Such an image needs no session.
func PlainDirectory(image string) bool { return plainDirectory(image) }

// IsRank reports whether the environment is that of one of several processes which a launcher (mpirun, srun) has started
// on this node. They must share a user namespace, to read each other's memory, and so need a session whatever their image.
func IsRank() bool { return isRank() }

// FlagKind tells what the constructor knows of a flag of the container verbs, by its long name: whether it has a
// value, and whether it makes the constructor leave the decision to Go. A flag it does not know costs speed only.
func FlagKind(long string) (known, value, plan bool) { return flagKind(long) }

// StartOptions are for Start and Ensure. The zero value serves.
type StartOptions struct {
	Config  string // value of --config; "" = $FLATRUN_CONFIG or the default files
	Program string // flatrun-session's path; "" = beside the executable, in ../libexec/flatrun, on PATH
	Before  func() // called by Ensure just before Reexec, when no child is waited for any more; may be nil
}

// Start starts the session for this user, job step and configuration, unless one runs, and returns when it serves.
// Any number of processes may call it at once: one of them starts a session, the others find it.
// The error is the session's own text if it could not start.
func Start(ctx context.Context, o StartOptions) error { return start(ctx, o) }

// Ensure returns the state if it satisfies the plan. Otherwise it starts a session if the plan asks for one and
// replaces the process by Reexec, so it does not return but with an error.
func Ensure(ctx context.Context, p Plan, o StartOptions) (State, error) { return ensure(ctx, p, o) }

// Reexec replaces this process by the same program with the same arguments, which begins with the plan carried out.
func Reexec(p Plan) error { return reexec(p) }

// Mapped counts the ids of the user namespace that the process is in.
func Mapped() (uids uint64) { return mapped() }

// SubIDs returns the maps for a full fakeroot (0 → caller, 1… → subordinate ids), from /etc/subuid and /etc/subgid.
// The error says what is missing: an entry, newuidmap or newgidmap.
func SubIDs() (uids, gids []IDMap, err error) { return subIDs() }

// Session is a connection to a running session. It is closed by execve. Not for concurrent use.
type Session struct {
	Conn *os.File
	Dir  string // session directory; repositories appear below Dir/cvmfs/FQRN in the mount namespace of a joined process

	// Follow, set before the first question, asks for places where new revisions show as they come. Otherwise the answers
	// are all of one revision of each repository, which stays as long as the connection or a mount of it does.
	Follow bool
	// Program, set before Resolve, is what is going to be run in the image: the session begins to fetch it. "" if it is not known.
	Program string

	revisions []Revision // of the last answer
	told      bool       // there was one

	lines    *bufio.Reader
	bound    *io.LimitedReader // below lines
	patience time.Duration     // with the answer that is waited for, 0 for without end
	asked    string            // image that the constructor asked for; the answer is the next line
	joined   bool              // the process is inside
}

// Dial connects to the session in dir without joining it: for status and umount. ErrNoSession if none answers.
func Dial(dir string) (*Session, error) { return dial(dir) }

// ErrNoSession means that no session answers.
var ErrNoSession = errors.New("no session is running")

// Resolved is where an image lies.
type Resolved struct {
	Path     string          `json:"path"`             // directory, absolute in the joined mount namespace
	Source   string          `json:"source"`           // the repository at the revision that the client keeps, a prefix of Path
	FQRN     string          `json:"fqrn"`             // repository
	InRepo   string          `json:"in_repo"`          // the image's path inside the repository, "/…"
	Revision uint64          `json:"revision"`         // of the repository there
	Host     bool            `json:"host,omitempty"`   // mounted by the site, not by the session
	Name     string          `json:"name,omitempty"`   // full image name when it was looked up by name
	Layers   []string        `json:"layers,omitempty"` // of a thin image: directories laid over Path, the last one uppermost
	Config   json.RawMessage `json:"config,omitempty"` // OCI image configuration, if the repository has one
}

// Revision is where a repository shows the revision that a container keeps.
type Revision struct {
	FQRN string `json:"fqrn"`
	Dir  string `json:"dir"` // absolute in the joined mount namespace
}

// Revisions are those of all repositories that are mounted now, the ones that Resolve and Mount have named among them: what
// the container should see at /cvmfs/FQRN. There are none for a Session that follows.
func (s *Session) Revisions() ([]Revision, error) { return s.askRevisions() }

// Resolve finds the image: a path below /cvmfs/FQRN, cvmfs://FQRN/path, or an image name to be looked up in the
// configured repositories, or a thin image: its file, oci:DIR, oci-archive:FILE, or docker://NAME at its registry. The
// repository is mounted if it is not. The error is one line, with near matches if any.
func (s *Session) Resolve(image string) (Resolved, error) { return s.resolve(image) }

// Mount mounts a repository in the session (and so in every joined process) and returns its mount point.
func (s *Session) Mount(fqrn string) (Resolved, error) { return s.mount(fqrn) }

// Unmount takes a repository out of the session; containers that run from it keep it.
func (s *Session) Unmount(fqrn string) error { return s.unmount(fqrn) }

// Refresh looks for a new revision of a repository now, "" for all that are mounted. Where it fails, nothing changes.
func (s *Session) Refresh(fqrn string) error { return s.refresh(fqrn) }

// Status asks for the session's state.
func (s *Session) Status() (Status, error) { return s.status() }

// Quit ends the session at once, or when force is false, if nobody uses it.
func (s *Session) Quit(force bool) error { return s.quit(force) }

// Close closes the connection.
func (s *Session) Close() error { return s.Conn.Close() }
