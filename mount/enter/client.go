package enter

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"

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
	return &Session{Conn: os.NewFile(uintptr(fd), dir+"/socket"), Dir: dir}
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
	var reply Reply
	line, err := json.Marshal(r)
	if err != nil {
		return reply, err
	}
	if err := unix.SetsockoptTimeval(int(s.Conn.Fd()), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{}); err != nil {
		return reply, fmt.Errorf("ask the session: %w", err)
	}
	if _, err := s.Conn.Write(append(line, '\n')); err != nil {
		return reply, fmt.Errorf("ask the session: %w", err)
	}
	lines := bufio.NewScanner(s.Conn)
	lines.Buffer(make([]byte, 4096), maxReply)
	if !lines.Scan() {
		if err := lines.Err(); err != nil {
			return reply, fmt.Errorf("wait for the session's answer: %w", err)
		}
		return reply, errors.New("the session ended while it was asked; try again")
	}
	if err := json.Unmarshal(lines.Bytes(), &reply); err != nil {
		return reply, fmt.Errorf("understand the session's answer: %w", err)
	}
	if reply.Error != "" {
		return reply, errors.New(reply.Error)
	}
	return reply, nil
}

func (s *Session) callResolved(r Request) (Resolved, error) {
	reply, err := s.call(r)
	if err != nil {
		return Resolved{}, err
	}
	if reply.Resolved == nil {
		return Resolved{}, errors.New("understand the session's answer: it names no place")
	}
	return *reply.Resolved, nil
}

func (s *Session) resolve(image string) (Resolved, error) {
	return s.callResolved(Request{Op: "resolve", Name: image})
}

func (s *Session) mount(fqrn string) (Resolved, error) {
	return s.callResolved(Request{Op: "mount", Name: fqrn})
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
