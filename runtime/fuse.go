package runtime

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/runtime/vfs"
)

// FUSE is a file system that a program serves for the container. The program gets the mount point /dev/fd/3 as its last
// argument, an opened /dev/fuse that is mounted at Target already, as libfuse 3.3 and newer understand it.
type FUSE struct {
	Program []string // and its arguments
	Target  string   // a directory
	Host    bool     // the program is the host's and sees the host's files, else the container's
	Daemon  bool     // the program goes into the background by itself, else it is told -f to stay
}

// fuseMounts has the file systems that programs serve. Like every mount of a user's they honour no set-user-id bits.
func fuseMounts(req Request, host Host) (m []specs.Mount) {
	uid, gid := host.UID, host.GID
	options := []string{"nosuid", "nodev", "rootmode=40000"}
	if req.Namespaces.Fakeroot {
		uid, gid = 0, 0
		options = append(options, "allow_other") // root may become somebody else
	}
	options = append(options, fmt.Sprintf("user_id=%d", uid), fmt.Sprintf("group_id=%d", gid), optOrigin+"=--fusemount")
	for _, f := range req.FUSE {
		one := specs.Mount{Destination: f.Target, Type: typeFUSE, Source: f.Program[0], Options: slices.Clone(options)}
		if f.Host {
			one.Options = append(one.Options, optHost)
		}
		if f.Daemon {
			one.Options = append(one.Options, optDaemon)
		}
		for _, word := range f.Program {
			one.Options = append(one.Options, optWord+"="+word)
		}
		m = append(m, one)
	}
	return m
}

// drivers are the programs of a container's FUSE file systems, before they are started.
type drivers struct {
	list []*driver
	null *os.File
}

type driver struct {
	words        []string
	host, daemon bool
	fuse         *os.File // /dev/fuse
}

// add opens what the driver of m is to serve, and completes the mount, which is of the user namespace that has opened it.
func (d *drivers) add(m specs.Mount, mount *vfs.Mount) error {
	one := &driver{}
	for _, o := range m.Options {
		switch name, value, _ := strings.Cut(o, "="); name {
		case optHost:
			one.host = true
		case optDaemon:
			one.daemon = true
		case optWord:
			one.words = append(one.words, value)
		}
	}
	if len(one.words) == 0 {
		return fmt.Errorf("mount %s: no program serves it", m.Destination)
	}
	var err error
	if d.null == nil {
		if d.null, err = os.Open(os.DevNull); err != nil {
			return err
		}
	}
	// Not os.OpenFile, which would make it non-blocking for the program.
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/fuse for %s: %w: FUSE must be there for ordinary users (see flatrun doctor)", one.words[0], err)
	}
	one.fuse = os.NewFile(uintptr(fd), "/dev/fuse")
	mount.Data = append(mount.Data, "fd="+strconv.Itoa(fd), "source="+one.words[0])
	d.list = append(d.list, one)
	return mount.MakeNow()
}

// start starts the programs of the host, or those of the container. The file systems are made by now: before that there
// would be nothing to serve.
func (d *drivers) start(host bool, env []string) error {
	for _, one := range d.list {
		if one.host != host {
			continue
		}
		if err := one.start(d.null, env); err != nil {
			return fmt.Errorf("could not start program %s: %s", strings.Join(one.words, " "), why(err))
		}
		one.fuse.Close() // the end of the program must be that of the file system
	}
	return nil
}

// why leaves out what lookPath says of images.
func why(err error) error {
	var missing *CommandError
	if errors.As(err, &missing) {
		return missing.Err
	}
	return err
}

func (d *driver) start(null *os.File, env []string) error {
	file, err := lookPath(d.words[0], env)
	if err != nil {
		return err
	}
	cmd := &exec.Cmd{
		Path: file, Args: append(slices.Clone(d.words), "/dev/fd/3"), Env: env,
		Stdin: null, Stdout: os.Stdout, Stderr: os.Stderr, ExtraFiles: []*os.File{d.fuse},
		// The terminal's signals are for the command; the program's comes when that has ended.
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	if d.host { // a copy of the mounts: those of this namespace are about to become the container's
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWNS
	}
	if d.daemon {
		return cmd.Run()
	}
	cmd.Args = append(cmd.Args, "-f")
	// A child of our parent, for the command must not find children that it has not made.
	cmd.SysProcAttr.Cloneflags |= unix.CLONE_PARENT
	return cmd.Start()
}
