package session

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/enter"
)

// serve answers one client, unless the session is just ending.
func (s *server) serve(conn *net.UnixConn) {
	if !s.enter() {
		return
	}
	defer s.leave()
	l := &lease{}
	defer l.drop()
	quit := false
	converse(conn, func(r enter.Request) (*enter.Reply, bool) {
		if r.Op == "join" {
			if err := s.join(conn); err != nil {
				s.errors.add(err)
				return nil, false
			}
			return nil, true
		}
		reply := s.answer(r, l)
		quit = r.Op == "quit" && reply.Error == ""
		return &reply, !quit
	})
	if quit {
		s.end()
	}
}

// enter counts a client in.
func (s *server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return false
	}
	s.clients++
	s.poke()
	return true
}

func (s *server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients--
	s.poke()
}

func (s *server) poke() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// join hands out the user namespace and a copy of the tree.
func (s *server) join(conn *net.UnixConn) error {
	tree, err := s.tree.copy()
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	_, _, err = conn.WriteMsgUnix([]byte{'j'}, unix.UnixRights(int(s.userNS.Fd()), tree), nil)
	return err
}

func (s *server) answer(r enter.Request, l *lease) enter.Reply {
	ctx := context.Background() // what is fetched for a client that left serves the next one
	if !r.Follow {
		ctx = withLease(ctx, l)
	}
	var resolved *enter.Resolved
	var err error
	switch r.Op {
	case "resolve":
		resolved, err = found(s.repos.resolve(withProgram(ctx, r.Program), r.Name))
	case "mount":
		var place enter.Resolved
		place, _, err = s.repos.place(ctx, r.Name)
		resolved, err = found(place, err)
	case "revisions":
	case "ping":
		return enter.Reply{}
	case "umount":
		return failed(s.repos.unmount(r.Name))
	case "refresh":
		return failed(s.repos.refresh(ctx, r.Name))
	case "status":
		status := s.status()
		return enter.Reply{Status: &status}
	case "quit":
		return failed(s.mayQuit(r.Force))
	default:
		return failed(fmt.Errorf("the session does not know the request %q: it is of another version, and ends by flatrun umount --all", r.Op))
	}
	var revisions []enter.Revision
	if err == nil && !r.Follow {
		revisions, err = s.repos.revisions(l)
	}
	if err != nil {
		s.errors.add(err)
		return failed(err)
	}
	return enter.Reply{Resolved: resolved, Revisions: revisions}
}

func found(r enter.Resolved, err error) (*enter.Resolved, error) { return &r, err }

// mayQuit refuses to end a session that is in use. The one who asks does not count: flatrun umount does not join.
func (s *server) mayQuit(force bool) error {
	if users := s.processes(); !force && len(users) > 0 {
		return fmt.Errorf("%d processes use the session (the first is %d)", len(users), users[0])
	}
	return nil
}

func (s *server) status() enter.Status {
	users := s.processes()
	status := enter.Status{
		Key: filepath.Base(s.dir), Dir: s.dir, PID: os.Getpid(), Started: s.started, Idle: s.idle,
		Clients: s.connected() - 1, Users: len(users), Mounts: s.repos.status(s.containers(users)), Cache: s.repos.caches.status(),
		Errors: s.errors.list(), Unkept: s.repos.keeper.Gone(),
	}
	measureSelf(&status)
	return status
}
