// Package keep restarts a process that was killed, and keeps its descriptors meanwhile.
//
// A FUSE mount lives as long as somebody holds its descriptor of /dev/fuse. The process that serves mounts hands each
// descriptor to its parent, which does nothing but hold them; when the server is killed or crashes, the parent starts it
// anew and hands everything back. Parent and server are the same program and talk over a pair of sockets:
//
//	server → parent   {"name": …} and descriptors, kept under the name in place of what was; none: dropped
//	parent → server   the same for all that is kept, then an empty name
package keep

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// variable holds the number of the server's end of the socket pair.
const variable = "FLATRUN_KEEPER"

const (
	maxMessage = 4096
	maxFiles   = 8 // of one name
)

type message struct {
	Name string `json:"name"`
}

// Supervised tells whether this process is a server started by Supervise.
func Supervised() bool { return os.Getenv(variable) != "" }

// Keeper is the server's way to its parent. A nil one keeps nothing.
type Keeper struct {
	conn   *net.UnixConn
	parent int // process
}

// Open connects to the parent and takes what it kept, by name. Without a parent it answers a nil Keeper.
func Open() (*Keeper, map[string][]*os.File, error) {
	text := os.Getenv(variable)
	if text == "" {
		return nil, nil, nil
	}
	os.Unsetenv(variable)
	fd, err := strconv.Atoi(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%s=%s: %w", variable, text, err)
	}
	conn, err := connection(fd)
	if err != nil {
		return nil, nil, err
	}
	kept := map[string][]*os.File{}
	for {
		name, files, err := receive(conn)
		if err != nil {
			conn.Close()
			return nil, nil, fmt.Errorf("take over what the session's keeper holds: %w", err)
		}
		if name == "" {
			return &Keeper{conn, os.Getppid()}, kept, nil
		}
		kept[name] = files
	}
}

// Keep hands copies of the descriptors to the parent.
func (k *Keeper) Keep(name string, fds ...int) error {
	if k == nil {
		return nil
	}
	if len(fds) > maxFiles || name == "" {
		return errors.New("keep: too many descriptors, or no name")
	}
	return send(k.conn, name, fds)
}

// Gone tells that the parent has ended: nobody holds what was kept.
func (k *Keeper) Gone() bool { return k != nil && os.Getppid() != k.parent }

// Drop makes the parent close what it holds under the name.
func (k *Keeper) Drop(name string) error { return k.Keep(name) }

// connection takes over one end of the pair.
func connection(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "keeper")
	if f == nil {
		return nil, unix.EBADF
	}
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("socket of the session's keeper: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("the session's keeper has no socket")
	}
	return u, nil
}

func send(conn *net.UnixConn, name string, fds []int) error {
	b, err := json.Marshal(message{name})
	if err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	_, _, err = conn.WriteMsgUnix(b, rights, nil)
	return err
}

// receive waits for one message. Descriptors arrive close-on-exec.
func receive(conn *net.UnixConn) (name string, files []*os.File, err error) {
	text, rights := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4*maxFiles))
	n, m, _, _, err := conn.ReadMsgUnix(text, rights)
	if err != nil {
		return "", nil, err
	}
	if n == 0 {
		return "", nil, net.ErrClosed
	}
	files, err = received(rights[:m])
	var msg message
	if err == nil {
		err = json.Unmarshal(text[:n], &msg)
	}
	if err != nil { // whoever gets an error gets nothing to close
		for _, f := range files {
			f.Close()
		}
		return "", nil, err
	}
	return msg.Name, files, nil
}

// received are the descriptors in a control message, those before an error too.
func received(rights []byte) (files []*os.File, err error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return files, err
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "kept"))
		}
	}
	return files, nil
}
