package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/flatrun/flatrun/mount/config"
	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/mount/session"
	"github.com/flatrun/flatrun/mount/session/keep"
)

// readyFD is where whoever starts a server waits for "ready" or an error text.
const readyFD = 3

// readiness tells it, once.
type readiness struct{ f *os.File }

func newReadiness() *readiness {
	syscall.CloseOnExec(readyFD)
	return &readiness{os.NewFile(readyFD, "readiness")}
}

func (r *readiness) tell(text string) {
	if r.f != nil {
		fmt.Fprintln(r.f, text)
		r.f.Close()
		r.f = nil
	}
}

// serving runs a server and makes its error the answer to whoever waits, unless that one was told ready already.
func serving(run func(log *slog.Logger, ready func()) error) error {
	r := newReadiness()
	err := run(slog.New(slog.NewTextHandler(os.Stderr, nil)), func() { r.tell("ready") })
	if err != nil {
		r.tell(err.Error())
	}
	return err
}

// runServe is the session's process, started by enter.Start: a parent that only holds descriptors, and the server.
func runServe(ctx context.Context, c *call) error {
	return c.supervised(ctx, func(s start) error {
		return session.Run(ctx, session.Config{Dir: c.args[0], Settings: s.settings, Keeper: s.keeper, Kept: s.kept, Log: s.log}, s.ready)
	})
}

// start is what a server begins with.
type start struct {
	settings *config.Config
	log      *slog.Logger
	keeper   *keep.Keeper
	kept     map[string][]*os.File // by a server before this one, see keep.Open
	ready    func()
}

// supervised runs a server below a parent that keeps what it must not lose when it is killed.
func (c *call) supervised(ctx context.Context, run func(start) error) error {
	if !keep.Supervised() {
		syscall.CloseOnExec(readyFD)
		log := slog.New(slog.NewTextHandler(os.Stderr, nil))
		status, err := keep.Supervise(ctx, log, os.NewFile(readyFD, "readiness"))
		if err == nil && status != 0 {
			err = exitCode(status) // the server has told why
		}
		return err
	}
	return serving(func(log *slog.Logger, ready func()) error {
		keeper, kept, err := keep.Open()
		if err != nil {
			return err
		}
		settings, err := c.settings()
		if err != nil {
			return err
		}
		for _, w := range settings.Warnings {
			log.Warn("configuration", "warning", w)
		}
		return run(start{settings, log, keeper, kept, ready})
	})
}

// serveMount in the environment makes runMount the server instead of the one who starts it.
const serveMount = "FLATRUN_SERVE_MOUNT"

// runMount returns when the mount is usable, and leaves a server behind.
func runMount(ctx context.Context, c *call) error {
	if os.Getenv(serveMount) != "" { // the directory is not looked at: a server before this one may have owed it answers
		return c.supervised(ctx, func(s start) error {
			return session.Mount(ctx, session.HostConfig{FQRN: c.args[0], Dir: c.args[1], Settings: s.settings, Metrics: c.metrics,
				Keeper: s.keeper, Kept: s.kept, Log: s.log}, s.ready)
		})
	}
	fqrn, dir, err := mountpoint(c.args)
	if err != nil {
		return err
	}
	if len(c.args) == 1 {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	err = c.startMount(fqrn, dir)
	switch {
	case err != nil && mountedAt(dir):
		return fmt.Errorf("mount %s: %s is a mount of yours already, see flatrun status; flatrun umount %[2]s comes first", fqrn, dir)
	case len(c.args) > 1:
	case err != nil:
		os.Remove(dir) // it was made for this
	default:
		fmt.Println(dir)
	}
	return err
}

// mountedAt tells whether a server of the user's has its mount at dir.
func mountedAt(dir string) bool {
	all, err := session.List()
	return err == nil && slices.ContainsFunc(all, func(s enter.Status) bool {
		return s.Host && slices.ContainsFunc(s.Mounts, func(m enter.MountStatus) bool { return m.Mountpath == dir })
	})
}

func mountpoint(args []string) (fqrn, dir string, err error) {
	if fqrn = args[0]; len(args) == 1 {
		dir, err = session.DefaultMountpoint(fqrn)
		return fqrn, dir, err
	}
	if dir, err = filepath.Abs(args[1]); err != nil {
		return "", "", err
	}
	st, err := os.Stat(dir)
	if errors.Is(err, syscall.ENOTCONN) {
		return "", "", fmt.Errorf("mount %s: the server of a mount at %s was killed; flatrun umount %[2]s comes first", fqrn, dir)
	}
	if err != nil {
		return "", "", fmt.Errorf("mount %s: %w", fqrn, err)
	}
	if !st.IsDir() {
		return "", "", fmt.Errorf("mount %s: %s is not a directory", fqrn, dir)
	}
	return fqrn, dir, nil
}

// absoluteSocket is unix:PATH with a path that holds in any directory: the server has another one than the caller.
func absoluteSocket(address string) (string, error) {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok || path == "" {
		return address, nil
	}
	path, err := filepath.Abs(path)
	return "unix:" + path, err
}

// startMount starts the server in the background. Its own process group and session keep the terminal's signals away.
func (c *call) startMount(fqrn, dir string) error {
	ready, tell, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	args := []string{"mount", fqrn, dir}
	if c.metrics != "" {
		metrics, err := absoluteSocket(c.metrics)
		if err != nil {
			return err
		}
		args = append(args, "--metrics", metrics)
	}
	if c.config != "" {
		config, err := filepath.Abs(c.config)
		if err != nil {
			return err
		}
		args = append(args, "--config", config)
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), serveMount+"=1")
	cmd.ExtraFiles = []*os.File{tell}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	tell.Close()
	if err != nil {
		return err
	}
	word, err := io.ReadAll(io.LimitReader(ready, 64<<10))
	switch text := strings.TrimSpace(string(word)); {
	case err != nil:
		return err
	case text == "ready":
		return nil
	case text != "":
		return errors.New(text)
	}
	return fmt.Errorf("mount %s: the server ended before it served: %w", fqrn, cmd.Wait())
}
