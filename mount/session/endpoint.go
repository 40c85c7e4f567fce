package session

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/enter"
)

// listen makes the socket by way of the directory's descriptor: a socket's address is short, a path may be long.
func listen(dir string) (*net.UnixListener, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/socket", d.Fd())})
	if err != nil {
		return nil, fmt.Errorf("make a socket in %s: %w", dir, err)
	}
	l.SetUnlinkOnClose(false)
	return l, nil
}

// acceptAll hands each client of our own user to serve, until the listener is closed.
func acceptAll(l *net.UnixListener, report func(error), serve func(*net.UnixConn)) {
	for {
		conn, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, say: clients wait in the queue
			report(fmt.Errorf("accept a client: %w", err))
			time.Sleep(100 * time.Millisecond)
			continue
		}
		go func() {
			defer conn.Close()
			if err := checkPeer(conn); err != nil {
				report(err)
				return
			}
			serve(conn)
		}()
	}
}

// checkPeer refuses other users, who cannot get at the socket unless its directory was opened to them.
func checkPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var peerErr error
	err = raw.Control(func(fd uintptr) {
		peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, peerErr); err != nil {
		return fmt.Errorf("ask who a client is: %w", err)
	}
	if int(peer.Uid) != os.Getuid() {
		return fmt.Errorf("refused a client of uid %d", peer.Uid)
	}
	return nil
}

// maxRequest bounds a request's line.
const maxRequest = 64 << 10

// converse answers a client's requests, one by one, until it leaves or handle says that there will be no more. A nil
// reply is one that handle sent itself.
func converse(conn *net.UnixConn, handle func(enter.Request) (reply *enter.Reply, more bool)) {
	lines := bufio.NewScanner(conn)
	lines.Buffer(make([]byte, 512), maxRequest)
	for more := true; more && lines.Scan(); {
		var r enter.Request
		if json.Unmarshal(lines.Bytes(), &r) != nil {
			return
		}
		var reply *enter.Reply
		if reply, more = handle(r); reply == nil {
			continue
		}
		line, err := json.Marshal(reply)
		if err != nil {
			return
		}
		if _, err := conn.Write(append(line, '\n')); err != nil {
			return
		}
	}
}

func failed(err error) enter.Reply {
	if err == nil {
		return enter.Reply{}
	}
	return enter.Reply{Error: err.Error()}
}
