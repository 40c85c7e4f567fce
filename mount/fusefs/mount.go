package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"strconv"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	// maxRequest is the largest READ. The kernel's read-ahead makes most of them 128 KiB; where the administrator raised
	// read_ahead_kb, larger ones save time.
	maxRequest = 1 << 20

	// maxBackground is how many read-ahead requests the kernel may have under way: each may wait for the network.
	maxBackground = 64

	subtype = "flatrun"
)

// MountDirect makes a FUSE mount called name, attached nowhere yet, without any helper. It needs CAP_SYS_ADMIN in the
// process's user namespace, which is that of the mount. The caller serves fuseFD with Serve and attaches mountFD with
// move_mount(2); both are close-on-exec.
//
// The process that serves must never open a file of its own mount: a thread that waits for an answer of its own process
// cannot be killed, so it would keep /dev/fuse open and everybody waiting after a SIGKILL. With os.Open it is worse, as the
// Go runtime asks for POLL by a system call during which it starts no thread that could answer.
func MountDirect(name string) (fuseFD, mountFD int, err error) {
	dev, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("open /dev/fuse: %w; it must exist and be readable and writable for all", err)
	}
	mnt, err := newMount(dev, name)
	if err != nil {
		unix.Close(dev)
		return -1, -1, fmt.Errorf("mount %s: %w", name, err)
	}
	return dev, mnt, nil
}

func newMount(dev int, name string) (int, error) {
	fsfd, err := unix.Fsopen("fuse", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(fsfd)
	// rootmode is the file type in octal. default_permissions leaves access checks to the kernel, allow_other lets every
	// process of the namespace in, as the checks are made.
	for _, s := range [][2]string{
		{"source", name}, {"subtype", subtype}, {"fd", strconv.Itoa(dev)}, {"rootmode", strconv.FormatInt(unix.S_IFDIR, 8)},
		{"user_id", strconv.Itoa(os.Getuid())}, {"group_id", strconv.Itoa(os.Getgid())}, {"max_read", strconv.Itoa(maxRequest)},
	} {
		if err := unix.FsconfigSetString(fsfd, s[0], s[1]); err != nil {
			return -1, fmt.Errorf("fsconfig %s=%s: %w", s[0], s[1], err)
		}
	}
	for _, flag := range []string{"allow_other", "default_permissions", "ro"} {
		if err := unix.FsconfigSetFlag(fsfd, flag); err != nil {
			return -1, fmt.Errorf("fsconfig %s: %w", flag, err)
		}
	}
	if err := unix.FsconfigCreate(fsfd); err != nil {
		return -1, fmt.Errorf("fsconfig create: %w", err)
	}
	mnt, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return -1, fmt.Errorf("fsmount: %w", err)
	}
	return mnt, nil
}

// options are the answers that save requests; reference figures stand beside the file system's benchmark.
func (fs *FS) options() *fuse.MountOptions {
	return &fuse.MountOptions{
		FsName:                   fs.name,
		Name:                     subtype,
		MaxBackground:            maxBackground,
		MaxWrite:                 maxRequest,
		EnableSymlinkCaching:     true,
		ExplicitDataCacheControl: true, // what an id means never changes
		DisableSplice:            true, // no gain over pread, and pipes are scarce
		ExtraCapabilities:        fuse.CAP_NO_OPENDIR_SUPPORT,
		Debug:                    fs.debug,
		Logger:                   log.New(logWriter{fs.log, fs.debug}, "", 0),
	}
}

// logWriter hands the lines of a log.Logger to slog.
type logWriter struct {
	log   *slog.Logger
	debug bool
}

func (w logWriter) Write(line []byte) (int, error) {
	text := string(bytes.TrimSpace(line))
	if w.debug {
		w.log.Debug(text)
	} else {
		w.log.Warn(text)
	}
	return len(line), nil
}

// Serve answers the requests of a mount that exists already, made by MountDirect or handed down by another process, until
// it is gone or the descriptor fails. It takes fuseFD over and returns once the kernel's first request is answered.
func (fs *FS) Serve(fuseFD int) error {
	fs.noCapabilities = !rootMapped()
	if fs.init != nil {
		return fs.resume(fuseFD)
	}
	if fs.server.Load() != nil {
		return errors.New("already mounted")
	}
	server, err := fuse.NewServer(fs, "/dev/fd/"+strconv.Itoa(fuseFD), fs.options())
	if err != nil {
		return err
	}
	fs.noteInit(server)
	fs.run(server)
	return nil
}

func (fs *FS) run(server *fuse.Server) {
	if pool, err := requestBuffers(server); err != nil {
		fs.log.Warn("buffers", "error", err)
	} else {
		makePresent(pool)
	}
	fs.server.Store(server)
	go func() {
		server.Serve()
		close(fs.gone)
	}()
}

// Wait returns when the mount is gone.
func (fs *FS) Wait() { <-fs.gone }

// Gone is closed when the mount is gone.
func (fs *FS) Gone() <-chan struct{} { return fs.gone }
