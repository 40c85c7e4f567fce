package enter

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Request is one line of JSON from client to session; Reply is the answer. A client sends the next request when it has the
// answer to the last. The answer to "join" is no JSON: the byte 'j' with two descriptors, the session's user namespace
// and a detached copy of its tree of mounts.
type Request struct {
	Op    string `json:"op"`              // join, tree, resolve, mount, umount, status, quit
	Name  string `json:"name,omitempty"`  // the image or the repository
	Force bool   `json:"force,omitempty"` // quit: although it is in use
}

// Reply is the answer to a Request: an error in one line, or the part that the operation fills.
type Reply struct {
	Error    string    `json:"error,omitempty"`
	Resolved *Resolved `json:"resolved,omitempty"`
	Status   *Status   `json:"status,omitempty"`
}

// maxReply bounds a line: an image configuration may be large, but not without end.
const maxReply = 16 << 20

func newSession(fd int, dir string) *Session {
	f := os.NewFile(uintptr(fd), dir+"/socket")
	return &Session{Conn: f, Dir: dir, lines: bufio.NewReader(io.LimitReader(f, maxReply))}
}

func dial(dir string) (*Session, error) {
	fd := dialFD(dir)
	if fd < 0 {
		return nil, ErrNoSession
	}
	return newSession(fd, dir), nil
}

// call sends a request and waits for its answer, however long: the session bounds what it does.
func (s *Session) call(r Request) (Reply, error) {
	if s.asked != "" { // the constructor's question was for another image
		s.asked = ""
		if _, err := s.read(); err != nil && !errors.As(err, new(*answerError)) {
			return Reply{}, err
		}
	}
	line, err := json.Marshal(r)
	if err != nil {
		return Reply{}, err
	}
	if _, err := s.Conn.Write(append(line, '\n')); err != nil {
		return Reply{}, fmt.Errorf("ask the session: %w", err)
	}
	return s.read()
}

// answerError is an error that the session answered with.
type answerError struct{ text string }

func (e *answerError) Error() string { return e.text }

func (s *Session) read() (Reply, error) {
	var reply Reply
	// The constructor set a limit for its own question, which the session answers from memory; a cold look-up may take longer.
	if err := unix.SetsockoptTimeval(int(s.Conn.Fd()), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{}); err != nil {
		return reply, fmt.Errorf("ask the session: %w", err)
	}
	line, err := s.lines.ReadBytes('\n')
	if errors.Is(err, io.EOF) {
		return reply, errors.New("the session ended while it was asked; try again")
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
	return *reply.Resolved, s.show(*reply.Resolved)
}

// show makes sure that the repository is mounted in this process's namespace. A mount made between the copying of the tree
// and its attachment here was not passed on: the kernel does not reach copies that are attached nowhere.
func (s *Session) show(r Resolved) error {
	if !s.joined || r.Host || isMountPoint(r.Source) {
		return nil
	}
	if err := renewFD(int(s.Conn.Fd()), s.Dir); err != nil {
		return fmt.Errorf("attach the session's repositories: %w", err)
	}
	if !isMountPoint(r.Source) {
		return fmt.Errorf("repository %s does not show at %s; see flatrun status", r.FQRN, r.Source)
	}
	return nil
}

func isMountPoint(path string) bool {
	var here, above unix.Stat_t
	return unix.Stat(path, &here) == nil && unix.Stat(filepath.Dir(path), &above) == nil && here.Dev != above.Dev
}

func (s *Session) resolve(image string) (Resolved, error) {
	if s.asked != "" && s.asked == image {
		s.asked = ""
		return s.place(s.read())
	}
	return s.place(s.call(Request{Op: "resolve", Name: image}))
}

func (s *Session) mount(fqrn string) (Resolved, error) {
	return s.place(s.call(Request{Op: "mount", Name: fqrn}))
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

func (s *Session) unmount(fqrn string) error {
	_, err := s.call(Request{Op: "umount", Name: fqrn})
	return err
}
