package enter

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Request is one line of JSON from client to session; Reply is the answer. A client sends the next request when it has the
// answer to the last. The answer to "join" is no JSON: the byte 'j' with two descriptors, the session's user namespace
// and a detached copy of its tree of mounts.
type Request struct {
	Op    string `json:"op"`              // join, resolve, mount, revisions, refresh, umount, status, ping, quit
	Name  string `json:"name,omitempty"`  // the image or the repository
	Force bool   `json:"force,omitempty"` // quit: although it is in use

	Follow  bool   `json:"follow,omitempty"`  // resolve, mount: where new revisions will show, see Session.Follow
	Program string `json:"program,omitempty"` // resolve: what will be run in the image, to be fetched ahead; "" if it is not known
}

// Reply is the answer to a Request: an error in one line, or the part that the operation fills.
type Reply struct {
	Error    string    `json:"error,omitempty"`
	Resolved *Resolved `json:"resolved,omitempty"`
	Status   *Status   `json:"status,omitempty"`
	// Revisions are those that the client keeps of all that is mounted: with resolve and mount, unless it follows, and revisions.
	Revisions []Revision `json:"revisions,omitempty"`
}

// maxReply bounds a line: an image configuration may be large, but not without end.
const maxReply = 16 << 20

func newSession(fd int, dir string) *Session {
	s := &Session{Dir: dir}
	s.connect(fd)
	return s
}

// connect takes a connection over, in place of the one before.
func (s *Session) connect(fd int) {
	s.Conn = os.NewFile(uintptr(fd), s.Dir+"/socket")
	s.bound = &io.LimitedReader{R: patientReader{s}}
	s.lines = bufio.NewReader(s.bound)
}

func dial(dir string) (*Session, error) {
	fd := dialFD(dir)
	if fd < 0 {
		return nil, ErrNoSession
	}
	return newSession(fd, dir), nil
}

// call asks, and asks again when the session's server was killed meanwhile: another one takes its place at the same socket.
func (s *Session) call(r Request) (Reply, error) {
	reply, err := s.callOnce(r)
	for tries := 1; errors.Is(err, errEnded) && r.Op != "quit" && tries < maxTries; tries++ {
		fd := dialFD(s.Dir)
		if fd < 0 {
			break
		}
		s.Conn.Close()
		s.connect(fd)
		reply, err = s.callOnce(r)
	}
	return reply, err
}

// errEnded means that the session hung up.
var errEnded = errors.New("the session ended while it was asked; try again")

// callOnce sends a request and waits for its answer.
func (s *Session) callOnce(r Request) (Reply, error) {
	if s.asked != "" { // the constructor's question was for another image
		s.asked = ""
		if _, err := s.read(0); err != nil && !errors.As(err, new(*answerError)) {
			return Reply{}, err
		}
	}
	line, err := json.Marshal(r)
	if err != nil {
		return Reply{}, err
	}
	if _, err := s.Conn.Write(append(line, '\n')); err != nil {
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
			err = errEnded
		}
		return Reply{}, fmt.Errorf("ask the session: %w", err)
	}
	return s.read(patience(r.Op))
}

// patience is how long the answer may take: for what the session knows, not long; what it has to fetch takes as long as
// its configuration says.
func patience(op string) time.Duration {
	if op == "resolve" || op == "mount" || op == "refresh" {
		return 0
	}
	return answerPatience
}

// answerPatience is how long a session that is alive may take on a machine under load.
const answerPatience = 20 * time.Second

// answerError is an error that the session answered with.
type answerError struct{ text string }

func (e *answerError) Error() string { return e.text }

// read waits for an answer, without end if patience is 0 and the session is not stopped.
func (s *Session) read(patience time.Duration) (Reply, error) {
	var reply Reply
	s.patience = patience
	s.bound.N = maxReply // what is buffered already is a part of a small answer
	line, err := s.lines.ReadBytes('\n')
	if errors.Is(err, io.EOF) && s.bound.N == 0 {
		return reply, fmt.Errorf("understand the session's answer: it has more than %d bytes", maxReply)
	} else if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
		return reply, errEnded
	} else if errors.As(err, new(*HungError)) {
		return reply, err
	} else if err != nil {
		return reply, fmt.Errorf("wait for the session's answer: %w", err)
	}
	if err := json.Unmarshal(line, &reply); err != nil {
		return reply, fmt.Errorf("understand the session's answer: %w", err)
	}
	if reply.Error != "" {
		return reply, &answerError{reply.Error}
	}
	return reply, nil
}

func (s *Session) place(reply Reply, err error) (Resolved, error) {
	if err != nil {
		return Resolved{}, err
	}
	if reply.Resolved == nil {
		return Resolved{}, errors.New("understand the session's answer: it names no place")
	}
	s.revisions, s.told = reply.Revisions, true
	return *reply.Resolved, s.show(*reply.Resolved)
}

func (s *Session) askRevisions() ([]Revision, error) {
	if s.told || s.Follow {
		return s.revisions, nil
	}
	reply, err := s.call(Request{Op: "revisions"})
	return reply.Revisions, err
}

// show makes sure that the repository is mounted in this process's namespace. A mount made between the copying of the tree
// and its attachment here was not passed on: the kernel does not reach copies that are attached nowhere.
func (s *Session) show(r Resolved) error {
	at := filepath.Join(s.Dir, "cvmfs", r.FQRN)
	if !s.joined || r.Host || isMountPoint(at) {
		return nil
	}
	if err := renewFD(int(s.Conn.Fd()), s.Dir); err != nil {
		return fmt.Errorf("attach the session's repositories: %w", err)
	}
	if !isMountPoint(at) {
		return fmt.Errorf("repository %s does not show at %s; see flatrun status", r.FQRN, at)
	}
	return nil
}

func isMountPoint(path string) bool {
	var here, above unix.Stat_t
	return unix.Stat(path, &here) == nil && unix.Stat(filepath.Dir(path), &above) == nil && here.Dev != above.Dev
}

func (s *Session) resolve(image string) (Resolved, error) {
	image = absolute(image)
	if s.asked != "" && s.asked == image && !s.Follow {
		s.asked = ""
		if reply, err := s.read(0); !errors.Is(err, errEnded) {
			return s.place(reply, err)
		}
	}
	return s.place(s.call(Request{Op: "resolve", Name: image, Follow: s.Follow, Program: s.Program}))
}

// absolute makes the path of a file absolute: the session has another working directory. Names stay as they are.
func absolute(image string) string {
	kind, file := "", image
	for _, k := range []string{"oci:", "oci-archive:"} {
		if rest, ok := strings.CutPrefix(image, k); ok {
			kind, file = k, rest
		}
	}
	if info, err := os.Stat(image); kind == "" && (err != nil || !info.Mode().IsRegular()) {
		return image
	}
	if abs, err := filepath.Abs(file); err == nil {
		return kind + abs
	}
	return image
}

func (s *Session) mount(fqrn string) (Resolved, error) {
	return s.place(s.call(Request{Op: "mount", Name: fqrn, Follow: s.Follow}))
}

func (s *Session) refresh(fqrn string) error {
	_, err := s.call(Request{Op: "refresh", Name: fqrn})
	return err
}

func (s *Session) status() (Status, error) {
	reply, err := s.call(Request{Op: "status"})
	if err != nil || reply.Status == nil {
		return Status{}, err
	}
	return *reply.Status, nil
}

func (s *Session) quit(force bool) error {
	_, err := s.call(Request{Op: "quit", Force: force})
	return err
}

// alive reports whether a session serves in dir. One that is just ending, or was killed and not all of it has gone yet,
// takes connections that come to nothing: that is waited out. The error is for one that hangs for longer than patience.
func alive(ctx context.Context, dir string, patience time.Duration) (bool, error) {
	for wait := time.Millisecond; ctx.Err() == nil; wait = min(2*wait, 50*time.Millisecond) {
		s, err := Dial(dir)
		if err != nil {
			return false, nil
		}
		_, err = s.askWithin("ping", patience)
		s.Close()
		if err == nil || errors.As(err, new(*answerError)) {
			return true, nil
		}
		if errors.As(err, new(*HungError)) {
			return false, err
		}
		time.Sleep(wait)
	}
	return false, nil
}

func (s *Session) unmount(fqrn string) error {
	_, err := s.call(Request{Op: "umount", Name: fqrn})
	return err
}
