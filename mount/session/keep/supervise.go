package keep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxDeaths   = 5           // in deathWindow: a server that dies again and again is given up, and its mounts with it
	deathWindow = time.Minute //
	// stuckInterval is how often the parent looks whether the server is dead without having ended: a thread that waits in the
	// kernel for an answer that the server owed cannot be killed, and the next server's answer frees it.
	stuckInterval = 5 * time.Second
)

// Supervise runs this program again, with the same arguments, as the server, until it ends by itself with status 0 or 1,
// which is the answer. The server gets files as descriptors 3… at its first start, and empty ones at later starts. A
// signal that ends ctx is passed on as SIGTERM.
func Supervise(ctx context.Context, log *slog.Logger, files ...*os.File) (status int, err error) {
	p := &parent{log: log, kept: map[string][]*os.File{}}
	var deaths []time.Time
	for {
		status, died, err := p.serve(ctx, files)
		if err != nil || !died {
			return status, err
		}
		now := time.Now()
		if deaths = append(deaths, now); len(deaths) > maxDeaths {
			if deaths = deaths[1:]; now.Sub(deaths[0]) < deathWindow {
				return 1, fmt.Errorf("the session's server died %d times in %s and is given up", maxDeaths+1, now.Sub(deaths[0]).Round(time.Second))
			}
		}
		for i, f := range files {
			f.Close()
			if files[i], err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
				return 1, err
			}
		}
		log.Warn("the session's server died and is started again", "mounts and sockets kept", len(p.kept))
	}
}

// parent holds descriptors.
type parent struct {
	log  *slog.Logger
	mu   sync.Mutex
	kept map[string][]*os.File
}

// serve runs one server. died tells that it was killed or crashed.
func (p *parent) serve(ctx context.Context, files []*os.File) (status int, died bool, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 1, false, fmt.Errorf("socket for the session's server: %w", err)
	}
	conn, err := connection(pair[0])
	if err != nil {
		unix.Close(pair[1])
		return 1, false, err
	}
	defer conn.Close()
	theirs := os.NewFile(uintptr(pair[1]), "keeper")
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = append(append([]*os.File(nil), files...), theirs)
	cmd.Env = append(os.Environ(), variable+"="+strconv.Itoa(3+len(files)))
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return 1, false, fmt.Errorf("start the session's server: %w", err)
	}
	for _, f := range files {
		f.Close() // readiness is the server's to tell: whoever waits for it must see its end
	}
	if err := p.give(conn); err != nil {
		p.log.Warn("what was kept is not handed over", "error", err)
	}
	read := make(chan struct{})
	go func() { defer close(read); p.receive(conn) }()
	status, died = p.wait(ctx, cmd)
	conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // a stuck server keeps its end open
	<-read
	return status, died, nil
}

// give hands over all that is kept.
func (p *parent) give(conn *net.UnixConn) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, files := range p.kept {
		var fds []int
		for _, f := range files {
			fds = append(fds, int(f.Fd()))
		}
		if err := send(conn, name, fds); err != nil {
			return err
		}
	}
	return send(conn, "", nil)
}

func (p *parent) receive(conn *net.UnixConn) {
	for {
		name, files, err := receive(conn)
		if err != nil {
			return
		}
		p.mu.Lock()
		for _, f := range p.kept[name] {
			f.Close()
		}
		delete(p.kept, name)
		if len(files) > 0 {
			p.kept[name] = files
		}
		p.mu.Unlock()
	}
}

// wait returns when the server has ended or is as good as dead.
func (p *parent) wait(ctx context.Context, cmd *exec.Cmd) (status int, died bool) {
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	done, ticker, dead := ctx.Done(), time.NewTicker(stuckInterval), 0
	defer ticker.Stop()
	for {
		select {
		case err := <-ended:
			var exit *exec.ExitError
			switch {
			case err == nil:
				return 0, false
			case errors.As(err, &exit) && exit.ExitCode() == 1:
				return 1, false
			}
			p.log.Warn("the session's server ended", "how", err)
			return 1, ctx.Err() == nil
		case <-done:
			done = nil
			cmd.Process.Signal(syscall.SIGTERM)
		case <-ticker.C:
			if dead++; !isZombie(cmd.Process.Pid) {
				dead = 0
			} else if dead > 1 {
				return 1, ctx.Err() == nil
			}
		}
	}
}

// isZombie tells whether the process's first thread has ended.
func isZombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(b), ") Z ")
}
