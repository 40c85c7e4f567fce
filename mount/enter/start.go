package enter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/beside"
)

// startPatience is how long a session that runs may take to say so before a start gives up on it, after the constructor has
// waited for 3 seconds: together less than a user takes for a hang. One that is stopped is given up after a second. Another
// session in its place would not help, as what stopped this one (a full disk below its log, SIGSTOP, a debugger) would be
// forgotten with it.
const startPatience = 3 * time.Second

// sessionProgram is the server's file name.
const sessionProgram = "flatrun-session"

func start(ctx context.Context, o StartOptions) error {
	dir, err := SessionDir(o.Config)
	if err != nil {
		return err
	}
	program, err := findProgram(o.Program)
	if err != nil {
		return err
	}
	lock, err := lockDir(ctx, dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if yes, err := alive(ctx, dir, startPatience); yes || err != nil {
		return err
	}
	err = spawn(ctx, program, dir, o.Config)
	if err != nil && !errors.As(err, new(*silentEnd)) {
		for _, name := range []string{"socket", "cvmfs", "log", ""} {
			os.Remove(filepath.Join(dir, name)) // of another session's directory nothing can be left here: the lock is ours
		}
	}
	return err
}

// silentEnd is the end of a session that said nothing. Its log is kept.
type silentEnd struct{ log string }

func (e *silentEnd) Error() string {
	return "the session ended before it served; " + e.log + " tells more"
}

// findProgram looks where an installation puts flatrun-session.
func findProgram(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	p, err := beside.Find(sessionProgram, ".", "../libexec/flatrun")
	if err != nil {
		return "", fmt.Errorf("%s is neither beside flatrun, nor in ../libexec/flatrun, nor on PATH", sessionProgram)
	}
	return filepath.Abs(p)
}

// lockDir makes the session's directory and locks it: whoever holds the lock may start or remove a session there. A
// session removes its directory at its end, with the lock held, so after waiting the path may lead to another one.
func lockDir(ctx context.Context, dir string) (*os.File, error) {
	for {
		if err := MakeDir(dir); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		if err := flock(ctx, f); err != nil {
			f.Close()
			return nil, fmt.Errorf("wait for another start of a session in %s: %w", dir, err)
		}
		if st, err := f.Stat(); err == nil {
			if now, err := os.Lstat(dir); err == nil && os.SameFile(st, now) {
				return f, nil
			}
		}
		f.Close()
	}
}

// flock waits for the lock without a thread of its own per waiter, and no longer than ctx lives.
func flock(ctx context.Context, f *os.File) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// MakeDir makes the session's directory and the one above it, which must be ours alone: in /tmp anybody may have put
// something of that name there.
func MakeDir(dir string) error {
	for try := 0; ; try++ {
		err := makeDir(dir)
		// Whoever leaves the upper one empty removes it, perhaps just between our making the two.
		if !errors.Is(err, fs.ErrNotExist) || try == 100 {
			return err
		}
	}
}

func makeDir(dir string) error {
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Mkdir(d, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make the session's directory: %w", err)
		}
		var st unix.Stat_t
		err := unix.Lstat(d, &st)
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed by a session that ended; the caller tries again
			continue
		case err != nil:
			return fmt.Errorf("make the session's directory: %s: %w", d, err)
		case st.Mode&unix.S_IFMT != unix.S_IFDIR:
			return fmt.Errorf("%s is not a directory, so it is not used: remove it, or set XDG_RUNTIME_DIR", d)
		case int(st.Uid) != os.Geteuid():
			return fmt.Errorf("%s belongs to uid %d, so it is not used: set XDG_RUNTIME_DIR to a directory of your own", d, st.Uid)
		case st.Mode&0o077 != 0:
			return fmt.Errorf("%s is open to others (mode %#o), so it is not used: chmod 700 it", d, st.Mode&0o7777)
		}
	}
	return nil
}

// spawn starts the session and waits until it serves. The program that is run is this one: its constructor makes the
// namespaces, goes into the background and becomes flatrun-session with all capabilities in its user namespace.
func spawn(ctx context.Context, program, dir, config string) error {
	// What a session left that was killed, or hangs: its socket answers no more.
	if err := os.Remove(filepath.Join(dir, "socket")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	ready, tell, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	args := []string{sessionProgram, "serve", dir}
	if config == "" {
		config = os.Getenv("FLATRUN_CONFIG")
	}
	if config != "" {
		if config, err = filepath.Abs(config); err != nil {
			return err
		}
		args = append(args, "--config", config)
	}
	plan := Plan{}
	plan.UIDs, plan.GIDs, _ = sessionIDs() // without them --fakeroot has one id
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: args, Stdout: log, Stderr: log, ExtraFiles: []*os.File{tell},
		Env: append(environWithout(planVariable), planVariable+"="+plan.encode()+"daemon="+program),
	}
	err = cmd.Run()
	tell.Close()
	if err != nil {
		return spawnError(program, err)
	}
	return waitReady(ctx, ready, filepath.Join(dir, "log"))
}

// spawnError reads the errno out of the exit status, where the constructor puts it.
func spawnError(program string, err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return constructorError("create a user namespace for the session", syscall.Errno(exit.ExitCode()))
	}
	return fmt.Errorf("start %s: %w", program, err)
}

// waitReady waits for the session's word: "ready", or the text of an error.
func waitReady(ctx context.Context, ready *os.File, log string) error {
	stop := context.AfterFunc(ctx, func() { ready.SetReadDeadline(time.Now()) })
	defer stop()
	word, err := io.ReadAll(io.LimitReader(ready, 64<<10))
	text := strings.TrimSpace(string(word))
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("wait for the session: %w", context.Cause(ctx))
	case text == "ready":
		return nil
	case err != nil:
		return fmt.Errorf("wait for the session: %w", err)
	case text == "":
		return &silentEnd{log}
	}
	return errors.New(text)
}
